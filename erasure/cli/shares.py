"""How much is done of a command that cannot say more than that."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")


def with_shares(shares: Generator[float, None, _T], done: str) -> _T:
    """Run to the end, and say on stderr how much is ``done`` ("judged"): on one line of a terminal, elsewhere at every
    tenth."""
    live, told = sys.stderr.isatty(), -1
    try:
        while True:
            share = next(shares)
            if live:
                print(f"\r{share:.0%} {done}", end="", file=sys.stderr, flush=True)
            elif int(share * 10) > told:
                print(f"{share:.0%} {done}", file=sys.stderr, flush=True)
            told = int(share * 10)
    except StopIteration as end:
        value: _T = end.value
        return value
    finally:
        shares.close()
        if live and told >= 0:
            print(file=sys.stderr)
