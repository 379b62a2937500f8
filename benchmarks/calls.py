"""Rows, calls of the U-Net and seconds of an update, by what they are for, against the least that an update can take.

``python -m benchmarks.calls`` erases one and five targets from emoji-SD for some updates and prints a table of each;
with ``--full-size`` from a randomly initialised SD 1.x, as in ``benchmarks.full_size``. Config flags apply to both.
A small batch leaves a device idle, so that calls count as well as rows: below each table stands how many rows per
second an update gets through, and how many calls with a large batch and no gradient do, measured right afterwards.

The least is 2 calls, and 5 rows per pair of erased and preserved: one call for what the frozen model is asked (anchor,
erased, preserved), one for the update itself (erased, preserved). A look is measured once, at the end, and shared out
over the updates between two looks. Synonyms are not measured beforehand.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.five_doubles import ERASED
from benchmarks.full_size import add_model_flags, model_path
from erasure.cli.flags import add_config_flags, given_settings
from erasure.config.presets import preset
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint
from erasure.model.device import default_device
from erasure.model.drawing import run_to_end
from erasure.model.model import Model, rows_at_once
from erasure.model.rows import Rows
from erasure.training.look_sizes import NEAR_WORDS, updates_between
from erasure.training.session import open_session
from erasure.training.trainer import Trainer

LEAST = Rows(5, 2, 2)
UPDATE, SAMPLING, SEARCH, GOAL, LOOKS = "update", "sampling", "search", "goal", "looks"
ABOUT = {
    SAMPLING: "where noisy latents come from",
    SEARCH: "the adversary, with sampling for it left out",
    GOAL: "what the frozen model is asked",
    UPDATE: "forward and backward, Adam and the rest",
    LOOKS: "at samples of the tuned model",
}
Spent = tuple[Rows, float]
"""Rows with their calls, and seconds."""


class Meter:
    """Shares out a model's rows and the time that passes among parts of the work; an inner part is not the outer's."""

    def __init__(self, model: Model) -> None:
        self.spent: dict[str, Spent] = {}
        self._model = model
        self._part = ""  # no part: not counted
        self._rows, self._time = self._now()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done inside the block for this part."""
        self._charge()
        outer, self._part = self._part, name
        try:
            yield
        finally:
            self._charge()
            self._part = outer

    def watch(self, owner: object, method: str, part: str) -> None:
        """Count every call of a method of ``owner`` for this part from now on."""
        work: Callable[..., Any] = getattr(owner, method)

        def watched(*given: Any, **named: Any) -> Any:
            with self.part(part):
                return work(*given, **named)

        setattr(owner, method, watched)

    def _charge(self) -> None:
        rows, now = self._now()
        if self._part:
            before, seconds = self.spent.get(self._part, (Rows(), 0.0))
            self.spent[self._part] = (before + rows + self._rows * -1, seconds + now - self._time)
        self._rows, self._time = rows, now

    def _now(self) -> Spent:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return self._model.rows.all, time.perf_counter()


def measure(
    checkpoint: CheckpointInfo, config: EraseConfig, device: str, updates: int
) -> tuple[dict[str, Spent], float]:
    """Return what an update took on average by part, and the rows per second of large batches afterwards."""
    session = open_session(checkpoint, config, device)
    trainer, model = session.trainer, session.model
    if not isinstance(trainer, Trainer):
        raise SystemExit(f"method {config.method} makes no updates; choose another")
    if config.look_every and session.examination is not None:
        run_to_end(session.examination.before())
        session.steer()
    with model.rows.purpose("cost"):
        rows_per_second(model, 1, least_seconds=0)  # the first call picks kernels
    meter = Meter(model)
    meter.watch(trainer.source, "draw", SAMPLING)
    meter.watch(trainer.adversary, "find", SEARCH)
    meter.watch(trainer.frozen, "goal", GOAL)
    for _ in range(updates):
        with meter.part(UPDATE):
            trainer.update()
    each = {part: (rows * (1 / updates), seconds / updates) for part, (rows, seconds) in meter.spent.items()}
    if trainer.steering is not None:
        between = updates_between(config.look_every, len(config.erase))
        with meter.part(LOOKS):
            trainer.steering.look(trainer.step)
        rows, seconds = meter.spent[LOOKS]
        each[LOOKS] = (rows * (1 / between), seconds / between)
    return each, rows_per_second(model, rows_at_once(model.parts, config.resolution))


@torch.no_grad()
def rows_per_second(model: Model, most: int, *, least_seconds: float = 5.0) -> float:
    """Return how many rows calls of ``most`` rows (at most 64) get through, without gradients or the LoRA."""
    rows = min(most, 64)
    z = torch.zeros((rows, *model.latent_shape), device=model.device)
    t, prompts = torch.full((rows,), model.train_steps // 2, device=model.device), model.embed([""]).expand(rows)
    calls, seconds = 0, 0.0
    with model.frozen():
        float(model.eps(z, t, prompts).sum())
        began = time.perf_counter()
        while calls < 2 or seconds < least_seconds:
            float(model.eps(z, t, prompts).sum())  # waits for the device
            calls, seconds = calls + 1, time.perf_counter() - began
    return calls * rows / seconds


def table(each: Mapping[str, Spent], batch: int, plain: float) -> str:
    """Return the Markdown table of an update, with ratios to the least, and what it says of the device's use."""
    lines = ["| part | rows | with gradient | calls | rows per call | ms |", "|---" * 6 + "|"]
    for part in ABOUT:
        if part in each:
            lines.append(_line(f"{part}: {ABOUT[part]}", *each[part]))
    rows, seconds = sum((spent[0] for spent in each.values()), Rows()), sum(spent[1] for spent in each.values())
    least = LEAST * batch
    lines.append(_line("an update", rows, seconds))
    return "\n".join(lines) + (
        f"\n\n{rows.total / least.total:.1f} times the least rows ({least.total:g}), "
        f"{rows.calls / LEAST.calls:.1f} times the least calls ({LEAST.calls:g}).\n"
        f"{rows.total / seconds:.1f} rows per second; large batches without gradients: {plain:.1f}.\n"
    )


def _line(about: str, rows: Rows, seconds: float) -> str:
    per_call = f"{rows.total / rows.calls:.1f}" if rows.calls else ""
    return (
        f"| {about} | {rows.total:.1f} | {rows.gradient:.1f} | {rows.calls:.2f} | {per_call} | {1000 * seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60, metavar="N", help="updates that are measured (60)")
    parser.add_argument("--device", default=default_device())
    add_model_flags(parser)
    add_config_flags(parser)
    arguments = parser.parse_args()
    path = model_path(arguments)
    checkpoint, given = inspect_checkpoint(path), given_settings(arguments)
    start = {**preset("object").settings, "synonym_threshold": 0.0, "judged_words": NEAR_WORDS}
    for erase in (ERASED[:1], ERASED):
        config = config_from_dict({**start, **given, "erase": list(erase)})
        each, plain = measure(checkpoint, config, arguments.device, arguments.updates)
        print(f"{path.name}, {len(erase)} erased, mean of {arguments.updates} updates\n")
        print(table(each, config.batch, plain), flush=True)


if __name__ == "__main__":
    main()
