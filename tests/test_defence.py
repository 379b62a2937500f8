"""The defence in training: the prompt that brings an erased concept back best is found, and erased next."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from erasure.concepts import understood
from erasure.concepts.hostile_wordings import MOST, HostileWording, hostile_wordings
from erasure.concepts.space import Candidate, ConceptSpace
from erasure.concepts.understood import MADE_OF_WORDS, UNDERSTOOD, understood_wordings
from erasure.concepts.understood_sizes import understood_rows
from erasure.concepts.wordings import wordings
from erasure.config.methods import METHODS
from erasure.config.settings import EraseConfig
from erasure.config.values import BEFORE, config_from_dict
from erasure.lora.adapter import inject_lora, lora_parameters, lora_state
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.adversary.comeback import Comeback
from erasure.training.defence.defence import Erased
from erasure.training.defence.embeddings import HostileEmbeddings
from erasure.training.defence.sizes import EMBEDDING_RADIUS
from erasure.training.defence.words import HostileWords
from erasure.training.steering import Steering
from erasure.training.trainer import Trainer
from erasure.verdict.examination import Examination
from erasure.verdict.panel import Member, Shot, panel_shots
from tests.latent_states import frozen_eps, random_states
from tests.spaces import space_of
from tests.updates import updates

FAST = {"steps": 4, "sampling_steps": 3, "warmup": 0, "rank": 2, "alpha": 8.0, "look_every": 0, "judged_words": 0}
# How much of the target a frozen model draws from some texts; s(c) is the square of what is missing.
HEARD = {
    "church": 1.0, "kirk": 1.0, "a photo of church": 1.0, "churches": 1.0,
    "this is a church": 0.25, "tower bell": 0.5, "abbey tower": 0.25, "c h u r c h": 0.1,
}  # fmt: skip


def _config(robust: str, **changes: Any) -> EraseConfig:
    return config_from_dict({"erase": ["church"], "robust": robust, **FAST, **changes})


def _space() -> ConceptSpace:
    space = space_of("church", words=("abbey", "tower", "bell", "dog", "truck"))
    near = tuple(replace(c, difference=1.0 + k / 10) for k, c in enumerate(space.targets[0].preserved))
    return replace(space, targets=(replace(space.targets[0], preserved=near, told=("kirk",)),))


# --- the list


def test_nothing_that_must_stay_is_a_hostile_wording() -> None:
    found = hostile_wordings(["church", "chapel", "abbey"], ["temple", "tower"], ["abbey", "CHURCHES"])
    bare = {w.words for w in found if w.frame == "{}"}
    assert "chapel" in bare
    assert {"temple tower", "tower temple"} <= bare
    assert not bare & {"church", "abbey", "churches", "temple", "tower"}
    texts = [w.prompt("{}") for w in found]
    assert len(set(texts)) == len(texts) <= MOST
    assert not any("without" in text or text.startswith(("no ", "anything but")) for text in texts)


def test_the_list_is_not_that_of_the_attacks() -> None:
    attacks = {w.prompt("{}") for w in wordings("church", ["chapel"], ["temple", "tower"]) if w.kind != "plural"}
    found = {w.prompt("{}") for w in hostile_wordings(["church", "chapel"], ["temple", "tower"])}
    assert found & attacks <= {"chapel", "c h u r c h", "c-h-u-r-c-h", "c.h.u.r.c.h", "chu rch"}


def test_what_goes_from_a_list_of_styles_is_the_target_alone() -> None:
    wording = HostileWording("chapel", "cartoon, pastel[, {}]")
    assert wording.prompt("a {}") == "cartoon, pastel, a chapel"
    assert wording.anchored("a {}", "tower") == "cartoon, pastel, a tower"
    assert wording.anchored("{}", "") == "cartoon, pastel"
    assert HostileWording("chapel", "a photo of {}").anchored("{}", "") == ""


# --- which of them are understood


def test_only_wordings_that_the_model_understands_are_in_the_space(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen model that hears nothing but whether a text means the target."""
    own, others = tiny_model.embed(["church"]), tiny_model.embed
    means: dict[bytes, float] = {}

    def embed(texts: Any) -> Conditioning:
        found = others(texts)
        for text, row in zip(texts, found, strict=True):
            means[row.states.numpy().tobytes()] = HEARD.get(text, 0.0)
        return found

    def predict(z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        heard = [means.get(row.states.numpy().tobytes(), 0.0) for row in conditioning]
        return 0.1 * z + torch.tensor(heard).view(-1, 1, 1, 1)

    assert len(own) == 1
    monkeypatch.setattr(tiny_model, "embed", embed)
    monkeypatch.setattr(tiny_model._denoiser, "_forward", predict)
    config = _config("words", preserve=["churches"])
    (found,) = understood_wordings(tiny_model, _space(), config)
    # A pair of words that stay must be more like the target than a wording of its own name.
    assert {w.prompt("{}") for w in found} == {"kirk", "a photo of church", "this is a church", "tower bell"}
    assert {w.made_of for w in found} == {(), ("tower", "bell")}
    counted, told = tiny_model.rows["hostile"], understood_rows(config)
    assert 0 < counted.total <= told.total
    assert counted.calls <= told.calls


@pytest.mark.parametrize(("start", "likeness"), [("text-encoder", UNDERSTOOD), ("closed-form", MADE_OF_WORDS)])
def test_pairs_of_words_that_stay_may_be_less_like_the_target_where_text_encoders_tell_them_apart(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch, start: str, likeness: float
) -> None:
    asked: list[float] = []

    def known(model: Model, space: ConceptSpace, config: EraseConfig, most: float) -> list[tuple[HostileWording, ...]]:
        asked.append(most)
        return [()]

    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", known)
    HostileWords(tiny_model, _space(), _config("words", start=start)).prepare()
    assert asked == [likeness]


def test_a_target_that_the_model_does_not_know_has_no_hostile_wording(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_model._denoiser, "_forward", lambda z, t, c: 0.1 * z)
    assert understood_wordings(tiny_model, _space(), _config("words")) == [()]
    assert understood_rows(_config("off")).total == 0


# --- the search


PLANTED = tuple(HostileWording(words) for words in ("kirk", "minster", "chapel", "abbey", "temple"))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    known = lambda model, space, *given: [PLANTED for _ in space.targets]  # noqa: E731
    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", known)


def _plain(model: Model) -> tuple[Erased, Tensor]:
    prompts, states = [model.prompt("church")], random_states(model, 1)
    return Erased(prompts, [model.prompt("")], prompts, states), frozen_eps(model, prompts, states)


def test_the_search_finds_the_wording_that_is_erased_least(
    tiny_model: Model, planted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tuned model that still draws the target from one wording."""
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    rest = {w.words: tiny_model.embed([w.words]).states for w in PLANTED}
    hostile = rest["abbey"]

    def predict(z: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        apart = (c.states - hostile).square().mean(dim=(1, 2))
        return torch.zeros_like(z) + apart.view(-1, 1, 1, 1)

    defence = HostileWords(tiny_model, space_of("church"), _config("words"))
    assert "5 for church" in defence.prepare()
    assert defence.prepare() == ""
    monkeypatch.setattr(tiny_model._denoiser, "_forward", predict)
    plain, _ = _plain(tiny_model)
    wanted, generator = torch.zeros_like(plain.states[0].z)[None], torch.Generator().manual_seed(0)
    for _ in range(12):
        defence.find([0], "{}", plain, wanted, generator)
    assert [prompt.text for prompt in defence.worst(0, "a {}", 1)] == ["a abbey"]


def test_an_update_erases_what_was_found_in_its_own_frame(
    tiny_model: Model, planted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    framed = (HostileWording("kirk", "cartoon, pastel[, {}]"),)
    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", lambda *rest: [framed])
    defence = HostileWords(tiny_model, space_of("church", anchor="tower"), _config("words", anchor=["tower"]))
    defence.prepare()
    plain, wanted = _plain(tiny_model)
    known = replace(plain, states=[replace(plain.states[0], eps=wanted[0], eps_null=wanted[0])])
    found = defence.find([0], "a {}", known, wanted, torch.Generator())
    assert [p.text for p in found.prompts] == [p.text for p in found.asked] == ["cartoon, pastel, a kirk"]
    assert [p.text for p in found.anchors] == ["cartoon, pastel, a tower"]
    # What is known there of the target says nothing of another prompt.
    assert found.states[0].eps is None
    assert found.states[0].eps_null is not None


def test_words_of_which_a_pair_is_made_are_preserved_beside_it(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    pair = (HostileWording("abbey tower", made_of=("abbey", "tower")),)
    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", lambda *rest: [pair])
    defence = HostileWords(tiny_model, space_of("church"), _config("words", start="closed-form"))
    defence.prepare()
    plain, wanted = _plain(tiny_model)
    generator = torch.Generator().manual_seed(0)
    beside = [defence.find([0], "a {}", plain, wanted, generator).beside for _ in range(8)]
    assert {prompt.text for prompts in beside for prompt in prompts} == {"a abbey", "a tower"}
    assert {len(prompts) for prompts in beside} == {1}


def test_pairs_are_left_to_an_edit_of_the_text_encoders(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    own = (HostileWording("abbey tower", made_of=("abbey", "tower")), HostileWording("kirk"))
    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", lambda *rest: [own])
    defence = HostileWords(tiny_model, space_of("church"), _config("words", start="text-encoder"))
    defence.prepare()
    assert defence.wordings == [own], "the edit is told of both"
    plain, wanted = _plain(tiny_model)
    found = [defence.find([0], "a {}", plain, wanted, torch.Generator().manual_seed(k)) for k in range(8)]
    assert {prompt.text for one in found for prompt in one.prompts} == {"a kirk"}
    assert not any(one.beside for one in found)
    assert [prompt.text for prompt in defence.worst(0, "a {}", 2)] == ["a kirk"]


def test_a_target_without_hostile_wordings_is_erased_by_its_own_name(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", lambda *rest: [()])
    defence = HostileWords(tiny_model, space_of("church"), _config("words"))
    defence.prepare()
    plain, wanted = _plain(tiny_model)
    assert defence.find([0], "{}", plain, wanted, torch.Generator()) is plain
    assert defence.worst(0, "{}", 2) == []


def test_a_comeback_is_the_smaller_distance(tiny_model: Model) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    prompts, states = [tiny_model.prompt("church"), tiny_model.prompt("dog")], random_states(tiny_model, 1) * 2
    comeback = Comeback(tiny_model, "eps", states, frozen_eps(tiny_model, prompts[:1] * 2, states))
    own, other = comeback.measure(prompts).tolist()
    assert own == pytest.approx(0.0, abs=1e-9)
    assert other < own
    way = comeback(prompts[1:] * 2)
    nearer = prompts[1].conditioning.apply(lambda x, g: x + 0.1 * g / g.norm() * x.norm(), way[0])
    assert float(comeback.measure([Prompt("dog", nearer)] * 2)[0]) > other


# --- embeddings


@pytest.mark.parametrize("meant", [True, False])
def test_a_hostile_embedding_is_used_only_if_it_means_the_target(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch, meant: bool
) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    with torch.no_grad():
        for weight in lora_parameters(tiny_model.unet):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(weight))))
    space, config = space_of("church"), _config("embeddings")
    plain, wanted = _plain(tiny_model)
    if not meant:
        # What the attack finds is the nearest word that stays.
        stays = tiny_model.prompt(space.targets[0].preserved[0].text).conditioning

        def confused(model: Model, prompts: list[Prompt], *rest: Any, **more: Any) -> list[Prompt]:
            far = prompts[0].conditioning.apply(lambda own, to: own + 2 * (to - own), stays)
            return [Prompt(prompts[0].text, far, exact=False)]

        monkeypatch.setattr("erasure.training.defence.embeddings.hostile_prompts", confused)
    defence = HostileEmbeddings(tiny_model, space, config)
    found = defence.find([0], "{}", plain, wanted, torch.Generator())
    assert found.prompts == plain.prompts
    assert (found.asked[0] is not plain.prompts[0]) == meant
    assert len(defence.worst(0, "{}", 2)) == int(meant)
    if meant:
        way = found.asked[0].conditioning.states - plain.prompts[0].conditioning.states
        assert 0 < way.norm() <= EMBEDDING_RADIUS * plain.prompts[0].conditioning.states.norm() * 1.0001


# --- training


def _trainer(parts: ModelParts, robust: str, **changes: Any) -> Trainer:
    model = Model(parts)
    config = _config(robust, **changes)
    inject_lora(model.unet, config.layers, config.rank, config.alpha, config.seed)
    return Trainer(model, space_of(*config.erase), config)


@pytest.mark.parametrize("robust", ["words", "embeddings"])
def test_a_resumed_run_ends_with_the_same_weights(tiny_models: ModelParts, planted: None, robust: str) -> None:
    other = copy.deepcopy(tiny_models)
    settings = {"erase": ["church", "radio"], "batch": 2, "start": "zero", "null_space": 0.0, "rehearsed": 0}
    whole = _trainer(tiny_models, robust, **settings)
    for _ in range(2):
        whole.update()
    tensors, meta = whole.tensors(), whole.meta()
    assert any(name.startswith("defence/") for name in tensors)
    list(whole)
    resumed = _trainer(other, robust, **settings)
    resumed.load(tensors, meta)
    assert [step.step for step in updates(resumed)] == [3, 4]
    for name, weight in lora_state(tiny_models.unet).items():
        assert torch.equal(weight, lora_state(other.unet)[name]), name


def test_off_is_as_before_and_others_are_not(tiny_models: ModelParts, planted: None) -> None:
    """Only what a defence does in an update can differ: without one, none of its code runs."""
    found = {}
    for robust in ("off", "words", "embeddings"):
        trainer = _trainer(copy.deepcopy(tiny_models), robust, start="zero", null_space=0.0, rehearsed=0)
        told = [step.erased for step in updates(trainer)]
        found[robust] = (told, lora_state(trainer.model.unet), trainer.tensors())
    assert BEFORE["robust"] == "off"
    assert not any(name.startswith("defence") for name in found["off"][2])
    assert {text for texts in found["off"][0] for text in texts} == {"church"}
    assert {w.words for w in PLANTED} & {text for texts in found["words"][0] for text in texts}
    # The first update, before any attack, is the same for all; every second one is not.
    assert found["words"][0][0::2] == found["off"][0][0::2]
    for robust in ("words", "embeddings"):
        pairs = zip(found["off"][1].values(), found[robust][1].values(), strict=True)
        assert not all(torch.equal(one, other) for one, other in pairs)


def test_only_our_method_has_a_defence() -> None:
    for name in METHODS:
        config = config_from_dict({"erase": ["church"], "method": name, "robust": "words"})
        assert config.robust == ("words" if name == "adversarial" else "off")


# --- looks


class _Seen:
    """An examination in which only hostile prompts show the target, in as many looks as are told."""

    panel = (Member("church", "target", 0, 3),)
    shots = panel_shots(panel, ("{}",))

    def __init__(self, *hostile: float):
        self.hostile = list(hostile)

    def scale(self, member: int) -> Any:
        return SimpleNamespace(tells=True)

    def look(self, shots: Any) -> list[float]:
        return [0.0] * len(shots)

    def look_at(self, prompts: list[Prompt], shot: Shot, *, other_seed: bool) -> list[float]:
        assert shot.member == 0
        return [self.hostile.pop(0)] * len(prompts)


class _Worst:
    def worst(self, target: int, template: str, count: int) -> list[Any]:
        return ["abbey"] * count


def _steering(*hostile: float) -> Steering:
    weights: Any = SimpleNamespace(weights=dict, put_back=lambda weights: None)
    return Steering(weights, cast("Examination", _Seen(*hostile)), every=10, updates=40, hostile=_Worst())


def test_training_goes_on_until_hostile_prompts_show_nothing() -> None:
    steering = _steering(0.9, 0.1, 0.7, 0.0, 0.0)
    ended = []
    for step in range(1, 41):
        while steering.due(step):
            look = steering.look(step)
            ended.append((step, look.recognised["church"][0], steering.hostile_left(0), steering.ended))
    # The next look is as soon as it can be. Gone at first sight then, but not at the second.
    assert ended == [
        (10, 1, True, False),
        (15, 0, False, False),
        (15, 2, True, False),
        (20, 0, False, False),
        (20, 0, False, True),
    ]


def test_what_looks_found_of_hostile_prompts_is_kept() -> None:
    one, other = _steering(0.9), _steering()
    one.look(10)
    other.load(one.tensors(), one.meta())
    assert other.hostile_left(0)


def test_a_picture_of_a_hostile_prompt_is_judged_as_the_target(tiny_model: Model) -> None:
    from erasure.judge.album import open_album
    from erasure.model.drawing import run_to_end

    panel = (Member("church", "target", 0, 1), Member("day", "unrelated", -1, 1))
    examination = Examination(tiny_model, open_album(tiny_model, ("{}",)), panel, ("{}",))
    run_to_end(examination.before())
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)  # changes nothing yet
    own = examination.look([0])
    before = tiny_model.rows["looks"].total
    assert examination.look_at([tiny_model.prompt("church")], examination.shots[0]) == pytest.approx(own, abs=1e-3)
    assert tiny_model.rows["looks"].total == 2 * before


def test_a_candidate_without_a_measured_difference_makes_no_pair(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def listed(names: Any, near: list[str], stays: Any, *, seed: int) -> tuple[HostileWording, ...]:
        asked.append(near)
        return ()

    monkeypatch.setattr(understood, "hostile_wordings", listed)
    space = _space()
    unknown = (*space.targets[0].preserved, Candidate("far", 0.1, None))
    space = replace(space, targets=(replace(space.targets[0], preserved=unknown),))
    understood_wordings(tiny_model, space, _config("words"))
    assert asked == [["abbey", "tower", "bell", "dog", "truck"]]
