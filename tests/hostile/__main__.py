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

from tests.hostile.bodies import BODIES, HostileBody, Service
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

    def __str__(self) -> str:
        lines = [f"{'kind':20} {'made':>5} {'seconds':>8} {'MB':>6}  ended as"]
        for kind, ended in sorted(self.ended.items()):
            most, endings = self.most[kind], ", ".join(f"{count} {what}" for what, count in ended.most_common())
            lines.append(f"{kind:20} {ended.total():5} {most.seconds:8.1f} {most.megabytes:6.0f}  {endings}")
        return "\n".join([*lines, f"{'all':20} {sum(each.total() for each in self.ended.values()):5}"])


def _make(
    kinds: Mapping[str, st.SearchStrategy[Any]], count: int, number: int, check: Callable[[Any], None]
) -> list[str]:
    """Make as many of each kind, and return the kinds of which one did not end as it should, with what happened."""
    wrong = []
    for kind, strategy in kinds.items():

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
            check(made)

        try:
            run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            wrong.append(f"{kind}: {''.join(traceback.format_exception(error))}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--files", type=int, default=600, help="hostile files to make (default: 600)")
    parser.add_argument("--bodies", type=int, default=600, help="hostile requests to make (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="other files and requests (default: 0)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        samples = make_samples(Path(place) / "samples")
        files, bodies = _Tally(), _Tally()

        def check_file(file: HostileFile) -> None:
            with tempfile.TemporaryDirectory(dir=place) as folder:
                files.add(file.kind, *open_hostile(file, Path(folder), samples))

        with Service(Path(place) / "service", samples) as service:

            def check_body(body: HostileBody) -> None:
                bodies.add(body.kind, *service.ask(body))

            wrong = _make(BODIES, arguments.bodies, arguments.seed, check_body)
        wrong += _make(FILES, arguments.files, arguments.seed, check_file)
    print(*wrong, bodies, files, sep="\n\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
