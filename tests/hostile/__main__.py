"""``python -m tests.hostile --files N --bodies N``: make so many of each, and print how each kind ended."""

from __future__ import annotations

import argparse
import os
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Before anything imports transformers: nothing is to be looked for on the network.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.hostile.bodies import BODIES, Service
from tests.hostile.files import FILES, HostileFile
from tests.hostile.limits import Taken
from tests.hostile.opening import open_hostile
from tests.hostile.samples import make_samples


class _Tally:
    """How each kind ended, and what the longest and the largest of it took."""

    def __init__(self) -> None:
        self.ended: dict[str, Counter[str]] = {}
        self.most: dict[str, Taken] = {}

    def add(self, kind: str, ended: str, taken: Taken) -> None:
        self.ended.setdefault(kind, Counter())[ended] += 1
        most = self.most.setdefault(kind, Taken())
        most.seconds = max(most.seconds, taken.seconds)
        most.megabytes = max(most.megabytes, taken.megabytes)

    def line(self, kind: str) -> str:
        """Return what became of one kind."""
        most, ended = self.most.get(kind, Taken()), self.ended.get(kind, Counter())
        endings = ", ".join(f"{count} {what}" for what, count in ended.most_common())
        return f"{kind:20} {ended.total():5} {most.seconds:8.1f} {most.megabytes:6.0f}  {endings}"


def _make(
    kinds: Mapping[str, st.SearchStrategy[Any]], count: int, number: int, check: Callable[[Any], tuple[str, Taken]]
) -> list[str]:
    """Make as many of each kind and print how they ended; return what happened to those that ended otherwise."""
    wrong, tally = [], _Tally()
    for kind, strategy in kinds.items() if count else ():

        @seed(number)
        @settings(
            max_examples=-(-count // len(kinds)),
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def run(made: Any) -> None:
            tally.add(kind, *check(made))  # noqa: B023  only called below, for this kind

        try:
            run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            wrong.append(f"{kind}: {''.join(traceback.format_exception(error))}")
        print(tally.line(kind), flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--files", type=int, default=600, help="hostile files to make (default: 600)")
    parser.add_argument("--bodies", type=int, default=600, help="hostile requests to make (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="other files and requests (default: 0)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        samples = make_samples(Path(place) / "samples")

        def check_file(file: HostileFile) -> tuple[str, Taken]:
            with tempfile.TemporaryDirectory(dir=place) as folder:
                return open_hostile(file, Path(folder), samples)

        print(f"{'kind':20} {'made':>5} {'seconds':>8} {'MB':>6}  ended as")
        with Service(Path(place) / "service", samples) as service:
            wrong = _make(BODIES, arguments.bodies, arguments.seed, service.ask)
        wrong += _make(FILES, arguments.files, arguments.seed, check_file)
    print(*wrong, sep="\n\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
