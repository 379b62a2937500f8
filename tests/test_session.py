"""open_models: how much of the U-Net's work goes into one call."""

from __future__ import annotations

import dataclasses

import torch

from erasure.config.values import erase_config
from erasure.model.denoiser import Denoiser
from erasure.model.models import Models
from erasure.training.session import rows_at_once
from tests import tiny

CONFIG = erase_config(erase=("church",))


def full_size(models: Models) -> Models:
    """SD 1.x in full, without memory for its weights."""
    with torch.device("meta"):
        unet = tiny.build_unet(tiny.full_size_config["unet"])
        vae = tiny.build_vae(tiny.full_size_config["vae"])
    return dataclasses.replace(models, unet=unet, vae=vae)


def test_a_full_size_model_has_few_rows_in_a_call_and_larger_pictures_fewer(tiny_models: Models) -> None:
    models = full_size(tiny_models)
    assert rows_at_once(models, CONFIG) == 8
    assert rows_at_once(models, dataclasses.replace(CONFIG, resolution=1024)) == 2
    assert rows_at_once(models, dataclasses.replace(CONFIG, resolution=2048)) == 1


def test_a_small_model_takes_long_batches_in_one_call(tiny_models: Models) -> None:
    assert rows_at_once(tiny_models, CONFIG) >= 64


def test_a_batch_that_is_split_gives_what_the_whole_one_gives(tiny_models: Models) -> None:
    calls: list[int] = []
    tiny_models.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    generator = torch.Generator().manual_seed(0)
    z, embedding = torch.randn(5, 4, 16, 16, generator=generator), torch.randn(5, 77, 32, generator=generator)
    t = torch.tensor([1, 200, 400, 600, 999])
    whole, split = Denoiser(tiny_models.unet), Denoiser(tiny_models.unet, max_rows=2)
    with torch.no_grad():
        torch.testing.assert_close(split(z, t, embedding), whole(z, t, embedding), rtol=1e-4, atol=1e-5)
    assert calls == [2, 2, 1, 5]
    assert split.rows.total == whole.rows.total == 5
