from __future__ import annotations

import torch

from erasure.concepts.space import Candidate, ConceptSpace, TargetSpace
from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.rehearsal import Rehearsal, rehearsed_words
from erasure.training.trainer import Trainer
from tests.spaces import space_of
from tests.updates import updates

WORDS = ("truck", "bus", "house")


def _rehearsal(model: Model, words: tuple[str, ...] = WORDS, **settings: object) -> Rehearsal:
    config = config_from_dict({"erase": ["church"], "rehearsed": 2, "sampling_steps": 2, **settings})
    return Rehearsal(model, words, config)


def test_no_word_comes_twice_before_all_have_come(tiny_model: Model) -> None:
    rehearsal, generator = _rehearsal(tiny_model), torch.Generator().manual_seed(0)
    drawn = [p.text for step in range(3) for p in rehearsal.draw(step, generator).prompts]
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == sorted(WORDS)


def test_the_frozen_models_predictions_come_along(tiny_model: Model) -> None:
    found = _rehearsal(tiny_model).draw(0, torch.Generator().manual_seed(0))
    for prompt, state in zip(found.prompts, found.states, strict=True):
        assert state.eps is not None
        with tiny_model.frozen(), torch.no_grad():
            own = tiny_model.eps(state.z[None], torch.tensor([state.t]), prompt.conditioning)[0]
        assert torch.allclose(state.eps, own, atol=0.02)


def test_trajectories_are_kept_so_that_a_second_round_samples_little(tiny_model: Model) -> None:
    rehearsal, generator = _rehearsal(tiny_model), torch.Generator().manual_seed(0)
    rows = []
    for step in range(30):
        before = tiny_model.rows["training"].total
        with tiny_model.rows.purpose("training"):
            rehearsal.draw(step, generator)
        rows.append(tiny_model.rows["training"].total - before)
    assert sum(rows) == len(WORDS) * 2, "the first of two steps, for each word once"
    assert rows[-1] == 0


def test_words_are_near_and_far_and_none_is_erased(tiny_model: Model) -> None:
    near = tuple(Candidate(word, 0.5, None) for word in ("chapel", "tower", *(f"word {i}" for i in range(40))))
    space = ConceptSpace((TargetSpace("church", "", near, (Candidate("abbey", 0.9, 0.1),), ("churches",)),), 0, ())
    words = rehearsed_words(tiny_model, space, config_from_dict({"erase": ["church"]}))
    assert len(words) == len(set(words)) == 24
    assert words[:2] == ["chapel", "tower"]
    assert sum(word in {c.text for c in near} for word in words) == 8
    assert not {"church", "churches", "abbey"} & set(words)


def test_it_trains_what_is_rehearsed_and_can_be_left_out(tiny_models: ModelParts) -> None:
    rows = []
    inject_lora(tiny_models.unet, "xattn_kv", 2, 2.0, 0)
    for rehearsed in (0, 3):
        config = config_from_dict(
            {
                "erase": ["church"],
                "steps": 2,
                "sampling_steps": 2,
                "rank": 2,
                "rehearsed": rehearsed,
                "look_every": 0,
                "start": "closed-form",
            }
        )
        model = Model(tiny_models)
        assert len(updates(Trainer(model, space_of("church"), config))) == 2
        rows.append(model.rows["training"].gradient)
    # One row of the tuned model for each, in each of two updates.
    assert rows[1] - rows[0] == 2 * 3
