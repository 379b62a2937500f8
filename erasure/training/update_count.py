"""Numbers of updates in words, the same on the command line, in the tab and in the files of a run."""

from __future__ import annotations

from erasure.number_of import number_of


def updates(count: int) -> str:
    """Return "1 update", or "1,200 updates"."""
    return number_of(count, "update")


def updates_made(count: int, most: int) -> str:
    """Return how many updates a run made that is over: "300 updates", or "5 updates of at most 300"."""
    return updates(count) if count >= most else f"{updates(count)} of at most {most:,}"


def update_of(step: int, most: int) -> str:
    """Return which update a run makes that goes on, and may end before the last: "update 5 of at most 300"."""
    return f"update {step:,} of at most {most:,}"
