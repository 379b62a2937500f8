from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from erasure.config.presets import preset
from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict, erase_config
from erasure.families.full_size import GIB
from erasure.families.sd1 import SD1
from erasure.jobs.estimate import estimate, memory_bytes, rows_apart, training_rows
from erasure.jobs.order import Wanted, read_order, start_problems
from erasure.jobs.readiness import readiness
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.memory import EMBEDDING_CACHE, embedding_cache_bytes
from erasure.model.size import ModelSize
from erasure.run.forecast import remembered_prompts, soonest_end
from tests.fake_host import FakeHost
from tests.tiny import build_tiny_models

FULL = ModelSize(unet=859_520_964, text_encoder=123_060_557, vae=83_653_863, pixels=512)
MEASURED = SD1.full
CHURCH = config_from_dict({"erase": ["church"]})


def _config(**settings: Any) -> EraseConfig:
    return config_from_dict({"erase": ["church"], "steps": 100, "neighbours": 20, **settings})


def _past(runs: Path, name: str, config: EraseConfig, updates: int | None = None, **speed: Any) -> None:
    """A finished run that took 0.01 s a row in training and 0.02 s a row apart from it, and made so many updates."""
    rows = round(training_rows(config, updates))
    facts = {"device": "cpu", "parameters": 100, "pixels": 64, "precision": "fp32"}
    took = {"rows": rows, "seconds": rows * 0.01, "apart": rows_apart(config, updates) * 0.02}
    (runs / name).mkdir(parents=True)
    record = {"config": config.to_dict(), "speed": {**facts, **took, **speed}}
    (runs / name / "job.json").write_text(json.dumps(record))


# --- sizes


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_sizes_are_read_from_headers(layout: str, tiny_checkpoint: Path, tiny_diffusers_folder: Path) -> None:
    models = build_tiny_models()
    size = inspect_checkpoint(tiny_checkpoint if layout == "original" else tiny_diffusers_folder).size
    count = {part: sum(w.numel() for w in getattr(models, part).parameters()) for part in ("unet", "vae")}
    assert (size.unet, size.vae, size.pixels) == (count["unet"], count["vae"], 64)
    assert size.text_encoder == pytest.approx(sum(w.numel() for w in models.text_encoder.parameters()), abs=100)


# --- memory


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"layers": "xattn"}, 7.54),
        ({"layers": "xattn", "gradient_checkpointing": True}, 5.97),
        ({"layers": "xattn", "precision": "bf16"}, 3.95),
        ({"layers": "noxattn"}, 9.03),
        ({"layers": "noxattn", "precision": "bf16", "gradient_checkpointing": True}, 3.38),
    ],
)
def test_memory_of_a_full_size_unet_is_what_was_measured(settings: dict[str, Any], measured: float) -> None:
    alone = ModelSize(FULL.unet, 0, 0, 512)
    assert memory_bytes(_config(**settings), alone, MEASURED) / GIB == pytest.approx(measured, abs=0.02)


def test_memory_grows_with_what_needs_it() -> None:
    least = memory_bytes(_config(), FULL, MEASURED)
    assert memory_bytes(_config(batch=2), FULL, MEASURED) > least
    assert memory_bytes(_config(resolution=768), FULL, MEASURED) > least
    assert memory_bytes(_config(precision="fp16"), FULL, MEASURED) < least
    assert memory_bytes(_config(precision="fp16"), FULL, MEASURED) > memory_bytes(
        _config(precision="bf16"), FULL, MEASURED
    )


def test_decoding_a_picture_bounds_what_gradient_checkpointing_saves() -> None:
    """With fp16 the VAE stays in fp32, where a picture of 512 px takes more than a checkpointed update."""
    spare = _config(precision="fp16", gradient_checkpointing=True)
    small_vae = ModelSize(FULL.unet, FULL.text_encoder, FULL.vae // 100, 512)
    lighter = (FULL.vae - small_vae.vae) * 4
    assert memory_bytes(spare, FULL, MEASURED) - memory_bytes(spare, small_vae, MEASURED) - lighter == pytest.approx(
        0.18 * GIB, abs=0.02 * GIB
    )


# --- time


def test_a_first_run_is_told_roughly_on_a_cpu_and_not_at_all_on_a_gpu(tiny_checkpoint: Path, tmp_path: Path) -> None:
    rough = estimate(_config(), tiny_checkpoint, "cpu", tmp_path)
    assert rough.seconds is not None
    assert 1 < rough.seconds < 1200
    assert "rough" in rough.basis
    assert "scaled by this U-Net's size" in rough.basis
    unknown = estimate(_config(), tiny_checkpoint, "cuda", tmp_path)
    assert unknown.seconds is None
    assert rough.bytes is not None
    assert unknown.bytes is not None
    # A process on the CPU remembers embeddings beside the model.
    size = inspect_checkpoint(tiny_checkpoint).size
    remembered = embedding_cache_bytes(remembered_prompts(_config()), MEASURED, size.text_encoder)
    assert rough.bytes - unknown.bytes == pytest.approx(remembered, abs=1)
    assert remembered > 0


def test_what_is_remembered_of_prompts_is_told_and_bounded() -> None:
    style = config_from_dict({"erase": ["pixel style"], **preset("style").settings})
    told = embedding_cache_bytes(remembered_prompts(style), MEASURED)
    assert told == pytest.approx(14 * 100 * 77 * 768 * 4, rel=0.1)
    assert embedding_cache_bytes(100_000, MEASURED) == EMBEDDING_CACHE > 3 * 14 * 100 * 77 * 768 * 4
    fixed = config_from_dict({"erase": ["church"], "method": "esd-x"})
    assert embedding_cache_bytes(remembered_prompts(fixed), MEASURED) < 2**20


def test_the_same_run_again_is_expected_to_take_as_long(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config, size = _config(), inspect_checkpoint(tiny_checkpoint).size
    _past(tmp_path, "1", config, parameters=size.unet)
    expected = training_rows(config) * 0.01 + rows_apart(config) * 0.02
    again = estimate(config, tiny_checkpoint, "cpu", tmp_path)
    assert again.seconds == pytest.approx(expected, rel=0.01)
    assert again.basis.startswith("time as measured in your last run")
    twice = estimate(with_changes(config, steps=200), tiny_checkpoint, "cpu", tmp_path)
    assert twice.seconds is not None
    assert twice.seconds > expected * 1.2


def test_the_usual_time_and_the_longest_are_told_from_a_run_that_ended_early(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    config, size = _config(), inspect_checkpoint(tiny_checkpoint).size
    early = soonest_end(config)
    assert 0 < early < config.updates
    _past(tmp_path, "1", config, early, parameters=size.unet)
    again = estimate(config, tiny_checkpoint, "cpu", tmp_path)
    for told, updates in ((again.soonest, early), (again.seconds, None)):
        training, apart = training_rows(config, updates), rows_apart(config, updates)
        assert told == pytest.approx(training * 0.01 + apart * 0.02, rel=0.01)
    assert again.soonest is not None
    assert again.seconds is not None
    assert again.soonest < 0.5 * again.seconds
    assert estimate(with_changes(config, look_every=0), tiny_checkpoint, "cpu", tmp_path).soonest is None


def test_time_is_scaled_to_the_size_of_the_pictures(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config, size = _config(), inspect_checkpoint(tiny_checkpoint).size
    _past(tmp_path, "1", config, parameters=size.unet)
    small = estimate(config, tiny_checkpoint, "cpu", tmp_path)
    large = estimate(with_changes(config, resolution=128), tiny_checkpoint, "cpu", tmp_path)
    assert small.seconds is not None
    assert large.seconds == pytest.approx(4 * small.seconds)
    assert "scaled" in large.basis


def test_the_run_most_like_it_counts_and_of_such_the_newest(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config, size = _config(), inspect_checkpoint(tiny_checkpoint).size
    rows = round(training_rows(config))
    _past(tmp_path, "1-old", config, parameters=size.unet, seconds=rows * 0.5)
    _past(tmp_path, "2-newer", config, parameters=size.unet, seconds=rows * 0.1, apart=0.0)
    _past(tmp_path, "3-huge", config, parameters=size.unet * 100, seconds=rows * 9.0)
    _past(tmp_path, "4-gpu", config, parameters=size.unet, device="cuda", seconds=rows * 1e-4)
    _past(tmp_path, "5-resumed", config, parameters=size.unet, seconds=0.0)
    (tmp_path / "6-broken").mkdir()
    (tmp_path / "6-broken" / "job.json").write_text('{"speed": {"device": 1}}')
    assert estimate(config, tiny_checkpoint, "cpu", tmp_path).seconds == pytest.approx(rows * 0.1, rel=0.01)


def test_a_checkpoint_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    assert estimate(_config(), tmp_path / "none.safetensors", "cpu", tmp_path).bytes is None


# --- readiness


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    return FakeHost(tmp_path, tiny_checkpoint)


def test_nothing_keeps_a_good_run_from_starting(host: FakeHost, tiny_checkpoint: Path) -> None:
    assert readiness(host, tiny_checkpoint, "gone", CHURCH) == []
    assert not host.lora_folder().exists()


def test_every_reason_is_told_at_once(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.lora_folder().write_text("in the way")
    monkeypatch.setattr(FakeHost, "current_checkpoint", lambda self: None)
    order = read_order(host, Wanted(name="a/b", settings={"erase": [], "steps": -1, "colour": "red"}))
    told = start_problems(host, order)
    for part in ("erase:", "steps:", "colour", "no checkpoint", "'a/b'", "Lora folder"):
        assert any(part in problem for problem in told), part


def test_another_kind_of_model_is_named_without_its_folder(host: FakeHost, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torch import zeros

    names = ["model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.0.model.ln_final.weight"]
    save_file({name: zeros(1) for name in names}, tmp_path / "xl.safetensors")
    (problem,) = readiness(host, tmp_path / "xl.safetensors", "gone", CHURCH)
    assert "xl.safetensors is a Stable Diffusion XL refiner model" in problem
    assert str(tmp_path) not in problem


@pytest.mark.parametrize("name", ["gone.txt", "x" * 300])
def test_a_word_list_that_is_not_there_is_a_problem_whatever_its_name(
    name: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    config = erase_config(erase="church", vocabulary="file", vocabulary_file=str(tmp_path / name))
    (problem,) = readiness(FakeHost(tmp_path, tiny_checkpoint), tiny_checkpoint, "gone", config)
    assert problem.startswith("vocabulary_file: ")
    assert "check its path" in problem


def test_a_full_disk_is_told_before_the_start(
    host: FakeHost, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**6))
    (problem,) = readiness(host, tiny_checkpoint, "gone", CHURCH)
    assert "1 MB are free" in problem


def test_a_taken_name_is_told_wherever_the_file_lies(host: FakeHost, tiny_checkpoint: Path) -> None:
    (host.lora_folder() / "sub").mkdir(parents=True)
    (host.lora_folder() / "sub" / "Gone.safetensors").touch()
    (problem,) = readiness(host, tiny_checkpoint, "gone", CHURCH)
    assert "'gone' already" in problem


def test_an_estimate_needs_no_torch(tiny_checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from erasure.config.values import erase_config\n"
        "from erasure.jobs.estimate import estimate\n"
        "found = estimate(erase_config(erase=('church',)), Path(sys.argv[1]), 'cpu', Path(sys.argv[2]))\n"
        "assert found.seconds, found.basis\n"
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_checkpoint), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
