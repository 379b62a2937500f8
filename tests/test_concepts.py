"""The concept space: what is preserved, what goes along with a target, and how the two are told apart.

A fake model predicts constants that the test sets for each prompt, so that s(c) is known in advance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from erasure.concepts.build import build_concept_space
from erasure.concepts.clashes import start_problems
from erasure.concepts.space import ConceptSpace
from erasure.concepts.synonyms import let_go_along
from erasure.concepts.synonymy import compare, probe_target
from erasure.config.values import erase_config
from erasure.errors import ConceptError
from erasure.lora.adapter import inject_lora
from erasure.model.conditioning import Conditioning
from erasure.model.drawing import run_to_end
from erasure.model.model import Model
from erasure.model.parts import ModelParts


class FakeModel(Model):
    """Predicts the first number of the embedding everywhere; counts rows and checks that the LoRA is off.

    Prompts are points (x, y): x decides what the fake model draws, the angle what is near.
    """

    def __init__(self, parts: ModelParts, drawn: dict[str, float], near: dict[str, float]) -> None:
        super().__init__(parts)
        self.drawn, self.near = drawn, near
        self.total = 0
        self.calls: list[int] = []
        self.off = False

    def eps(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert self.off
        assert not torch.is_grad_enabled()
        self.total += len(z)
        self.calls.append(len(z))
        return conditioning.states[:, 0, 0].view(-1, 1, 1, 1).expand_as(z).contiguous()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.off = True
        yield
        self.off = False

    def embed(self, texts: Any) -> Conditioning:
        return Conditioning(torch.stack([torch.full((77, 2), self.drawn.get(text, 3.0)) for text in texts]))

    def pooled(self, texts: Any) -> Tensor:
        angles = torch.tensor([self.near[text] for text in texts])
        return torch.stack([angles.cos(), angles.sin()], dim=1)


# Distance in angle from "church" (0) and from "truck" (1); what the fake model draws for each: "" is 0.
NEAR = {
    "church": 0.0, "chapel": 0.05, "cathedral": 0.06, "temple": 0.1, "tower": 0.2, "bell": 0.3, "house": 0.5,
    "road": 0.8, "car": 0.9, "lorry": 0.98, "truck": 1.0, "bus": 1.1, "train": 1.3, "old church": 0.01,
    "trucks": 1.01,
}  # fmt: skip
DRAWN = {"": 0.0, "church": 1.0, "chapel": 1.1, "cathedral": 0.9, "temple": 3.0, "truck": -1.0, "lorry": -1.1}
WORDS = [word for word in NEAR if word not in ("church", "truck")]


def _space(models: Any, folder: Path, words: list[str] = WORDS, **settings: Any) -> ConceptSpace:
    path = folder / "vocabulary.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    settings = {"erase": ("church",), "neighbours": 4, **settings}
    config = erase_config(vocabulary="file", vocabulary_file=str(path), **settings)
    return build_concept_space(FakeModel(models, DRAWN, NEAR), config)


def _texts(candidates: Any) -> list[str]:
    return [candidate.text for candidate in candidates]


def _difference(
    models: ModelParts, drawn: list[float], target: float = 1.0, states: int = 6, **settings: Any
) -> tuple[Tensor | None, FakeModel]:
    """s(c) of candidates that the fake model draws so; None if it draws the target like an empty prompt."""

    def prompts(*values: float) -> Conditioning:
        return Conditioning(torch.stack([torch.full((77, 2), value) for value in values]))

    model = FakeModel(models, DRAWN, NEAR)
    probe = probe_target(model, prompts(target), states=states, seed=0)
    if probe is None:
        return None, model
    return compare(model, probe, prompts(*drawn), threshold=0.3, **settings), model


def test_difference_is_the_ratio_of_squared_distances(tiny_models: ModelParts) -> None:
    found, _ = _difference(tiny_models, [1.0, 1.5, 0.0, 3.0, 2.0])
    torch.testing.assert_close(found, torch.tensor([0.0, 0.25, 1.0, 4.0, 1.0]))


def test_only_close_candidates_are_measured_on_all_states(tiny_models: ModelParts) -> None:
    _, far = _difference(tiny_models, [3.0, 3.0, 3.0])
    _, close = _difference(tiny_models, [3.0, 1.1, 3.0])
    assert close.total - far.total == 5, "the other five of six states, for one candidate"


@pytest.mark.parametrize(("states", "most"), [(1, 0.6), (2, 0.45), (4, 0.375)])
def test_near_is_below_twice_the_threshold_on_one_state_and_less_on_more(
    tiny_models: ModelParts, states: int, most: float
) -> None:
    _, far = _difference(tiny_models, [3.0])
    for difference, taken in ((0.99 * most, min(6, 2 * states)), (1.01 * most, states)):
        _, model = _difference(tiny_models, [1 + difference**0.5])
        assert 1 + model.total - far.total == taken


class UnevenModel(FakeModel):
    """Draws the more of what is not the target, the noisier the latents are."""

    def eps(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        return super().eps(z, t, conditioning) ** (1 + t / self.train_steps).view(-1, 1, 1, 1)


@pytest.mark.parametrize(("drawn", "states"), [(1.3, range(6)), (1.45, (2, 3, 4, 5)), (1.5, (3, 4)), (2.0, (3,))])
def test_a_candidate_has_the_mean_of_the_states_on_which_it_was_compared(
    tiny_models: ModelParts, drawn: float, states: Sequence[int]
) -> None:
    model = UnevenModel(tiny_models, DRAWN, NEAR)

    def prompts(*values: float) -> Conditioning:
        return Conditioning(torch.stack([torch.full((77, 2), value) for value in values]))

    probe = probe_target(model, prompts(1.0), states=6, seed=0)
    assert probe is not None
    (found,) = compare(model, probe, prompts(drawn), threshold=0.3)
    moved = (drawn ** (1 + probe.t.double() / model.train_steps) - 1).square()
    means = {part: float(moved[[*part]].mean()) for part in (tuple(range(6)), (2, 3, 4, 5), (3, 4), (3,))}
    assert float(found) == pytest.approx(means[tuple(states)], rel=1e-4)
    others = [mean for part, mean in means.items() if part != tuple(states)]
    assert float(found) not in [pytest.approx(mean, rel=1e-3) for mean in others], "they can be told apart"


def test_measuring_never_exceeds_the_rows_of_a_call(tiny_models: ModelParts) -> None:
    _, model = _difference(tiny_models, [3.0] * 40 + [1.0] * 40, rows=8)
    assert max(model.calls) <= 8


@pytest.mark.parametrize("states", [1, 2, 3, 25])
def test_any_number_of_states_gives_the_same_ratio_for_a_constant_model(tiny_models: ModelParts, states: int) -> None:
    found, _ = _difference(tiny_models, [1.5, 0.0], states=states)
    torch.testing.assert_close(found, torch.tensor([0.25, 1.0]))


def test_nothing_is_measured_against_a_target_drawn_like_an_empty_prompt(tiny_models: ModelParts) -> None:
    found, _ = _difference(tiny_models, [1.0, 2.0], target=0.0)
    assert found is None


def test_real_model_measures_itself_as_zero_and_nothing_as_one(tiny_model: Model) -> None:
    def measure() -> Tensor:
        probe = probe_target(tiny_model, tiny_model.embed(["church"]), states=4, seed=1)
        assert probe is not None
        return compare(tiny_model, probe, tiny_model.embed(["church", "", "truck"]), threshold=0.3)

    found = measure()
    assert found[0] < 1e-6
    assert found[1] == pytest.approx(1.0, rel=1e-3)
    assert found[2] > 0.01
    inject_lora(tiny_model.unet, "xattn", 4, 4.0, 0)
    for name, weight in tiny_model.unet.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight.data)
    torch.testing.assert_close(measure(), found, rtol=1e-4, atol=1e-6)


def test_nearest_are_preserved_without_names_and_synonyms_and_refilled(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path)
    church = space.targets[0]
    assert church.named == ("old church",)
    assert _texts(church.synonyms) == ["chapel", "cathedral"]
    assert _texts(church.preserved) == ["temple", "tower", "bell", "house"]
    assert space.vocabulary_size == len(WORDS)
    chapel = church.synonyms[0]
    assert chapel.difference == pytest.approx(0.01, abs=1e-4)
    assert chapel.similarity == pytest.approx(0.99875, abs=1e-4)
    assert all(candidate.difference is not None for candidate in church.preserved)


def test_l2_finds_the_same_order_on_unit_vectors(tiny_models: ModelParts, tmp_path: Path) -> None:
    church = _space(tiny_models, tmp_path, similarity="l2").targets[0]
    assert _texts(church.preserved) == ["temple", "tower", "bell", "house"]
    assert all(candidate.similarity < 0 for candidate in church.preserved)


def test_no_target_preserves_what_names_or_means_another(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path, erase=("church", "truck"), neighbours=8)
    for target in space.targets:
        kept = set(_texts(target.preserved))
        assert not kept & {"old church", "trucks", "chapel", "cathedral", "lorry"}
        assert all(candidate.difference is not None for candidate in target.preserved)
    assert _texts(space.targets[1].synonyms) == ["lorry"]
    assert space.targets[1].named == ("trucks",)


def test_threshold_zero_measures_nothing(tiny_models: ModelParts, tmp_path: Path) -> None:
    church = _space(tiny_models, tmp_path, synonym_threshold=0.0).targets[0]
    assert not church.synonyms
    assert _texts(church.preserved) == ["chapel", "cathedral", "temple", "tower"]
    assert {candidate.difference for candidate in church.preserved} == {None}


def test_told_synonyms_go_to_the_nearest_target_and_are_erased_with_it(tiny_models: ModelParts, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"erase": ("church", "truck"), "synonym": ("bus", "temple")}
    space = _space(tiny_models, tmp_path, **settings)
    assert [target.told for target in space.targets] == [("temple",), ("bus",)]
    assert space.targets[1].named == ("bus", "trucks")
    for target in space.targets:
        assert not {"bus", "temple"} & set(_texts(target.preserved))
    with_measured = space.erased_prompts(erase_config(**settings))
    assert with_measured == [
        ("church", 0), ("truck", 1), ("temple", 0), ("chapel", 0), ("cathedral", 0), ("bus", 1), ("lorry", 1),
    ]  # fmt: skip
    without = space.erased_prompts(erase_config(**settings, erase_synonyms=False))
    assert without == [("church", 0), ("truck", 1), ("temple", 0), ("bus", 1)]


def test_what_the_user_preserves_stays_whatever_the_measurement_says(tiny_models: ModelParts, tmp_path: Path) -> None:
    church = _space(tiny_models, tmp_path, preserve=("chapel", "train")).targets[0]
    assert _texts(church.preserved) == ["chapel", "temple", "tower", "bell", "house", "train"]
    assert _texts(church.synonyms) == ["cathedral"]


@pytest.mark.parametrize(("preserve", "synonym"), [("churches", ()), ("old temple", ("temple",))])
def test_preserving_what_names_an_erased_concept_is_refused(
    tiny_models: ModelParts, tmp_path: Path, preserve: str, synonym: str
) -> None:
    with pytest.raises(ConceptError, match=f"{preserve!r} is to be preserved, but it names"):
        _space(tiny_models, tmp_path, preserve=(preserve,), synonym=synonym)


@pytest.mark.parametrize(
    ("anchor", "problem"),
    [
        (("a dog", ""), "anchor: 'church' is to turn into 'a dog', but that names 'dog', which is to be erased"),
        (("", "old churches"), "anchor: 'dog' is to turn into 'old churches', but that names 'church'"),
        (("old church", ""), ""),
        (("castle",), ""),
    ],
)
def test_a_target_that_is_to_turn_into_another_one_is_refused(anchor: tuple[str, ...], problem: str) -> None:
    found = start_problems(erase_config(erase=("church", "dog"), anchor=anchor))
    assert [line[: len(problem)] for line in found] == ([problem] if problem else [])


def test_anchor_that_the_model_draws_like_the_target_is_noted_and_not_erased(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    space = _space(tiny_models, tmp_path, anchor=("chapel",))
    church = space.targets[0]
    assert _texts(church.synonyms) == ["cathedral"]
    assert "chapel" not in _texts(church.preserved)
    assert any("the anchor 'chapel' just like 'church'" in note for note in space.notes)
    assert ("chapel", 0) not in space.erased_prompts(erase_config(erase=("church",), anchor=("chapel",)))


def test_target_unknown_to_the_model_is_noted_and_its_neighbours_stay(tiny_models: ModelParts, tmp_path: Path) -> None:
    near = {**NEAR, "florb": 0.0}
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    config = erase_config(erase=("florb",), neighbours=3, vocabulary="file", vocabulary_file=str(path))
    space = build_concept_space(FakeModel(tiny_models, {**DRAWN, "florb": 0.0}, near), config)
    assert len(space.targets[0].preserved) == 3
    assert {candidate.difference for candidate in space.targets[0].preserved} == {None}
    assert any("'florb' like an empty prompt" in note for note in space.notes)


def test_small_vocabulary_is_noted(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path, ["temple", "tower"], neighbours=50)
    assert _texts(space.targets[0].preserved) == ["temple", "tower"]
    assert any("2 usable concepts, fewer than neighbours (50)" in note for note in space.notes)


def test_vocabulary_of_nothing_but_names_is_refused(tiny_models: ModelParts, tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="choose another vocabulary"):
        _space(tiny_models, tmp_path, ["old church", "churches"])


def test_vocabulary_of_nothing_but_synonyms_is_refused(tiny_models: ModelParts, tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="lower synonym_threshold"):
        _space(tiny_models, tmp_path, ["chapel", "cathedral"])


def test_target_longer_than_this_text_encoder_reads_is_refused(
    tiny_models: ModelParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_models.tokenizer, "model_max_length", 50)
    with pytest.raises(ConceptError, match="12 tokens too long"):
        _space(tiny_models, tmp_path, erase=("dog " * 60,))


def test_too_long_prompt_of_the_vocabulary_is_left_out_with_a_note(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path, [*WORDS, "dog " * 80])
    assert any("1 prompt of the vocabulary is left out" in note for note in space.notes)


def test_space_survives_json(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path, erase=("church", "truck"), synonym=("bus",), anchor=("", "car"))
    text = json.dumps(space.to_dict(), allow_nan=False)
    assert ConceptSpace.from_dict(json.loads(text)) == space


@pytest.mark.slow
def test_built_in_words_around_a_target_of_a_real_model_are_deterministic(tiny_model: Model) -> None:
    config = erase_config(erase=("church", "garbage truck"), neighbours=6, synonym_states=2)
    spaces = [build_concept_space(tiny_model, config) for _ in range(2)]
    assert spaces[0] == spaces[1]
    assert [len(target.preserved) for target in spaces[0].targets] == [6, 6]
    assert spaces[0].targets[0].named == ("church",)


def test_synonyms_that_are_not_erased_are_not_preserved_either(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path)
    synonyms = set(_texts(space.targets[0].synonyms))
    assert synonyms
    for erased in (True, False):
        assert synonyms <= space.gone(erase_config(erase=("church",), erase_synonyms=erased))


class _Judge:
    """Says that something of the target is in the pictures of some words."""

    def __init__(self, *shown: str):
        self.shown = shown

    def scale(self, target: str) -> Iterator[float]:
        yield 1.0
        return SimpleNamespace(tells=True)  # type: ignore[return-value]

    def levels(self, target: str, words: list[str]) -> Iterator[float]:
        yield 1.0
        return {word: 0.6 * (word in self.shown) for word in words}  # type: ignore[return-value]


def test_what_a_target_turns_into_does_not_go_along_with_it() -> None:
    config = erase_config(erase=("church",), anchor=("chapel",), preserve=("tower",), robust="words")
    words = ["chapel", "old chapel", "temple", "tower", "bell"]
    synonyms: list[set[str]] = [set()]
    notes: list[str] = []
    judge: Any = _Judge(*words)
    run_to_end(let_go_along([words], [dict.fromkeys(words, 0.8)], synonyms, config, judge, notes))
    assert synonyms == [{"temple", "bell"}]
    assert "chapel" not in notes[0]
