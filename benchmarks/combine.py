"""Ten concepts, each erased on its own from emoji-SD, joined to one LoRA: what joining costs, method by method.

``python -m benchmarks.combine --folder bench/combine --seed 0`` trains the ten with the default settings unless their
files are in the folder, joins them in each of the ways below, and prints a table of what the classifier that ships
recognises: of the ten in ESR, of fifteen concepts outside them. Pictures and files are kept in the folder, and what is
there is not made again.

``sum``: ranks added, as ``python -m erasure combine`` does, at several weights; ``rank 40``: the same, compressed.
``spm``: what SPM (Lyu et al., CVPR 2024, Section 3.3) does with its adapters, in miniature: each file counts in a
prompt by how near the prompt is to its concept, so that one that has nothing to do with it is left as it was. No file
can hold that. ``mace``: MACE (Lu et al., CVPR 2024, Section 3.3) in miniature: the closed form for keys and values of
cross-attention alone. ``joined``: the closed form for all layers, which refining starts from. ``refined``:
``combine --refine``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from emoji_sd import MODEL
from emoji_sd.concepts import PAPER_TEN, STYLES
from erasure.bench.emoji import ALL_TEN, emoji_suite
from erasure.bench.shots import draw_missing, openers
from erasure.bench.suite import Suite, SuiteOptions
from erasure.combine.combining import combine
from erasure.combine.refine import parents_of, refine_config
from erasure.combine.task import CombineTask, combine_task
from erasure.config.presets import preset
from erasure.config.settings import Start, settings
from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict
from erasure.evaluate.recognition import rank_pictures
from erasure.lora.combine import merge_loras
from erasure.lora.file import LoraFile, read_lora
from erasure.lora.fit import module_paths
from erasure.lora.layer_choice import base_layers, text_reader_names
from erasure.lora.model_adapter import inject_lora_file, remove_model_lora
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.drawing import run_to_end
from erasure.model.model import Model, open_model
from erasure.run.beginning import erase
from erasure.run.folder import RunFolder
from erasure.run.picture_sheet import picture_grid
from erasure.run.task import Task
from erasure.spread import spread
from erasure.whole_file import whole_file, write_json

WEIGHTS = (1.0, 0.7, 0.5, 0.3)
RANK = 40  # what the default would choose for ten concepts
ROWS = 600
SHOWN = 5  # of each group, on the sheet
_NOTHING = 1e-6  # a learning rate


class Joining:
    """The ten files and the model; ``draw`` puts LoRAs on the model and draws what is missing."""

    def __init__(self, folder: Path, seed: int, device: str, pictures: int, start: str):
        self.folder, self.seed, self.device = folder / f"seed-{seed}", seed, device
        self._start = start
        self.folder.mkdir(parents=True, exist_ok=True)
        self.suite: Suite = emoji_suite(SuiteOptions(pictures_per_concept=pictures))
        self._judges = self.suite.judges()
        self.singles = [self._single(concept) for concept in PAPER_TEN]
        self.model: Model = open_model(inspect_checkpoint(MODEL), device=device)

    def _single(self, concept: str) -> Path:
        """Return the LoRA that erases one concept with the default settings, trained now if it is not there."""
        out = self.folder / f"{concept.replace(' ', '-')}.safetensors"
        if not out.exists():
            asked = {**preset("object").settings, "erase": [concept], "seed": self.seed, "judged_words": 0}
            asked["start"] = self._start
            run_folder = RunFolder(self.folder / "runs" / out.stem)
            for _ in erase(Task(MODEL, out, run_folder, config_from_dict(asked), self.device, prompts=1)):
                pass
        return out

    def task(self, name: str, rank: int = 0, weight: float = 1.0) -> CombineTask:
        loras = [(path, weight) for path in self.singles]
        return combine_task(loras, self.folder / f"{name}.safetensors", rank=rank, overwrite=True)

    def trained(self, name: str, **changes: Any) -> tuple[Path, int]:
        """Refine with some settings changed; return the file, and the rows of the U-Net that it took."""
        task, told = self.task(name), self.folder / f"{name}.json"
        if not told.exists():
            config = with_changes(refine_config(task, ROWS), seed=self.seed, judged_words=0, **changes)
            run_folder = RunFolder(self.folder / "runs" / name)
            run = erase(
                Task(MODEL, task.out, run_folder, config, self.device, True, 1, even_diverged=True,
                     parents=parents_of(task))
            )  # fmt: skip
            for _ in run:
                pass
            write_json(told, {"rows": run.rows})
        rows: int = json.loads(told.read_text(encoding="utf-8"))["rows"]
        return task.out, rows

    def measure(self, name: str, lora: LoraFile | None) -> dict[str, float]:
        """Draw with one LoRA, or with none."""
        with self._on(lora):
            self._draw(name, [shot.name for shot in self._shots()])
        return self.figures(name)

    def measure_by_prompt(self, name: str, weights: Callable[[str], Sequence[float]]) -> dict[str, float]:
        """Draw each prompt with the ten files at weights of its own."""
        files = [read_lora(path) for path in self.singles]
        by_weights: dict[tuple[float, ...], list[str]] = {}
        for shot in self._shots():
            by_weights.setdefault(tuple(weights(shot.prompt)), []).append(shot.name)
        for own, names in by_weights.items():
            used = [(file, weight) for file, weight in zip(files, own, strict=True) if weight]
            with self._on(merge_loras(used) if used else None):
                self._draw(name, names)
        return self.figures(name)

    def figures(self, name: str) -> dict[str, float]:
        """Return the shares that the classifier recognises, in %."""
        found: dict[str, float] = {}
        for group in self.suite.set(ALL_TEN).groups:
            judge = self._judges[group.judge]
            pictures = openers(self.folder / "pictures" / name, group.shots)
            ranks = rank_pictures(judge, pictures, [shot.label for shot in group.shots])
            found.update(group.figures(ranks))
        return found

    def _shots(self) -> list[Any]:
        return self.suite.set(ALL_TEN).shots()

    def _draw(self, name: str, names: Sequence[str]) -> None:
        shots = [shot for shot in self._shots() if shot.name in set(names)]
        for _ in draw_missing(self.model, shots, self.folder / "pictures" / name, self.suite.draw_settings):
            pass

    @contextmanager
    def _on(self, lora: LoraFile | None) -> Iterator[None]:
        if lora is not None:
            inject_lora_file(self.model.parts.modules, lora, 1.0)
        try:
            yield
        finally:
            remove_model_lora(self.model.parts.modules)


def nearness(model: Model) -> Callable[[str], list[float]]:
    """Return the weights of the ten for a prompt: 1 for a concept's own prompts, 0 from where others begin.

    Cosine similarity of pooled embeddings, scaled between the mean similarity of two of the ten and that of a concept
    to a prompt with it.
    """
    names = model.pooled(PAPER_TEN)
    own = model.pooled([f"a picture of a {concept}" for concept in PAPER_TEN])
    every = cosine_similarity(names[:, None], own[None], dim=2)
    count = len(PAPER_TEN)
    least = float((every.sum() - every.trace()) / (count * count - count))
    most = float(every.diagonal().mean())

    def weights(prompt: str) -> list[float]:
        similar = cosine_similarity(names, model.pooled([prompt]), dim=1)
        scaled = ((similar - least) / (most - least)).clamp(0, 1)
        return [round(float(value), 2) for value in scaled]

    return weights


def readers_alone(file: LoraFile, model: Model) -> LoraFile:
    """Return the part of a LoRA that changes keys and values of cross-attention."""
    paths = module_paths(base_layers(model.unet), file.family)
    kept = set(text_reader_names(paths.values()))
    state = {key: value for key, value in file.state.items() if paths.get(key.partition(".")[0]) in kept}
    return LoraFile(file.path, file.family, state, file.alphas, {}, file.dtype)


def rows_of(joining: Joining) -> Iterator[tuple[str, dict[str, float], int]]:
    """Yield (name, figures, rows of the U-Net) of each way."""
    model = joining.model
    yield "the checkpoint itself", joining.measure("base", None), 0
    for weight in WEIGHTS:
        lora = merge_loras([(read_lora(path), weight) for path in joining.singles])
        yield f"sum, weight {weight:g}", joining.measure(f"sum-{weight:g}", lora), 0
    task = joining.task(f"rank-{RANK}", RANK)
    run_to_end(combine(task))
    yield f"sum, rank {RANK}", joining.measure(f"rank-{RANK}", read_lora(task.out)), 0
    yield "SPM's weights, in miniature", joining.measure_by_prompt("spm", nearness(model)), 0
    start, rows = joining.trained("joined", steps=1, learning_rate=_NOTHING, pace=0, look_every=0)
    yield "MACE, in miniature", joining.measure("mace", readers_alone(read_lora(start), model)), 0
    yield "joined, in closed form", joining.measure("joined", read_lora(start)), rows
    refined, rows = joining.trained("refined")
    yield "refined", joining.measure("refined", read_lora(refined)), rows


def sheet(joining: Joining, path: Path) -> None:
    """Write pictures of five of the ten and of five outside them, side by side: before, summed and refined."""
    columns = {"before": "base", "sum": "sum-1", "refined": "refined"}
    grids = []
    for group in joining.suite.set(ALL_TEN).groups:
        rows = []
        for shot in spread([shot for shot in group.shots if shot.prompt.endswith(f"{STYLES[0]} style")], SHOWN):
            images = [openers(joining.folder / "pictures" / name, [shot])[0]() for name in columns.values()]
            rows.append((f"{shot.label}{' (erased)' if group.erased else ''}", images))
        grids.append(picture_grid(list(columns), rows))
    both = Image.new("RGB", (sum(grid.width for grid in grids), grids[0].height), "white")
    for number, grid in enumerate(grids):
        both.paste(grid, (number * grids[0].width, 0))
    with whole_file(path) as temporary:
        both.save(temporary, format="JPEG", quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="where everything is kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=1, metavar="N", help="per concept and style (1)")
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="also write a sheet of pictures")
    parser.add_argument(
        "--start",
        default=settings()["start"].default,
        choices=get_args(Start),
        help="where the ten start (as by default)",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of torch (its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    joining = Joining(arguments.folder, arguments.seed, arguments.device, arguments.pictures, arguments.start)
    print("| joined by | ESR-1 | ESR-5 | outside-1 | outside-5 | rows of the U-Net |\n|---|---|---|---|---|---|")
    for name, figures, rows in rows_of(joining):
        cells = " | ".join(f"{value:.1f}" for value in figures.values())
        print(f"| {name} | {cells} | {rows:,} |", flush=True)
    if arguments.sheet:
        sheet(joining, arguments.sheet)


if __name__ == "__main__":
    main()
