from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, LoraFileError, OutputRefused
from erasure.lora.adapter import DOWN, UP, inject_lora, lora_state
from erasure.lora.file import read_lora
from erasure.lora.fit import module_paths
from erasure.lora.layer_choice import base_layers
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.run.beginning import erase, resume
from erasure.run.events import Event, Saved
from erasure.run.folder import RunFolder
from erasure.run.task import Task
from erasure.training.events import Step
from erasure.training.joint_start import Joint, changed_layers, joint_start
from erasure.training.joint_start_sizes import start_rows
from erasure.training.layer_inputs import input_moments
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
    paths = module_paths(base_layers(models.unet), file.family)
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


def test_what_layers_read_is_summed_over_every_step_and_position(tiny_models: ModelParts) -> None:
    model, steps = Model(tiny_models), 3
    layers = {path: layer for path, layer in base_layers(tiny_models.unet).items() if path.endswith("attn2.to_q")}
    read: dict[str, list[Tensor]] = {path: [] for path in layers}
    for path, layer in layers.items():
        layer.register_forward_pre_hook(lambda module, inputs, own=read[path]: own.append(inputs[0]))
    moments = input_moments(model, layers, ["church", "a hill"], seed=5, steps=steps)
    assert model.rows.all.total == 2 * steps
    for path, moment in moments.items():
        seen = torch.cat([x.detach().double().flatten(0, -2) for x in read[path]])
        assert len(read[path]) == steps
        assert torch.allclose(moment, seen.T @ seen / len(seen), rtol=1e-4, atol=1e-6)
    assert not torch.equal(
        next(iter(moments.values())), next(iter(input_moments(model, layers, ["church"], 6, steps).values()))
    )


def test_the_formula_is_the_least_squares_solution() -> None:
    g = torch.Generator().manual_seed(0)
    own = [torch.randn(5, 40, generator=g, dtype=torch.float64) for _ in range(2)]
    kept = torch.randn(5, 60, generator=g, dtype=torch.float64)
    changes = [torch.randn(3, 5, generator=g, dtype=torch.float64) for _ in range(2)]
    moments, preserved = [x @ x.T / x.shape[1] for x in own], kept @ kept.T / kept.shape[1]
    mu, pull = 0.7, 0.2
    joint = Joint((3, 5), mu, pull)
    for change, moment in zip(changes, moments, strict=True):
        joint.keep(change, moment)
    joint.preserve(preserved)
    found = joint.solved()[0].requires_grad_()
    size, unit = torch.stack(moments).sum(0).diagonal().mean(), preserved / preserved.diagonal().mean()

    def square(matrix: Tensor, moment: Tensor) -> Tensor:
        return (matrix @ moment * matrix).sum()

    loss = sum(square(found - c, m / size) for c, m in zip(changes, moments, strict=True))
    loss = loss + mu * (square(found, unit) + pull * found.square().sum())
    assert torch.autograd.grad(loss, found)[0].norm() < 1e-10
    # A parent that does not change the layer still has a say: nothing is to happen to its concepts.
    other = Joint((3, 5), mu, pull)
    other.keep(changes[0], moments[0])
    other.keep(None, moments[1])
    other.preserve(preserved)
    alone = Joint((3, 5), mu, pull)
    alone.keep(changes[0], moments[0])
    alone.preserve(preserved)
    assert square(other.solved()[0], moments[1]) < square(alone.solved()[0], moments[1])


def test_layers_whose_reading_is_not_known_get_the_mean() -> None:
    joint = Joint((1, 2), 1.0, 1.0)
    for change in (torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]]), None):
        joint.keep(None if change is None else change.double(), None)
    assert torch.equal(joint.solved()[0], torch.tensor([[2 / 3, 4 / 3]], dtype=torch.float64))


def test_the_start_takes_the_rows_that_are_told_and_leaves_the_lora_as_it_was(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    path = random_lora(tmp_path / "a.safetensors", layers=("attn2.to_q", "attn2.to_v"))
    config = _config("church", "radio")
    inject_lora(tiny_models.unet, config.layers, config.rank, config.alpha, config.seed)
    first, model, space = lora_state(tiny_models.unet), Model(tiny_models), space_of(*config.erase)
    parents = [Parent(path, 1.0, ("church",)), Parent(path, 1.0, ("radio",))]
    joint_start(model, space, config, parents, preserved_states(model, space, config))
    told = start_rows(config, len(parents))
    assert 0 < model.rows["training"].total <= told.total
    # All steps of sampling, and one call at least for each LoRA's own prompts, near words, far words and empty ones.
    least = (len(parents) + 1) * config.sampling_steps + len(parents) + 3
    assert least <= model.rows["training"].calls <= told.calls
    assert model.rows["training"].total == model.rows.all.total
    now = lora_state(tiny_models.unet)
    assert all(torch.equal(first[key], now[key]) for key in first)


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
    return dict(read_lora(path).state)


def _change(events: list[Event]) -> float:
    """How much the file of a run changes the picture of its concept."""
    assert isinstance(events[-1], Saved)
    assert events[-1].change is not None
    return events[-1].change


@pytest.mark.usefixtures("quick_pictures")
def test_a_run_begins_from_its_parents_and_goes_on_without_their_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    parent = random_lora(tmp_path / "parent.safetensors", strength=3.0)
    whole = _task(tiny_checkpoint, tmp_path / "whole", parent)
    events = list(erase(whole))
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3]

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
    # What the file changes comes from its parent: so few updates alone change little.
    without = Task(tiny_checkpoint, tmp_path / "none.safetensors", RunFolder(tmp_path / "none"), whole.config)
    assert 0 < _change(list(erase(without))) < 0.2 * _change(events)


def test_a_run_does_not_overwrite_a_parent(tiny_checkpoint: Path, tmp_path: Path) -> None:
    task = _task(tiny_checkpoint, tmp_path, random_lora(tmp_path / "out.safetensors"))
    with pytest.raises(OutputRefused, match=r"out\.safetensors"):
        erase(Task(task.checkpoint, task.out, task.folder, task.config, overwrite=True, parents=task.parents))


def test_a_closed_form_has_no_use_for_parents(tiny_checkpoint: Path, tmp_path: Path) -> None:
    task = _task(tiny_checkpoint, tmp_path, random_lora(tmp_path / "parent.safetensors"), method="uce")
    with pytest.raises(ConfigError, match="uce works in one step"):
        erase(task)


def test_what_is_read_is_seen_of_layers_alone_that_a_lora_changes_more_than_a_little(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    layers = base_layers(tiny_models.unet)
    much, little = (next(path for path in layers if path.endswith(end)) for end in ("attn2.to_v", "attn2.to_q"))

    def change(path: str, size: float) -> tuple[Tensor, Tensor]:
        out, inside = layers[path].weight.flatten(1).shape
        up, down = torch.ones(out, 1, dtype=torch.float64), torch.ones(1, inside, dtype=torch.float64)
        return up * size * float(layers[path].weight.detach().norm()) / (out * inside) ** 0.5, down

    assert changed_layers({much: change(much, 0.3), little: change(little, 0.01)}, layers) == {much}
    assert changed_layers({much: change(much, 0.3), little: change(little, 0.2)}, layers) == {much, little}
    assert changed_layers({little: change(little, 0.01)}, layers) == {little}
    assert changed_layers({}, layers) == set()
