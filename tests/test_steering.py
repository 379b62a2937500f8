from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from erasure.judge.scale import Scale
from erasure.model.conditioning import Prompt
from erasure.training.defence.sizes import FIRST_LOOK, SECOND_LOOK
from erasure.training.steering import Steering
from erasure.verdict.examination import Examination
from erasure.verdict.panel import Member, Shot, panel_shots

PANEL = (
    Member("church", "target", 0, 3),
    Member("truck", "target", 1, 3),
    Member("chapel", "name", 0, 1),
    Member("abbey", "near", 0, 1),
    Member("day", "unrelated", -1, 1),
)


class _Seen:
    """Stands in for an examination: what a look sees of each concept is written down, look by look."""

    def __init__(self, *looks: dict[str, float], known: bool = True, panel: Sequence[Member] = PANEL):
        self.panel = panel
        self.shots = panel_shots(panel, ("{}",))
        self._looks = list(looks)
        self._known = known

    def scale(self, member: int) -> Scale:
        return Scale(1.0, 0.0) if self._known else Scale(0.1, 0.0)

    def levels_before(self, shots: Sequence[int]) -> list[float]:
        return [0.9 + 0.2 * (k % 2) for k in shots]

    def look(self, shots: Sequence[int]) -> list[float]:
        seen = self._looks.pop(0)
        return [seen.get(self.panel[self.shots[k].member].concept, 0.0) for k in shots]


class _Number:
    """Weights of one number."""

    def __init__(self, value: float = 0.0):
        self.value = value

    def weights(self) -> dict[str, Tensor]:
        return {"w": torch.tensor([self.value])}

    def put_back(self, weights: dict[str, Tensor]) -> None:
        self.value = float(weights["w"])


def _steering(*looks: dict[str, float], known: bool = True, weights: _Number | None = None) -> Steering:
    examination: Examination = _Seen(*looks, known=known)  # type: ignore[assignment]
    return Steering(weights or _Number(), examination, every=10, updates=35)


STAYS = {"church": 1.0, "truck": 1.0, "chapel": 1.0, "abbey": 1.0}
GONE: dict[str, float] = {"abbey": 1.0}


def _looked(steering: Steering) -> list[int]:
    """Return the updates after which it looks."""
    at = []
    for step in range(1, 36):
        while steering.due(step):
            steering.look(step)
            at.append(step)
    return at


def test_before_anything_is_trained_targets_are_recognised_wherever_a_first_look_looks() -> None:
    before, first = _steering().before(), _steering(STAYS).look(10)
    assert before.recognised == {concept: (count, count) for concept, (_, count) in first.recognised.items()}
    assert before.step == 0
    assert before.kept is not None
    assert 0.9 <= before.kept <= 1.0
    steering = _steering()
    steering.before()
    assert (steering.best_step, steering.due(5), steering.due(10)) == (0, False, True)


def test_it_looks_at_intervals_and_after_the_last_update() -> None:
    assert _looked(_steering(*[STAYS] * 4)) == [10, 20, 30, 35]


def test_it_looks_sooner_where_the_target_is_about_to_go() -> None:
    falling = [{**STAYS, "church": level, "truck": level, "chapel": level} for level in (0.75, 0.5, 0.4, 0.3)]
    # The rest would always take longer than 10 updates, the most between two looks.
    assert _looked(_steering(*falling)) == [10, 20, 30, 35]
    # After 0.45 it would take 6.7 updates, after 0.2 it would take 1.5, but 5 are the fewest.
    falling = [{"church": 0.45}, {"church": 0.4, "chapel": 0.2}, STAYS, STAYS, STAYS]
    assert _looked(_steering(*falling))[:3] == [10, 17, 27]
    falling = [{"church": 0.2, "chapel": 0.2}, STAYS, STAYS, STAYS]
    assert _looked(_steering(*falling))[:2] == [10, 15]


def test_the_first_look_can_be_brought_forward() -> None:
    steering = _steering(*[STAYS] * 9)
    steering.look_soon()
    assert _looked(steering)[0] == 5


def _sampled(*looks: dict[str, float]) -> Steering:
    """A steering that has looked at samples first, of both targets and the name, and looks soon."""
    steering = Steering(_Number(), cast("Examination", _Seen(*looks)), every=10, updates=35)
    steering.levels([0, 1], ["chapel"])
    steering.look_soon()
    return steering


def test_samples_that_showed_nothing_at_the_start_stand_in_for_a_first_look() -> None:
    steering = _sampled(GONE, GONE, {"truck": 1.0}, GONE, GONE)
    first = steering.look(5)
    assert (first.recognised, first.kept) == ({"church": (0, 4), "truck": (0, 3)}, 1.0)
    assert steering.ended
    assert not steering.due(5)
    assert steering.why_ended.endswith("was gone right after the edit, and in a look since")


def test_a_sole_look_that_finds_something_is_followed_by_two_in_a_row() -> None:
    steering = _sampled(GONE, {"truck": 1.0}, GONE, GONE)
    assert _looked(steering) == [5, 15, 15]
    assert steering.ended
    assert steering.why_ended.endswith("was gone in two looks in a row")


@pytest.mark.parametrize("seen", [{"church": 0.1}, {"chapel": 0.6}], ids=str)
def test_samples_that_show_a_little_of_a_target_or_a_name_stand_in_for_no_look(seen: dict[str, float]) -> None:
    steering = _sampled(seen, GONE, GONE)
    assert _looked(steering) == [5, 5]
    assert steering.why_ended.endswith("was gone in two looks in a row")


def test_one_picture_of_a_target_that_is_recognised_is_not_made_up_for_by_others() -> None:
    class Uneven(_Seen):
        def look(self, shots: Sequence[int]) -> list[float]:
            return [0.75 if k == 2 else -0.5 for k in shots] if self._looks.pop(0) else [0.0] * len(shots)

    steering = Steering(_Number(), cast("Examination", Uneven(STAYS, {}, {})), every=10, updates=35)
    targets, _ = steering.levels([0, 1], ["chapel"])
    assert targets[0] < 0
    steering.look_soon()
    assert _looked(steering) == [5, 5]


class _Attacked(_Seen):
    """Hostile prompts show the target as strongly as is written down, prompt by prompt, and then not at all."""

    def __init__(self, *levels: float):
        super().__init__(*[GONE] * 5)
        self._levels = list(levels)
        self.seeds: list[bool] = []

    def look_at(self, prompts: Sequence[Prompt], shot: Shot, *, other_seed: bool) -> list[float]:
        self.seeds += [other_seed] * len(prompts)
        return [self._levels.pop(0) if self._levels else 0.0 for _ in prompts]


class _Worst:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def worst(self, target: int, template: str, count: int) -> list[Prompt]:
        self.asked.append(count)
        return cast("list[Prompt]", [None] * count)


def _attacked(*levels: float) -> tuple[Steering, _Attacked, _Worst]:
    """A steering that has found all gone in samples, and looks at hostile prompts as well."""
    seen, worst = _Attacked(*levels), _Worst()
    steering = Steering(_Number(), cast("Examination", seen), every=10, updates=35, hostile=worst)
    steering.levels([0, 1], ["chapel"])
    steering.look_soon()
    return steering, seen, worst


def test_a_sole_look_takes_as_many_hostile_prompts_as_a_second() -> None:
    steering, seen, worst = _attacked()
    assert _looked(steering) == [5]
    assert steering.ended
    assert worst.asked == [SECOND_LOOK] * 2, "of each target"
    assert seen.seeds == [False] * 2 * SECOND_LOOK, "no other seeds, as nothing was looked at before"


def test_a_sole_look_that_hostile_prompts_fail_is_followed_by_two_in_a_row() -> None:
    steering, _, worst = _attacked(0.0, 0.6)
    assert _looked(steering) == [5, 10, 10]
    assert steering.ended
    assert worst.asked[2:] == [FIRST_LOOK] + [SECOND_LOOK] * 2, "of the one that is left, and then of both"


def test_a_sole_look_at_hostile_prompts_is_known_to_a_state() -> None:
    begun, _, worst = _attacked()
    resumed = Steering(_Number(), cast("Examination", _Attacked()), every=10, updates=35, hostile=worst)
    resumed.load(begun.tensors(), begun.meta())
    assert _looked(resumed) == _looked(begun) == [5]


def test_a_sole_look_takes_other_pictures_than_samples_of_many_targets() -> None:
    taken: list[set[int]] = []

    class Watched(_Seen):
        def look(self, shots: Sequence[int]) -> list[float]:
            taken.append(set(shots))
            return [0.0] * len(shots)

    panel = tuple(Member(f"concept {i}", "target", i, 8) for i in range(3))
    steering = Steering(_Number(), cast("Examination", Watched(panel=panel)), every=10, updates=35)
    steering.levels([0, 1, 2], [])
    steering.look_soon()
    steering.look(5)
    samples, sole = ({k % 8 for k in shots} for shots in taken)
    assert (samples, sole) == ({6, 7}, {1, 2})
    assert {k % 3 for k in samples | sole} == {0, 1, 2}, "of all templates"


def test_what_samples_showed_at_the_start_is_known_to_a_state() -> None:
    begun, resumed = _sampled(GONE), _steering(GONE)
    resumed.load(begun.tensors(), begun.meta())
    resumed.look(5)
    assert resumed.ended


def test_what_is_shown_of_targets_and_names_is_told_without_noting_anything() -> None:
    steering = _steering({"church": 1.4, "truck": -0.2, "chapel": 0.5})
    before = steering.meta()
    assert steering.known_names() == {"chapel": 0}
    targets, names = steering.levels([0, 1], ["chapel"])
    assert targets == {0: 1.0, 1: pytest.approx(-0.2)}
    assert names == {"chapel": 0.5}
    assert steering.levels([], []) == ({}, {})
    assert steering.meta() == before


def test_it_looks_more_often_while_few_of_many_targets_are_left() -> None:
    panel = tuple(Member(f"concept {i}", "target", i, 3) for i in range(5))
    all_left = {member.concept: 1.0 for member in panel}
    seen = _Seen(all_left, {"concept 0": 1.0}, all_left, panel=panel)
    assert _looked(Steering(_Number(), cast("Examination", seen), every=5, updates=35)) == [15, 30, 35]


def test_it_looks_soon_again_where_the_second_look_finds_one_of_many() -> None:
    panel = tuple(Member(f"concept {i}", "target", i, 3) for i in range(5))
    nearly = {member.concept: 0.049 for member in panel} | {"name": 0.49}
    panel += (Member("name", "name", 0, 1),)
    seen = _Seen(nearly, {"concept 0": 1.0}, nearly, nearly, panel=panel)
    assert _looked(Steering(_Number(), cast("Examination", seen), every=4, updates=35)) == [12, 12, 16, 16]


def test_it_looks_sooner_again_where_the_second_look_recognises_nothing() -> None:
    panel = tuple(Member(f"concept {i}", "target", i, 3) for i in range(5))
    nearly = {member.concept: 0.049 for member in panel}
    seen = _Seen(nearly, {"concept 0": 0.1}, nearly, nearly, panel=panel)
    assert _looked(Steering(_Number(), cast("Examination", seen), every=4, updates=35)) == [12, 12, 14, 14]


def test_what_little_is_seen_in_a_first_look_is_for_the_second_one_to_decide() -> None:
    panel = tuple(Member(f"concept {i}", "target", i, 3) for i in range(5))
    little, too_much = ({member.concept: level for member in panel} for level in (0.15, 0.17))
    for looks, ended in (((little, {}), True), ((little, little), False), ((too_much,), False)):
        steering = Steering(_Number(), cast("Examination", _Seen(*looks, panel=panel)), every=4, updates=35)
        for _ in looks:
            assert steering.due(12)
            steering.look(12)
        assert steering.ended == ended
        assert not steering.due(12)


def test_all_gone_is_looked_at_again_at_once_in_other_pictures_and_names() -> None:
    steering = _steering(GONE, GONE)
    first, second = steering.look(10), None
    assert steering.due(10)
    assert not steering.ended
    second = steering.look(10)
    assert steering.ended
    assert not steering.due(10)
    assert (first.recognised, second.recognised) == (
        {"church": (0, 3), "truck": (0, 2)},
        {"church": (0, 2), "truck": (0, 1)},
    )
    assert (first.kept, second.kept) == (1.0, None)


def test_it_goes_on_if_the_second_look_finds_something() -> None:
    steering = _steering(GONE, {"truck": 1.0}, GONE, GONE)
    assert _looked(steering) == [10, 10, 15, 15]
    assert steering.ended


def test_a_target_that_is_nearly_recognised_on_average_is_not_gone() -> None:
    steering = _steering({"church": 0.45})
    look = steering.look(10)
    assert look.recognised["church"] == (0, 3)
    assert steering.worked_on() == [0]
    assert not steering.due(10)


def test_a_name_that_is_left_counts_as_its_target() -> None:
    steering = _steering({"chapel": 1.0})
    look = steering.look(10)
    assert look.recognised == {"church": (1, 3), "truck": (0, 2)}
    assert steering.worked_on() == [0]
    assert [steering.names_left(target) for target in (0, 1)] == [True, False]


def test_a_name_that_is_not_recognised_is_gone_though_something_of_the_target_is_seen_in_it() -> None:
    steering = _steering({"chapel": 0.45})
    assert steering.look(10).recognised == {"church": (0, 3), "truck": (0, 2)}
    assert steering.due(10)  # the second look


def test_names_are_not_what_is_left_while_their_target_is() -> None:
    steering = _steering({"church": 1.0, "chapel": 1.0})
    steering.look(10)
    assert not steering.names_left(0)


def test_updates_go_to_what_is_not_gone() -> None:
    steering = _steering({"truck": 1.0}, {})
    assert steering.worked_on() == [0, 1]
    steering.look(10)
    assert steering.worked_on() == [1]
    steering.look(20)
    assert steering.worked_on() == [0, 1]


@pytest.mark.parametrize(
    ("looks", "best"),
    [
        (({"church": 1.0, "abbey": 1.0}, {"church": 0.3, "abbey": 0.9}, {"church": 0.3, "abbey": 0.4}), 20),
        (({"church": 0.3, "abbey": 1.0}, {"abbey": 0.4}, {"church": 0.3, "abbey": 1.0}), 20),
        (({"church": 1.0}, {"church": 1.0}, {"church": 0.4}), 30),
    ],
)
def test_the_weights_of_the_look_with_least_left_and_most_kept_stay(looks: Any, best: int) -> None:
    weights = _Number()
    steering = _steering(*looks, weights=weights)
    for step in (10, 20, 30):
        weights.value = float(step)
        steering.look(step)
    assert steering.keep_best() == best
    assert weights.value == best


def test_a_second_look_that_finds_something_makes_the_weights_worse() -> None:
    weights = _Number()
    steering = _steering({"abbey": 1.0}, {"church": 1.0}, {"church": 0.3}, weights=weights)
    for step in (10, 10, 20):
        weights.value = float(step)
        steering.look(step)
    assert steering.keep_best() == 20


@pytest.mark.parametrize("seen", [[GONE], [STAYS], [GONE, {"truck": 1.0}]])
def test_it_goes_on_where_its_state_was_taken(seen: list[dict[str, float]]) -> None:
    rest = [GONE, STAYS, {"church": 0.3}, GONE, GONE]
    whole, first, second = _steering(*seen, *rest), _steering(*seen), _steering(*rest)
    for _ in seen:
        whole.look(10)
        first.look(10)
    second.load(first.tensors(), first.meta())
    assert _looked(second) == _looked(whole)
    assert second.meta() == whole.meta()


def test_it_never_looks_for_what_the_judge_cannot_tell() -> None:
    steering = _steering(known=False)
    assert not any(steering.due(step) for step in range(1, 36))
    assert not steering.ended
    assert not steering.known
    assert _steering(STAYS).known == [0, 1]


@pytest.mark.parametrize("known", [True, False])
def test_without_a_look_nothing_is_put_back(known: bool) -> None:
    assert _steering(known=known).keep_best() == 0


ENDED: dict[str, Any] = {
    "gone": [0],
    "names_left": [],
    "in_a_row": 2,
    "turn": 2,
    "looked": 40,
    "next": 50,
    "level": 0.1,
    "best_step": 40,
    "best_value": [0, 0, 0.9],
    "updates": 300,
}


def _loaded(updates: int, meta: dict[str, Any]) -> Steering:
    steering = Steering(_Number(), cast("Examination", SimpleNamespace(panel=())), 20, updates)
    steering.load({"w": torch.ones(1)}, meta)
    return steering


def test_a_run_that_had_ended_has_ended_when_it_is_resumed() -> None:
    for meta in (ENDED, {key: value for key, value in ENDED.items() if key != "updates"}):
        steering = _loaded(300, meta)
        assert (steering.ended, steering.best_step) == (True, 40)
        assert steering.meta() == ENDED


def test_looks_begin_afresh_when_more_updates_are_wanted() -> None:
    steering = _loaded(450, ENDED)
    assert (steering.ended, steering.best_step, steering.tensors()) == (False, 0, {})
    assert _loaded(450, {**ENDED, "updates": 450}).best_step == 40


def test_what_was_gone_is_passed_over_until_a_second_look() -> None:
    steering = _steering({**GONE, "church": 1.0}, GONE, GONE)
    assert set(steering.look(10).recognised) == {"church", "truck"}
    assert steering.worked_on() == [0]
    assert set(steering.look(20).recognised) == {"church"}
    assert set(steering.look(20).recognised) == {"church", "truck"}
    assert steering.ended


def test_a_second_look_takes_the_same_pictures_if_there_are_no_others() -> None:
    panel = (Member("church", "target", 0, 2), Member("day", "unrelated", -1, 1))
    seen: Examination = _Seen(GONE, GONE, panel=panel)  # type: ignore[assignment]
    steering = Steering(_Number(), seen, every=10, updates=35)
    assert steering.look(10).recognised == {"church": (0, 2)}
    assert steering.look(10).recognised == {"church": (0, 2)}
    assert steering.ended


def test_a_look_takes_no_picture_of_what_the_judge_cannot_tell() -> None:
    class Partly(_Seen):
        looked_at: tuple[str, ...] = ()

        def scale(self, member: int) -> Scale:
            return Scale(0.1 if self.panel[member].concept == "truck" else 1.0, 0.0)

        def look(self, shots: Sequence[int]) -> list[float]:
            self.looked_at += tuple(self.panel[self.shots[k].member].concept for k in shots)
            return super().look(shots)

    seen = Partly(GONE, GONE)
    steering = Steering(_Number(), cast("Examination", seen), every=10, updates=35)
    assert steering.known == [0]
    assert set(steering.look(10).recognised) == set(steering.look(10).recognised) == {"church"}
    assert steering.ended
    assert set(seen.looked_at) == {"church", "chapel", "abbey"}
