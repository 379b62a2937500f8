from __future__ import annotations

from erasure.training.update_count import update_of, updates, updates_made


def test_one_update_is_not_plural_and_thousands_are_set_apart() -> None:
    assert [updates(count) for count in (0, 1, 2, 1200)] == ["0 updates", "1 update", "2 updates", "1,200 updates"]


def test_a_run_that_ended_early_says_how_many_it_might_have_made() -> None:
    assert updates_made(300, 300) == "300 updates"
    assert updates_made(1, 300) == "1 update of at most 300"


def test_a_run_that_goes_on_may_end_before_its_last_update() -> None:
    assert update_of(5, 1200) == "update 5 of at most 1,200"
