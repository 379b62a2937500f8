from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, IneffectiveLora, LoraFileError, OutputRefused
from erasure.lora.adapter import DOWN, UP, inject_lora
from erasure.lora.file import module_paths, read_lora
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.run.folder import RunFolder
from erasure.run.run import erase, resume
from erasure.run.task import Task
from erasure.training.events import Step
from erasure.training.joint_start import joint_start
from erasure.training.preserved_states import preserved_states
from tests.loras import random_lora
from tests.spaces import space_of

RANK = 16
FAST = {"rank": RANK, "sampling_steps": 3, "steps": 3, "warmup": 0, "judged_words": 0, "look_every": 0}


def _config(*targets: str, **changes: object) -> EraseConfig:
    return config_from_dict({"erase": list(targets), **FAST, **changes})


def _file_change(path: Path, models: ModelParts, weight: float = 1.0) -> dict[str, Tensor]:
    """What a file adds to the weights, by module path."""
    file = read_lora(path)
    paths = module_paths(models.unet, file.family)
    found = {}
    for module in file.modules:
        down, up, scale = file.weights(module)
        found[paths[module]] = weight * scale * up.double() @ down.double()
    return found


def _joint_change(models: ModelParts, config: EraseConfig, parents: list[Parent]) -> dict[str, Tensor]:
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    model, space = Model(models), space_of(*config.erase)
    state = joint_start(model, space, config, parents, preserved_states(model, space, config))
    names = [key[: -len(DOWN)] for key in state if key.endswith(DOWN)]
    return {name: state[name + UP].double() @ state[name + DOWN].double() for name in names}


def test_a_lora_keeps_what_it_does_to_its_own_concept_and_does_less_to_preserved_ones(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    path = random_lora(tmp_path / "a.safetensors")
    joint = _joint_change(tiny_models, _config("church"), [Parent(path, 1.0, ("church",))])
    model = Model(tiny_models)
    own, kept = (model.embed([text]).states[0].double()[1:] for text in ("church", "truck"))
    for name, change in _file_change(path, tiny_models).items():
        left = ((joint[name] - change) @ own.T).norm() / (change @ own.T).norm()
        still = (joint[name] @ kept.T).norm() / (change @ kept.T).norm()
        assert left < 0.7
        assert still < 1
        # Most of it stays for the concept, and less for others.
        assert (joint[name] @ own.T).norm() / (change @ own.T).norm() > still


def test_loras_that_erase_nothing_known_are_added_up_at_their_weights(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = random_lora(tmp_path / "a.safetensors")
    joint = _joint_change(tiny_models, _config("church"), [Parent(path, 0.5), Parent(path, 0.25)])
    wanted = _file_change(path, tiny_models, 0.75)
    for name, change in joint.items():
        assert torch.allclose(change, wanted.get(name, torch.zeros(()).double()).expand_as(change), atol=1e-4)


def test_a_parent_of_layers_that_the_new_lora_lacks_is_refused(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = random_lora(tmp_path / "keys and values.safetensors")
    with pytest.raises(LoraFileError, match=r"keys and values\.safetensors changes layers that .* such as full"):
        _joint_change(tiny_models, _config("church", layers="xattn_v"), [Parent(path, 1.0, ("church",))])


def _task(checkpoint: Path, folder: Path, parent: Path, **changes: object) -> Task:
    config = _config("church", neighbours=3, synonym_threshold=0, save_every=1, **changes)
    parents = (Parent(parent, 1.0, ("church",)),)
    folder.mkdir(exist_ok=True)
    return Task(checkpoint, folder / "out.safetensors", RunFolder(folder / "run"), config, parents=parents)


def _weights(path: Path) -> dict[str, Tensor]:
    return read_lora(path).state


def test_a_run_begins_from_its_parents_and_goes_on_without_their_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    parent = random_lora(tmp_path / "parent.safetensors", strength=3.0)
    whole = _task(tiny_checkpoint, tmp_path / "whole", parent)
    assert [event.step for event in erase(whole) if isinstance(event, Step)] == [1, 2, 3]

    cut = _task(tiny_checkpoint, tmp_path / "cut", parent)
    with erase(cut) as run:
        next(event for event in run if isinstance(event, Step))
        run.save()
        run.give_up()
    parent.unlink()
    assert [event.step for event in resume(cut.folder) if isinstance(event, Step)] == [2, 3]
    assert cut.folder.parents()[0].path.is_relative_to(cut.folder.path)
    ends = [_weights(task.out) for task in (whole, cut)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    # So few updates alone change next to nothing.
    without = Task(tiny_checkpoint, tmp_path / "none.safetensors", RunFolder(tmp_path / "none"), whole.config)
    with pytest.raises(IneffectiveLora):
        list(erase(without))


def test_a_run_does_not_overwrite_a_parent(tiny_checkpoint: Path, tmp_path: Path) -> None:
    task = _task(tiny_checkpoint, tmp_path, random_lora(tmp_path / "out.safetensors"))
    with pytest.raises(OutputRefused, match=r"out\.safetensors"):
        erase(Task(task.checkpoint, task.out, task.folder, task.config, overwrite=True, parents=task.parents))


def test_a_closed_form_has_no_use_for_parents(tiny_checkpoint: Path, tmp_path: Path) -> None:
    task = _task(tiny_checkpoint, tmp_path, random_lora(tmp_path / "parent.safetensors"), method="uce")
    with pytest.raises(ConfigError, match="uce works in one step"):
        erase(task)
