"""What a bake keeps in memory: neither the checkpoint nor the LoRAs, nor the libraries that know the layers' names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from erasure.bake.baking import bake
from erasure.bake.task import bake_task
from erasure.errors import BrokenCheckpoint, LoraFileError
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.empty_unet import layers_of
from erasure.model.layer_search import find_layers
from erasure.model.model_layers import ModelLayers
from tests import tiny_sd2
from tests.loras import random_lora
from tests.test_bake import UNET, checkpoint_in, command, everywhere

_PROGRAM = """
import json, subprocess, sys
from erasure.cli import main

at_first, run = [], subprocess.run

def watched(command, **options):
    at_first.append("torch" in sys.modules)
    return run(command, **options)

subprocess.run = watched
code = main(sys.argv[1:])
heavy = [name for name in ("diffusers", "transformers", "peft", "torch._dynamo") if name in sys.modules]
print(json.dumps([code, at_first, heavy]))
"""

# Not getrusage of the process itself, which begins with the peak of the one that started it.
_MEASURE = """
import resource, sys
from erasure.cli import main

assert main(sys.argv[1:]) == 0
own = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run(program: str, *arguments: str) -> list[str]:
    """Run a program in a process of its own, and return the lines that it prints."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_process_that_writes_has_not_loaded_what_found_the_layers(tmp_path: Path) -> None:
    base, lora = checkpoint_in(tmp_path / "base"), random_lora(tmp_path / "lora.safetensors", strength=0.1)
    out, here = tmp_path / "out.safetensors", tmp_path / "here.safetensors"
    *printed, told = run(_PROGRAM, *command(base, out, lora))
    code, torch_was_loaded, heavy = json.loads(told)
    assert (code, heavy) == (0, [])
    assert torch_was_loaded == [False]  # one other process, before there is much in this one
    assert printed[0] == str(out)
    assert len(printed) == 3
    for _ in bake(bake_task(base, [(lora, 1.0)], here)):
        pass
    one, other = load_file(out), load_file(here)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["averaged", "folder", "rows"])
def test_layers_are_the_same_after_a_way_as_json(tmp_path: Path, tiny_diffusers_folder: Path, kind: str) -> None:
    bases = {
        "averaged": lambda: checkpoint_in(tmp_path / "base", averaged=True),
        "folder": lambda: tiny_diffusers_folder,
        "rows": lambda: tiny_sd2.checkpoint(tmp_path),
    }
    info = inspect_checkpoint(bases[kind]())
    found = layers_of(info)
    assert any(place.averaged for place in found.places) == (kind == "averaged")
    assert any(place.rows for place in found.places) == (kind == "rows")
    assert ModelLayers.from_dict(json.loads(json.dumps(found.to_dict())), info) == found


def test_what_the_other_process_fails_at_is_told_by_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{UNET}middle_block.1.proj_in.weight"
    sound = inspect_checkpoint(checkpoint_in(tmp_path / "sound"))
    broken = inspect_checkpoint(checkpoint_in(tmp_path / "broken", change=lambda tensors: tensors.pop(name)))
    calls = []

    def failing(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(command)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr("erasure.model.layer_search._LIBRARY", "one that is not loaded")
    monkeypatch.setattr("subprocess.run", failing)
    assert find_layers(sound) == layers_of(sound)
    with pytest.raises(BrokenCheckpoint, match=r"lacks 1 weights of its U-Net, such as mid_block\."):
        find_layers(broken)
    assert len(calls) == 2


def test_a_lora_that_is_replaced_while_it_is_baked_ends_the_bake(tmp_path: Path) -> None:
    base, lora = checkpoint_in(tmp_path / "base"), random_lora(tmp_path / "lora.safetensors", strength=0.1)
    other, out = random_lora(tmp_path / "other.safetensors", strength=0.2), tmp_path / "out.safetensors"
    task = bake_task(base, [(lora, 1.0)], out)
    other.replace(lora)
    with pytest.raises(LoraFileError, match="was changed or replaced while it was in use; try again"):
        list(bake(task))
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="this system does not tell the peak of one process")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """At most half as much again as its largest tensor and 300 MB, the libraries' own memory included."""
    lora = everywhere(tmp_path / "all.safetensors")
    base = checkpoint_in(tmp_path / "base", "F32")
    tensors = load_file(base)
    largest = 76 * 10**6  # as in Stable Diffusion 1.x in fp16
    for i in range(8):
        tensors[f"cond_stage_model.other.{i}"] = torch.zeros(largest // 4)
    save_file(tensors, base)
    del tensors
    out = tmp_path / "out.safetensors"
    peaks = run(_MEASURE, *command(base, out, lora))[-1].split()
    assert out.stat().st_size > 600 * 10**6
    assert max(1024 * int(peak) for peak in peaks) < 1.5 * largest + 300 * 10**6
