"""open_model: how much of the U-Net's work goes into one call."""

from __future__ import annotations

import dataclasses

import torch

from erasure.model.conditioning import Conditioning
from erasure.model.model import Model, rows_at_once
from erasure.model.parts import ModelParts
from erasure.model.rows import Rows
from tests import tiny


def full_size(models: ModelParts) -> ModelParts:
    """SD 1.x in full, without memory for its weights."""
    with torch.device("meta"):
        unet = tiny.build_unet(tiny.full_size_config["unet"])
        vae = tiny.build_vae(tiny.full_size_config["vae"])
    return dataclasses.replace(models, unet=unet, vae=vae)


def test_a_full_size_model_has_few_rows_in_a_call_and_larger_pictures_fewer(tiny_models: ModelParts) -> None:
    models = full_size(tiny_models)
    assert rows_at_once(models) == 8
    assert rows_at_once(models, 1024) == 2
    assert rows_at_once(models, 2048) == 1


def test_a_small_model_takes_long_batches_in_one_call(tiny_models: ModelParts) -> None:
    assert rows_at_once(tiny_models) >= 64


def test_a_batch_that_is_split_gives_what_the_whole_one_gives(tiny_models: ModelParts) -> None:
    calls: list[int] = []
    tiny_models.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    generator = torch.Generator().manual_seed(0)
    z, states = torch.randn(5, 4, 16, 16, generator=generator), torch.randn(5, 77, 32, generator=generator)
    given = z, torch.tensor([1, 200, 400, 600, 999]), Conditioning(states)
    whole, split = Model(tiny_models), Model(tiny_models, max_rows=2)
    with torch.no_grad():
        torch.testing.assert_close(split.eps(*given), whole.eps(*given), rtol=1e-4, atol=1e-5)
    assert calls == [2, 2, 1, 5]
    assert split.rows.all == whole.rows.all == Rows(5, calls=1)
