"""What a command is doing, for those that have several stages."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeVar

from erasure.cli.printable import printable
from erasure.model.stage import Stage

_T = TypeVar("_T")


def with_stages(stages: Generator[Stage, None, _T]) -> _T:
    """Run to the end, and say on stderr what is being done: on one line of a terminal, elsewhere at every tenth."""
    live, told = sys.stderr.isatty(), ("", -1)
    try:
        while True:
            stage = next(stages)
            now = (stage.what, 10 * stage.done // stage.total if stage.total else 0)
            if live:
                print(f"\r\x1b[K{printable(str(stage))}", end="", file=sys.stderr, flush=True)
            elif now != told:
                print(printable(str(stage)), file=sys.stderr, flush=True)
            told = now
    except StopIteration as end:
        value: _T = end.value
        return value
    finally:
        stages.close()
        if live and told[0]:
            print(file=sys.stderr)
