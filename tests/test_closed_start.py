from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from erasure.concepts.hostile_wordings import HostileWording
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.config.template import fill
from erasure.config.values import config_from_dict
from erasure.lora.adapter import DOWN, UP, inject_lora, load_lora_state, lora_layers, lora_state
from erasure.lora.layer_choice import base_layers, text_values
from erasure.model.cross_attention import watched_cross_attention
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.run.beginning import erase
from erasure.run.folder import RunFolder
from erasure.run.task import Task
from erasure.training.attended import _reads, attended, stage_of
from erasure.training.carrying_blocks import block_of
from erasure.training.closed_start import ClosedStart
from erasure.training.closed_start_sizes import (
    ANCHOR_WORDS,
    FAR_WORDS,
    MOST_NAMES,
    closed_start_rows,
    prompts_for_blocks,
)
from erasure.training.events import Step
from erasure.training.first_weights import set_first_weights
from erasure.training.preserved_states import far_words
from erasure.training.trainer import Trainer
from erasure.training.weighted_pairs import anchor_prompts
from tests.spaces import WORDS, space_of
from tests.stage_edits import exact
from tests.updates import updates


def _config(**changes: object) -> EraseConfig:
    return config_from_dict(
        {"erase": ["church"], "start": "closed-form", "rank": 4, "sampling_steps": 3, "steps": 2, **changes}
    )


def _read(model: Model, prompt: str) -> dict[str, Tensor]:
    """What layers read of a prompt, on a noise that no edit has seen: (places, d) by stage of the U-Net."""
    return {
        stage_of(name): x[0].double()
        for name, x in _reads(model, model.noise(Generator().manual_seed(99))[None], [prompt])
    }


def _changes(model: Model, space: ConceptSpace, config: EraseConfig) -> dict[str, Tensor]:
    """The edit D by stage."""
    return {stage: exact(edit) for stage, edit in ClosedStart(model, space, config).edits()}


def _begun(trainer: Trainer) -> dict[str, Tensor]:
    """The LoRA's weights that the first update of a trainer starts from."""
    found: list[dict[str, Tensor]] = []
    update = trainer.update

    def watched() -> Step:
        found.append(lora_state(trainer.model.unet))
        return update()

    trainer.update = watched  # type: ignore[method-assign]
    next(event for event in trainer if isinstance(event, Step))
    return found[0]


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_the_edit_turns_what_is_read_of_the_target_into_what_is_read_of_its_anchor(tiny_model: Model) -> None:
    edits = _changes(tiny_model, space_of("church", anchor="zebra"), _config(anchor=["zebra"]))
    own, anchor, kept = (_read(tiny_model, prompt) for prompt in ("church", "zebra", "truck"))
    assert set(edits) == set(own)
    for name, change in edits.items():
        way, moved = anchor[name] - own[name], own[name] @ change.T
        assert _cosine(moved, way) > 0.5
        spared = (kept[name] @ change.T).norm() / (anchor[name] - kept[name]).norm()
        assert spared < moved.norm() / way.norm()


def test_a_target_that_turns_into_nothing_becomes_what_other_words_are_in_its_frame(tiny_model: Model) -> None:
    space, config = space_of("church"), _config(templates=["a picture of a {}"])
    edits = _changes(tiny_model, space, config)
    own = _read(tiny_model, "a picture of a church")
    others = [
        _read(tiny_model, f"a picture of a {word}") for word in far_words(tiny_model, space, config, FAR_WORDS)[:20]
    ]
    for name, change in edits.items():
        moved, average = own[name] @ change.T, torch.stack([other[name] for other in others]).mean(0)
        assert (own[name] + moved - average).norm() < (own[name] - average).norm()
        assert _cosine(moved, average - own[name]) > 0.3


def test_the_anchor_is_one_prompt_unless_nothing_would_be_left() -> None:
    words = ["bus", "dog", "bell"]
    picture, house = partial(fill, "a picture of a {}"), partial(fill, "a picture of a house[ in {}]")
    assert anchor_prompts(picture, "castle", words, 0, 2) == ["a picture of a castle"]
    assert anchor_prompts(house, "", words, 0, 2) == ["a picture of a house"]
    assert anchor_prompts(picture, "", words, 2, 2) == ["a picture of a bell", "a picture of a bus"]
    assert anchor_prompts(picture, "", [], 2, 2) == [""]


def test_what_is_preserved_by_name_is_spared_more(tiny_model: Model) -> None:
    space = space_of("church")
    moved = []
    for preserve in ([], ["zebra"]):
        edits = _changes(tiny_model, space, _config(preserve=preserve))
        read = _read(tiny_model, "zebra")
        moved.append(sum(float((read[name] @ change.T).norm()) for name, change in edits.items()))
    assert moved[1] < moved[0]


def test_other_wordings_are_erased_as_well_but_none_made_of_words_that_stay(tiny_model: Model) -> None:
    inject_lora(tiny_model.unet, "xattn", 4, 4.0, 0)
    space, config = space_of("church", anchor="zebra"), _config(anchor=["zebra"])
    start = ClosedStart(tiny_model, space, config)
    before = {stage: exact(edit) for stage, edit in start.edits()}
    start.add_wordings([[HostileWording("bell", made_of=("tower", "dog"))]])
    assert all(torch.equal(exact(edit), before[stage]) for stage, edit in start.edits())
    start.add_wordings([[HostileWording("bell")]])
    wording, anchor, other = (_read(tiny_model, prompt) for prompt in ("bell", "zebra", "cow"))
    for stage, edit in start.edits():
        way = anchor[stage] - wording[stage]
        was, is_now = (_cosine(wording[stage] @ change.T, way) for change in (before[stage], exact(edit)))
        assert is_now > was + 0.05, (stage, was, is_now)
        assert _cosine(other[stage] @ exact(edit).T, anchor[stage] - other[stage]) < is_now


def test_a_long_list_of_wordings_takes_no_more_rows_than_told(tiny_models: ModelParts) -> None:
    config, model = _config(robust="words", erase=["church", "zebra"]), Model(tiny_models)
    inject_lora(tiny_models.unet, "xattn", 4, 4.0, 0)
    start = ClosedStart(model, space_of("church", "zebra"), config)
    before = model.rows["start"]
    many = [HostileWording(f"{word} {number}") for word in WORDS for number in range(10)]
    start.add_wordings([many, many])
    told, without = (closed_start_rows(one) for one in (config, with_changes(config, robust="off")))
    assert model.rows["start"].total - before.total == told.total - without.total
    assert model.rows["start"].calls - before.calls <= told.calls - without.calls


@pytest.mark.parametrize("known", [True, False])
def test_training_starts_from_an_edit_of_what_the_defence_knows_also_if_it_was_stopped_before(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    wordings = [(HostileWording("bell"),) if known else ()]
    monkeypatch.setattr("erasure.training.defence.words.understood_wordings", lambda *given: wordings)
    config, space, model = _config(layers="xattn", robust="words"), space_of("church"), Model(tiny_models)
    inject_lora(tiny_models.unet, "xattn", 4, 4.0, 0)
    first = lora_state(tiny_models.unet)
    plain = _begun(Trainer(model, space, with_changes(config, robust="off")))
    load_lora_state(tiny_models.unet, first)
    trainer = Trainer(model, space, config)
    trainer._prepared()
    tensors, meta = trainer.tensors(), trainer.meta()
    started = _begun(trainer)
    assert known == any(not torch.equal(plain[name], started[name]) for name in plain)
    load_lora_state(tiny_models.unet, first)
    resumed = Trainer(model, space, config)
    resumed.load(tensors, meta)
    again = _begun(resumed)
    assert all(torch.equal(started[name], again[name]) for name in started)


@pytest.mark.parametrize(
    "changes", [{}, {"layers": "xattn_v", "preserve": ["castle"]}, {"layers": "noxattn"}, {"start": "zero"}], ids=str
)
def test_the_rows_of_the_start_are_told(tiny_models: ModelParts, changes: dict[str, object]) -> None:
    config, model = _config(rank=2, neighbours=len(WORDS), **changes), Model(tiny_models)
    inject_lora(tiny_models.unet, config.layers, 2, 2.0, 0)
    set_first_weights(model, space_of("church"), config)
    counted, told = model.rows["start"].total, closed_start_rows(config).total
    assert bool(counted) == bool(told)
    # Names that were measured, and far words that are not near ones, are known only when it is done.
    assert 0.8 * (told - 2 * MOST_NAMES * ANCHOR_WORDS) <= counted <= told or not told


def test_a_run_that_judges_nothing_counts_the_rows_of_its_start(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = _config(look_every=0, judged_words=0, neighbours=3, synonym_threshold=0.0, learning_rate=0.02)
    task = Task(tiny_checkpoint, tmp_path / "out.safetensors", RunFolder(tmp_path / "run"), config)
    with erase(task) as run:
        next(event for event in run if isinstance(event, Step))
        assert 0 < run.rows_steering <= closed_start_rows(config).total


def test_rows_that_do_not_fit_at_once_are_read_one_after_the_other(all_layers_models: ModelParts) -> None:
    whole, split = (attended(Model(all_layers_models, max_rows=n), ["church", "bus"], 3, ["", ""]) for n in (0, 1))
    assert set(whole) == set(split)
    for name, read in whole.items():
        assert torch.allclose(read.own, split[name].own, rtol=1e-4, atol=1e-6)
        assert torch.allclose(read.move, split[name].move, rtol=1e-4, atol=1e-6)


def test_the_first_weights_hold_the_edit_and_what_is_left_of_the_rank_starts_as_ever(tiny_models: ModelParts) -> None:
    model, space, config = Model(tiny_models), space_of("church"), _config(rank=32)
    inject_lora(tiny_models.unet, "xattn", 32, 32.0, 0)
    first = lora_state(tiny_models.unet)
    start = ClosedStart(model, space, config)
    state, edits = start.weights(), dict(start.edits())
    base = base_layers(tiny_models.unet)
    values = text_values(lora_layers(tiny_models.unet))
    assert values
    for name in lora_layers(tiny_models.unet):
        if name not in values:
            assert torch.equal(state[name + DOWN], first[name + DOWN])
            assert not state[name + UP].any()
            continue
        edit = edits[stage_of(name)]
        root, wanted = torch.linalg.cholesky(edit.metric), base[name].weight.double() @ exact(edit)
        held = state[name + UP].double() @ state[name + DOWN].double()
        assert ((held - wanted) @ root).norm() <= 0.02 * (wanted @ root).norm()
        unused = ~state[name + UP].any(dim=0)
        assert unused.any()
        assert torch.equal(state[name + DOWN][unused], first[name + DOWN][unused])


def test_training_starts_at_the_edit_and_reads_through_the_null_space(tiny_models: ModelParts) -> None:
    model = Model(tiny_models)
    inject_lora(tiny_models.unet, "xattn", 4, 4.0, 0)
    first = lora_state(tiny_models.unet)
    trainer = Trainer(model, space_of("church"), _config(layers="xattn"))
    started = lora_state(tiny_models.unet)
    values = text_values(lora_layers(tiny_models.unet))
    edited = {block_of(name) for name in values if started[name + UP].any()}
    assert edited
    for name in values:
        assert bool(started[name + UP].any()) == (block_of(name) in edited)
    assert len(updates(trainer)) == 2
    assert any(not torch.equal(started[key], first[key]) for key in first)


def test_layers_without_values_start_at_nothing(tiny_models: ModelParts) -> None:
    inject_lora(tiny_models.unet, "noxattn", 2, 2.0, 0)
    first = lora_state(tiny_models.unet)
    Trainer(Model(tiny_models), space_of("church"), _config(layers="noxattn", rank=2))
    assert all(torch.equal(first[key], weight) for key, weight in lora_state(tiny_models.unet).items())


def test_a_few_places_are_taken_evenly_of_a_map(tiny_model: Model) -> None:
    z, t = tiny_model.noise(Generator().manual_seed(0))[None], torch.tensor([500])
    maps = []
    for positions in (0, 2):
        with torch.no_grad(), watched_cross_attention(tiny_model.unet, positions) as layers:
            tiny_model.eps(z, t, tiny_model.embed(["church"]))
        maps.append([layer.map() for layer in layers])
    for whole, few in zip(*maps, strict=True):
        assert few.shape[2] <= 2
        assert torch.allclose(few, whole[:, :, :: -(-whole.shape[2] // 2)])


@pytest.mark.parametrize(("targets", "prompts"), [(1, 9), (2, 12), (5, 15), (40, 15)])
def test_few_prompts_tell_which_blocks_carry_what_is_erased(targets: int, prompts: int) -> None:
    config = _config(erase=[f"word {number}" for number in range(targets)], templates=["{}", "a {}", "the {}"])
    assert prompts_for_blocks(config) == prompts
