"""The edit of the text encoders that training starts from."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erasure.concepts.hostile_wordings import HostileWording
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import LoraFileError, NonFiniteLoss
from erasure.lora.adapter import DOWN, UP, inject_lora, lora_layers, lora_state
from erasure.lora.file import read_lora, write_lora
from erasure.lora.model_adapter import model_state
from erasure.lora.parent import Parent
from erasure.model.drawing import run_to_end
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.run.beginning import erase, resume
from erasure.run.events import Saved
from erasure.run.folder import RunFolder
from erasure.run.task import Task
from erasure.training import text_start, text_tuning
from erasure.training.events import Step
from erasure.training.first_weights import set_first_weights
from erasure.training.text_start import TextStart
from erasure.training.text_start_sizes import (
    HURT_MOST,
    RATES,
    TRIED_STEPS,
    WORDING_STEPS,
    first_steps,
    has_text_start,
    text_steps,
)
from erasure.training.text_tuning import TextTuning
from erasure.training.trainer import Trainer
from tests.spaces import space_of
from tests.tiny_xl import build_tiny_xl


def _config(**changes: object) -> EraseConfig:
    given = {"erase": ["church"], "rank": 8, "sampling_steps": 3, "steps": 2, "templates": ["a picture of a {}"]}
    return config_from_dict({**given, **changes})


def _told(model: Model, word: str) -> Tensor:
    """What the tuned model is told of a word at its token and at the end token: (2, d)."""
    return model.embed([f"a picture of a {word}"]).states[0, 5:7].double()


def _edited(model: Model, monkeypatch: pytest.MonkeyPatch, steps: int = 60, **changes: object) -> TextStart:
    monkeypatch.setattr(text_start, "first_steps", lambda targets: steps)
    edit = TextStart(model, space_of("church", anchor="zebra"), _config(anchor=["zebra"], **changes))
    for _ in edit.put():
        pass
    return edit


def _share(model: Model, frozen: Model, word: str) -> float:
    """How far the way of the church to the zebra a word went, 1 being all of it."""
    was, now, goal = _told(frozen, word), _told(model, word), _told(frozen, "zebra")
    way = goal - was if word == "church" else goal - _told(frozen, "church")
    return float(((now - was) * way).sum() / way.square().sum())


def test_what_is_said_of_the_target_becomes_what_is_said_of_its_anchor_and_other_words_stay(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, frozen = Model(tiny_models), Model(copy.deepcopy(tiny_models))
    _edited(model, monkeypatch)
    share = _share(model, frozen, "church")
    assert share > 0.25
    for word in ("truck", "dog", "tower"):
        moved = (_told(model, word) - _told(frozen, word)).norm()
        assert moved < share * (_told(frozen, "zebra") - _told(frozen, "church")).norm()


def test_the_frozen_model_is_told_what_it_was_told_before(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, frozen = Model(tiny_models), Model(copy.deepcopy(tiny_models))
    _edited(model, monkeypatch, steps=5)
    told = model.embed(["church"])
    assert torch.equal(told.as_frozen.states, frozen.embed(["church"]).states)
    assert not torch.equal(told.states, told.as_frozen.states)
    assert torch.equal(model.pooled(["church"]), frozen.pooled(["church"]))


def test_a_target_is_moved_farther_if_asked(tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch) -> None:
    model, frozen = Model(tiny_models), Model(copy.deepcopy(tiny_models))
    edit = _edited(model, monkeypatch)
    before = _share(model, frozen, "church")
    monkeypatch.setattr(text_start, "MORE_STEPS", 40)
    edit.strengthen(1.5)
    edit.strengthen_targets({0: 0.5})
    for _ in edit.put():
        pass
    assert _share(model, frozen, "church") > before + 0.1


def test_a_target_that_turns_into_nothing_becomes_what_other_words_are_on_average(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, frozen = Model(tiny_models), Model(copy.deepcopy(tiny_models))
    monkeypatch.setattr(text_start, "first_steps", lambda targets: 60)
    edit = TextStart(model, space_of("church"), _config())
    for _ in edit.put():
        pass
    average = torch.stack([_told(frozen, word) for word in edit._anchors[:40]]).mean(0)
    before, after = (_told(one, "church") - average for one in (frozen, model))
    assert after.norm() < before.norm()


def test_words_that_are_hurt_most_are_preserved_most_if_the_config_searches(tiny_model: Model) -> None:
    shares = {}
    for adversary in ("gumbel", "uniform"):
        model = copy.deepcopy(tiny_model)
        edit = TextStart(model, space_of("church"), _config(adversary=adversary))
        worst = len(edit._near) + 7
        for place in range(len(edit._harm)):
            edit._note([place], [9.0 if place == worst else 0.1])
        drawn = [edit._draw_preserved() for _ in range(20)]
        shares[adversary] = sum(worst in places[-HURT_MOST:] for places in drawn) / len(drawn)
    assert shares["gumbel"] > 0.9
    assert shares["uniform"] < 0.3


def test_harm_that_was_measured_long_ago_counts_less(tiny_model: Model) -> None:
    edit = TextStart(tiny_model, space_of("church"), _config())
    edit._note([3], [1.0])
    assert float(edit._harm[3]) == 1.0
    edit._note([3], [0.0])
    assert 0 < float(edit._harm[3]) < 1


def test_names_are_erased_as_well_and_more_often_if_they_weigh_more(tiny_model: Model) -> None:
    space = space_of("church")
    space = replace(space, targets=(replace(space.targets[0], told=("chapel",)),))
    edit = TextStart(tiny_model, space, _config(synonym=["chapel"]))
    before = _share_of_name(edit, "chapel")
    edit.weigh_names({"chapel": 0}, 9.0)
    assert 0 < before < 0.5 < _share_of_name(edit, "chapel")


def test_plurals_go_with_the_target_unless_they_are_to_stay(tiny_model: Model) -> None:
    edit = TextStart(copy.deepcopy(tiny_model), space_of("church"), _config())
    assert "churches" in edit._names
    edit = TextStart(tiny_model, space_of("church"), _config(preserve=["churches"]))
    assert "churches" not in edit._names
    assert "churches" in edit._near


def _share_of_name(edit: TextStart, name: str) -> float:
    drawn = [prompt for _ in range(100) for prompt in edit._draw_erased()[0]]
    return sum(name in prompt for prompt in drawn) / len(drawn)


def test_other_wordings_are_erased_as_well_also_those_made_of_words_that_stay(tiny_model: Model) -> None:
    edit = TextStart(tiny_model, space_of("church", anchor="zebra"), _config(anchor=["zebra"]))
    wordings = [HostileWording("tower dog", made_of=("tower", "dog")), HostileWording("chuurch", "a small {} on white")]
    assert edit.add_wordings([wordings]) == 2
    edit._erased = edit._erased[-1:]
    prompts, goals, _, beside = edit._draw_erased()
    assert not beside, "it is not made of words that stay"
    assert all("a small a picture of a chuurch on white" in prompt for prompt in prompts)
    assert all("zebra" in goal for own in goals for goal in own)


def test_a_word_that_stays_is_preserved_beside_a_pair_that_is_made_of_it(tiny_model: Model) -> None:
    edit = TextStart(tiny_model, space_of("church", anchor="zebra"), _config(anchor=["zebra"]))
    edit.add_wordings([[HostileWording("tower dog", made_of=("tower", "dog"))]])
    edit._erased = edit._erased[-1:]
    prompts, _, _, beside = edit._draw_erased()
    assert len(beside) == len(prompts)
    for pair, word in zip(prompts, beside, strict=True):
        assert word in (pair.replace("tower dog", "tower"), pair.replace("tower dog", "dog"))


def test_many_wordings_are_trained_on_no_more_often_than_all_names(tiny_model: Model) -> None:
    edit = TextStart(tiny_model, space_of("church", anchor="zebra"), _config(anchor=["zebra"]))
    names = sum(one.weight for one in edit._erased)
    edit.add_wordings([[HostileWording(f"word{number}") for number in range(60)]])
    assert sum(one.weight for one in edit._erased) == pytest.approx(2 * names)


def test_other_wordings_get_more_steps_than_what_is_only_made_stronger(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_start, "MORE_STEPS", 2)
    monkeypatch.setattr(text_start, "WORDING_STEPS", 7)
    edit = _edited(tiny_model, monkeypatch, steps=3)
    assert edit.add_wordings([[HostileWording("chuurch")]])
    list(edit.put())
    assert edit.steps == 3 + 7
    assert not edit.add_wordings([[]])
    list(edit.put())
    assert edit.steps == 3 + 7 + 2


def test_the_learning_rate_is_that_with_which_a_few_steps_lead_to_the_least_loss(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_start, "RATES", (1.0, 4e-3, 1e-6))
    monkeypatch.setattr(text_start, "TRIED_STEPS", 8)
    edit = TextStart(tiny_model, space_of("church", anchor="zebra"), _config(anchor=["zebra"]))
    before = model_state(tiny_model.parts.modules)
    for _ in edit._try_rates():
        pass
    assert edit._rate == 4e-3
    after = model_state(tiny_model.parts.modules)
    assert all(torch.equal(before[key], after[key]) for key in before), "trying leaves nothing behind"


def test_only_layers_that_are_read_are_trained() -> None:
    model = Model(build_tiny_xl())
    TextStart(model, space_of("church"), _config())
    first, second = (lora_layers(reader.encoder) for reader in model.parts.texts)
    assert all(".mlp." in name for name in (*first, *second))
    assert not any("layers.2." in name for name in first), "its last layer is skipped"
    assert any("layers.2." in name for name in second), "its last layer is pooled"


def test_both_text_encoders_and_the_pooled_text_are_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = build_tiny_xl()
    model, frozen = Model(parts), Model(copy.deepcopy(parts))
    _edited(model, monkeypatch)
    now, was, goal = (one.embed([f"a picture of a {word}"]) for one, word in
                      ((model, "church"), (frozen, "church"), (frozen, "zebra")))  # fmt: skip
    assert now.pooled is not None
    assert was.pooled is not None
    assert goal.pooled is not None
    assert (now.pooled - goal.pooled).norm() < 0.8 * (was.pooled - goal.pooled).norm()
    for half in (slice(0, 32), slice(32, 64)):
        ends = [told.states[0, 5:7, half] for told in (now, was, goal)]
        assert (ends[0] - ends[2]).norm() < 0.8 * (ends[1] - ends[2]).norm()


def test_half_precision_trains_as_well(tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Model(copy.deepcopy(tiny_models))
    for module in tiny_models.modules.values():
        module.to(torch.bfloat16)
    model = Model(tiny_models)
    _edited(model, monkeypatch)
    assert _share(model, frozen, "church") > 0.2


def test_it_goes_on_from_what_other_loras_change(tiny_models: ModelParts, tmp_path: Path) -> None:
    other = Model(copy.deepcopy(tiny_models))
    TextStart(other, space_of("church"), _config())
    generator = torch.Generator().manual_seed(5)
    state = {key: torch.randn(weight.shape, generator=generator)
             for key, weight in model_state(other.parts.modules).items()}  # fmt: skip
    family = tiny_models.info.family
    write_lora(tmp_path / "one.safetensors", state, family=family, alpha=8.0, metadata={}, dtype=torch.float32)
    model = Model(tiny_models)
    TextStart(model, space_of("church"), _config(rank=16), (Parent(tmp_path / "one.safetensors", 0.5),))
    begun = lora_state(model.parts.text_encoder)
    for name in lora_layers(model.parts.text_encoder):
        down, up = (state[f"text_encoder.{name}{part}"] for part in (DOWN, UP))
        assert torch.allclose(begun[name + UP] @ begun[name + DOWN], 0.5 * up @ down, atol=1e-4)


def test_layers_of_text_encoders_that_it_does_not_train_are_refused(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = "text_encoder.encoder.layers.0.self_attn.q_proj"
    width = tiny_models.text_encoder.config.hidden_size
    state = {path + DOWN: torch.ones(2, width), path + UP: torch.ones(width, 2)}
    file = tmp_path / "one.safetensors"
    write_lora(file, state, family=tiny_models.info.family, alpha=2.0, metadata={})
    with pytest.raises(LoraFileError, match="only their MLPs are"):
        TextStart(Model(tiny_models), space_of("church"), _config(), (Parent(file),))


@pytest.mark.parametrize("changes", [{"start": "zero"}, {"start": "closed-form"}, {"layers": "noxattn"}], ids=str)
def test_other_starts_leave_the_text_encoders_as_they_are(tiny_models: ModelParts, changes: dict[str, object]) -> None:
    config = _config(rank=2, **changes)
    inject_lora(tiny_models.unet, config.layers, 2, 2.0, 0)
    Trainer(Model(tiny_models), space_of("church"), config)
    assert not has_text_start(config)
    assert not lora_layers(tiny_models.text_encoder)
    assert not text_steps(config)


def test_no_more_steps_are_made_than_told() -> None:
    config = _config(erase=["church", "dog"], look_every=0)
    assert text_steps(config) == len(RATES) * TRIED_STEPS + first_steps(2)
    assert text_steps(_config(erase=["church", "dog"])) > text_steps(config)
    defended = _config(erase=["church", "dog"], look_every=0, robust="words")
    assert text_steps(defended) == text_steps(config) + WORDING_STEPS


@pytest.mark.usefixtures("quick_pictures")
def test_the_file_of_a_run_holds_the_edit_and_a_resumed_run_ends_with_the_same(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    config = _config(
        steps=3, neighbours=3, synonym_threshold=0.0, learning_rate=0.02, look_every=0, judged_words=0, rank=2
    )
    files = []
    for name, stopped in (("whole", False), ("resumed", True)):
        task = Task(tiny_checkpoint, tmp_path / f"{name}.safetensors", RunFolder(tmp_path / name), config)
        with erase(task) as run:
            for event in run:
                if stopped and isinstance(event, Step):
                    run.save()
                    run.give_up()
                    break
        if stopped:
            with resume(task.folder) as run:
                events = list(run)
            assert isinstance(events[-1], Saved)
        files.append(read_lora(task.out))
    whole, resumed = files
    assert any(key.startswith("lora_te_text_model_encoder_layers_0_mlp_fc1") for key in whole.state)
    assert any(key.startswith("lora_unet_") for key in whole.state)
    assert set(whole.state) == set(resumed.state)
    assert all(torch.equal(whole.state[key], resumed.state[key]) for key in whole.state)


def test_a_run_may_be_moved_between_two_steps(tiny_model: Model) -> None:
    edit = TextStart(tiny_model, space_of("church"), _config())
    steps = edit.put()
    next(steps)
    tiny_model.move("cpu")
    run_to_end(steps)  # type: ignore[arg-type]
    assert edit.steps == 3


def test_what_stands_around_a_prompt_stands_around_its_goal(tiny_model: Model) -> None:
    edit = TextStart(tiny_model, space_of("cubism"), _config(templates=["a house[ in the style of {}]"]))
    around = set()
    for _ in range(10):
        prompts, goals, _strengths, _ = edit._draw_erased()
        for prompt, (goal,) in zip(prompts, goals, strict=True):
            before, _middle, behind = prompt.partition("a house in the style of ")
            name = max((name for name in edit._names if behind.startswith(name)), key=len)
            assert goal == f"{before}a house{behind.removeprefix(name)}"
            around.add((before, behind.removeprefix(name)))
    assert len(around) > 2


def test_a_loss_that_is_not_finite_is_told(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = TextStart(tiny_model, space_of("church"), _config())
    monkeypatch.setattr(edit, "_step", lambda *given: float("nan"))
    with pytest.raises(NonFiniteLoss, match="step 1 on the text encoders"):
        list(edit.put())


@pytest.mark.parametrize("start", ["text-encoder", "zero"])
def test_joined_loras_keep_what_they_change_in_text_encoders_if_these_are_edited(
    tiny_models: ModelParts, tmp_path: Path, start: str
) -> None:
    config = _config(rank=4, start=start, layers="xattn_kv")
    other = copy.deepcopy(tiny_models)
    inject_lora(other.unet, "xattn_kv", 4, 4.0, 1)
    TextStart(Model(other), space_of("church"), config)
    generator = torch.Generator().manual_seed(5)
    state = {key: torch.randn(weight.shape, generator=generator) for key, weight in model_state(other.modules).items()}
    file = tmp_path / "one.safetensors"
    write_lora(file, state, family=tiny_models.info.family, alpha=4.0, metadata={}, dtype=torch.float32)
    inject_lora(tiny_models.unet, "xattn_kv", 4, 4.0, 0)
    parents = (Parent(file, 1.0, ("church",)),)
    if start == "zero":
        with pytest.raises(LoraFileError, match="layers that the new LoRA does not have"):
            set_first_weights(Model(tiny_models), space_of("church"), config, parents)
        return
    first = set_first_weights(Model(tiny_models), space_of("church"), config, parents)
    assert isinstance(first.edit, TextStart)
    begun = model_state(tiny_models.modules)
    assert any(begun[key].any() for key in begun if key.endswith(UP) and not key.startswith("text_encoder."))
    name = next(key.removesuffix(UP) for key in begun if key.startswith("text_encoder.") and key.endswith(UP))
    assert torch.allclose(begun[name + UP] @ begun[name + DOWN], state[name + UP] @ state[name + DOWN], atol=1e-4)


def test_prompts_that_do_not_fit_at_once_go_through_in_turns_and_are_learnt_the_same(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, read = [], []
    long = "a very long picture of a truck and of many other things beside it, in a street"
    for at_once in (text_tuning.AT_ONCE, 4 * 15):
        monkeypatch.setattr(text_tuning, "AT_ONCE", at_once * _layers_times_width(tiny_models))
        tuning = TextTuning(Model(copy.deepcopy(tiny_models)), _config())
        distances = tuning._distances
        sizes: list[int] = []

        def counted(prompts: Any, wanted: Any, distances: Any = distances, sizes: Any = sizes) -> Tensor:
            sizes.append(len(prompts))
            found: Tensor = distances(prompts, wanted)
            return found

        monkeypatch.setattr(tuning, "_distances", counted)
        optimizer, moved = tuning.optimizer(1e-3), []
        erased, goals, kept = ["church", "churches"], [["zebra"], ["zebra"]], ["dog", long, "bus", ""]
        for _ in range(3):
            moved.append(tuning.step(optimizer, 1e-3, erased, goals, [1.0, 1.0], kept, 3.0))
        found.append((moved, tuning.state()[0]))
        read.append(sizes)
    assert read[0] == [2, 4] * 3
    assert set(read[1]) > {1}
    assert sum(read[1]) == sum(read[0])
    (whole, weights), (parted, others) = found
    assert [loss for loss, _ in parted] == pytest.approx([loss for loss, _ in whole], rel=1e-3)
    assert parted[-1][1] == pytest.approx(whole[-1][1], rel=1e-2, abs=1e-6)
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=0, atol=1e-2 * float(weight.abs().max()))


def _layers_times_width(models: ModelParts) -> int:
    config = models.texts[0].encoder.config
    return int(config.num_hidden_layers * config.hidden_size)
