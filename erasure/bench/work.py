"""The work of one cell: train, draw, judge. A generator that yields progress and returns what was measured."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from erasure.bench.attacks import attack_figures
from erasure.bench.cell import Bench, Cell, cell_name, config_key
from erasure.bench.contact_sheet import shown_names
from erasure.bench.extra_figures import Figure, extra_figures
from erasure.bench.near import near_preservation
from erasure.bench.ranks import judged_figures
from erasure.bench.results import Cost, Identity, Measured
from erasure.bench.shots import draw_missing, missing_shots, openers
from erasure.bench.spaces import MeasuredSpace, concept_space, space_key
from erasure.bench.suite import Suite, TargetSet
from erasure.bench.suites import suite
from erasure.bench.variant import DEFAULT, variant
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.evaluate.recognition import Ranks, rank_pictures
from erasure.lora.file import read_lora
from erasure.lora.model_adapter import apply_lora_file
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint, sha256
from erasure.model.drawing import relayed
from erasure.model.model import open_model
from erasure.model.stage import Stage
from erasure.run.beginning import erase, resume
from erasure.run.events import Planned
from erasure.run.folder import RunFolder
from erasure.run.run import Run
from erasure.run.task import Task
from erasure.training.events import Step
from erasure.whole_file import write_json

RESULTS = "results.jsonl"
LORA = "lora.safetensors"  # in a cell's folder


@dataclass(frozen=True)
class Progress:
    """How far a stage is: ``done`` of ``total`` updates or pictures."""

    stage: str
    done: int
    total: int


Working = Generator[Progress, None, Measured]


def work(cell: Cell) -> Working:
    """Train, draw and judge one cell, using what is already on disk: its LoRA, a saved state, pictures.

    Returns what was measured, which is not yet in the results file. Raises: EraseError.
    """
    bench = cell.bench
    chosen = suite(bench.suite, bench.options)
    target_set = chosen.set(cell.set)
    config = cell.config(target_set)
    checkpoint = inspect_checkpoint(bench.checkpoint)
    digest = sha256(checkpoint.path)
    name = cell_name(cell, config_key(config, digest))
    folder = bench.folder / "cells" / name
    space_folder = bench.folder / "spaces"

    extra = extra_figures(bench.options, bench.devices[1], chosen.certainties)
    judges = chosen.judges()  # before hours of training, in case a judge is missing
    training = yield from _train(folder, space_folder, checkpoint, config, bench.device)
    base_folder = base_pictures(bench, chosen, digest)
    yield from _draw(base_folder, checkpoint, bench, chosen, target_set, None)
    began = time.perf_counter()
    pictures = folder / "pictures" / chosen.drawing_key()
    yield from _draw(pictures, checkpoint, bench, chosen, target_set, folder / LORA)
    before, after = (measured(target_set, judges, extra, base_folder, where) for where in (base_folder, pictures))
    if "near" in bench.options.metrics:
        yield Progress("near words", 0, 1)
        after.update(_near(cell, target_set, checkpoint, digest, folder / LORA))
    if "ranks" in bench.options.metrics:
        ranked = yield from _ranks(cell, target_set, checkpoint, digest, folder / LORA)
        before.update(ranked[0])
        after.update(ranked[1])
    if "attacks" in bench.options.metrics:
        attacked = yield from _attacks(cell, target_set, checkpoint, digest, folder / LORA, judges, chosen.judge_name)
        before.update(attacked[0])
        after.update(attacked[1])
    return {
        **row_identity(cell, chosen, target_set, config, digest),
        "before": before,
        "after": after,
        **training,
        "seconds_evaluation": round(time.perf_counter() - began, 1),
        "checkpoint": checkpoint.path.name,
        "judge": chosen.judge_name,
        "folder": name,
        "base_folder": base_folder.relative_to(bench.folder).as_posix(),
        "pictures_folder": pictures.relative_to(bench.folder).as_posix(),
        "shown": {group.name: shown_names([shot.name for shot in group.shots]) for group in target_set.groups},
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def row_identity(cell: Cell, chosen: Suite, target_set: TargetSet, config: EraseConfig, digest: str) -> Identity:
    """Return the part of a row that says which cell it belongs to; ``digest``: the checkpoint's sha256."""
    return {
        "suite": chosen.name,
        "family": target_set.family,
        "set": target_set.name,
        "erase": list(target_set.erase),
        "variant": cell.variant.name,
        "seed": cell.seed,
        "config_key": config_key(config, digest),
        "evaluation_key": chosen.evaluation_key(target_set, cell.bench.options),
        "config": config.to_dict(),
        "sha256": digest,
        "pictures": {group.name: len(group.shots) for group in target_set.groups},
    }


def base_pictures(bench: Bench, chosen: Suite, digest: str) -> Path:
    """Return the folder of the checkpoint's own pictures, which all methods, sets and seeds share."""
    return _base(bench, digest) / chosen.drawing_key()


def measured(
    target_set: TargetSet, judges: dict[str, Ranks], extra: dict[str, Figure], base: Path, folder: Path
) -> dict[str, float]:
    """Measure the pictures in ``folder``: figures by name, such as ``{"ESR-1": 97.5}``, shares in %.

    ``base`` is the folder of the pictures before erasing.
    """
    figures: dict[str, float] = {}
    for group in target_set.groups:
        labels = [shot.label for shot in group.shots]
        ranks = rank_pictures(judges[group.judge], openers(folder, group.shots), labels)
        figures.update(group.figures(ranks))
    for name, figure in extra.items():
        figures.update({f"{name} {group.name}": round(figure(group, base, folder), 4) for group in target_set.groups})
    return figures


def _train(
    folder: Path, spaces: Path, checkpoint: CheckpointInfo, config: EraseConfig, device: str
) -> Generator[Progress, None, Cost]:
    """Train ``folder/lora.safetensors`` unless it is there already; return what training took."""
    cost_file, lora = folder / "training.json", folder / LORA
    cost: Cost
    if cost_file.exists() and lora.exists():
        cost = json.loads(cost_file.read_text(encoding="utf-8"))
        return cost
    yield Progress("concept space", 0, 1)
    measured_space = concept_space(spaces, checkpoint, sha256(checkpoint.path), config, device)
    folder.mkdir(parents=True, exist_ok=True)
    last: Step | None = None
    parameters = 0
    began = time.perf_counter()
    with _open_run(RunFolder(folder / "run"), checkpoint, config, device, lora.resolve(), measured_space) as run:
        for event in run:
            if isinstance(event, Planned):
                parameters = event.plan.parameters
            elif isinstance(event, Step):
                last = event
                yield Progress("training", event.step, event.steps)
    cost = {
        "rows_training": run.rows + run.rows_steering,
        "rows_space": measured_space.rows,
        "seconds_space": round(measured_space.seconds, 1),
        "seconds_training": round(last.seconds if last else time.perf_counter() - began, 1),
        "updates": last.step if last else 0,
        "parameters": parameters,
    }
    write_json(cost_file, cost)
    return cost


def _near(cell: Cell, target_set: TargetSet, checkpoint: CheckpointInfo, digest: str, lora: Path) -> dict[str, float]:
    """Measure near preservation on the words that the default would protect, so that all methods have the same ones."""
    bench = cell.bench
    config, space = _default_space(cell, target_set, checkpoint, digest)
    words = bench.options.near_words
    before = _base(bench, digest) / f"near-{target_set.name}-{words}-{space_key(config, digest)}.safetensors"
    return near_preservation(checkpoint, lora, space, config, before, words=words, device=bench.devices[1])


def _ranks(
    cell: Cell, target_set: TargetSet, checkpoint: CheckpointInfo, digest: str, lora: Path
) -> Generator[Progress, None, tuple[dict[str, float], dict[str, float]]]:
    """Rank what pictures show by the model's own judgement."""
    bench, config = cell.bench, _default_config(cell, target_set)
    whole = suite(bench.suite, replace(bench.options, limit=0)).set(cell.set)
    base = _base(bench, digest)
    made = judged_figures(checkpoint, lora, target_set, whole, config, base, device=bench.devices[1])
    return (yield from relayed(made, _told))


def _attacks(
    cell: Cell,
    target_set: TargetSet,
    checkpoint: CheckpointInfo,
    digest: str,
    lora: Path,
    judges: dict[str, Ranks],
    judge_name: str,
) -> Generator[Progress, None, tuple[dict[str, float], dict[str, float]]]:
    """Attack with the words of the default's concept space, so that all methods are attacked with the same ones."""
    bench = cell.bench
    config, space = _default_space(cell, target_set, checkpoint, digest)
    made = attack_figures(
        checkpoint, digest, lora, space, config, target_set, judges, judge_name, bench.options,
        _base(bench, digest), device=bench.devices[1],
    )  # fmt: skip
    return (yield from relayed(made, _told))


def _told(stage: Stage) -> Progress:
    return Progress(stage.what, stage.done, max(1, stage.total))


def _base(bench: Bench, digest: str) -> Path:
    """Return the folder of what is found of the checkpoint itself, which all methods and seeds share."""
    return bench.folder / "base" / digest[:12]


def _default_config(cell: Cell, target_set: TargetSet) -> EraseConfig:
    """Return the default's settings for a target set, whatever the cell's own."""
    return replace(cell, variant=variant(DEFAULT)).config(target_set)


def _default_space(
    cell: Cell, target_set: TargetSet, checkpoint: CheckpointInfo, digest: str
) -> tuple[EraseConfig, ConceptSpace]:
    """Return the default's settings for a target set, and its concept space."""
    config = _default_config(cell, target_set)
    measured_space = concept_space(cell.bench.folder / "spaces", checkpoint, digest, config, cell.bench.device)
    return config, measured_space.space


def _open_run(
    folder: RunFolder, checkpoint: CheckpointInfo, config: EraseConfig, device: str, out: Path, given: MeasuredSpace
) -> Run:
    """Start the run, or resume it. It draws a single prompt, since the bench draws many pictures of its own.

    A method that diverges is measured like the others.
    """
    if folder.holds_run:
        place = checkpoint.path  # the folder of a bench may have been moved with the model, or to another machine
        return resume(folder, checkpoint=place, device=device, out=out, overwrite=True, prompts=1, even_diverged=True)
    task = Task(checkpoint.path, out, folder, config, device, True, 1, given.space, given.album, even_diverged=True)
    return erase(task)


def _draw(
    folder: Path, checkpoint: CheckpointInfo, bench: Bench, chosen: Suite, target_set: TargetSet, lora: Path | None
) -> Iterator[Progress]:
    """Draw the missing pictures of a set with the LoRA file, or without one for the checkpoint itself."""
    shots = target_set.shots()
    if not missing_shots(folder, shots):
        return
    model = open_model(checkpoint, resolution=chosen.draw_settings.pixels, device=bench.devices[1])
    if lora is not None:
        apply_lora_file(model.parts.modules, read_lora(lora))
    stage = "pictures" if lora else "base pictures"
    for done, total in draw_missing(model, shots, folder, chosen.draw_settings):
        yield Progress(stage, done, total)
