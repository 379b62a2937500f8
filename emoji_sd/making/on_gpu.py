"""Train a variant on a GPU within minutes, erase from it there, and bring back figures and pictures alone.

``python -m emoji_sd.making.on_gpu --work DIR --out DIR --bench "--sets doubles-1 --methods adversarial"`` needs the
``latents-*.npz`` that ``latents`` wrote to ``--work``, 17 MB, and no network. The shipped text encoder, VAE and
classifier are taken where ``--work`` has none. The default is SD 1.x's own width in bf16. Each ``--bench`` holds flags
of ``python -m erasure bench``, whose rows are added to the figures.

``--out`` gets ``figures.json``, written anew after every part so that a run that is cut off keeps what it has,
``samples.png`` and, with ``--bench``, ``erased.png``. The checkpoint stays in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emoji_sd.concepts import NAMES
from emoji_sd.making.export import export
from emoji_sd.making.latents import encode_captions
from emoji_sd.making.shipped import take_shipped
from emoji_sd.making.unet import Settings, peak_rate, train
from emoji_sd.making.width import FULL, WIDTHS
from emoji_sd.measure import measure
from emoji_sd.samples import sample_sheet
from erasure.bench.contact_sheet import contact_sheet
from erasure.bench.grid import machine
from erasure.bench.results import Row, finished, read_rows
from erasure.bench.work import RESULTS
from erasure.cli import main as command_line
from erasure.model.device import default_device
from erasure.whole_file import write_json


def prepare(work: Path, device: str) -> None:
    """Add what ``work`` lacks and can be made without a network: the shipped parts, and the captions' text states."""
    if not (work / "text_encoder").is_dir():
        take_shipped(work)
    if not (work / "captions.npy").exists():
        encode_captions(work, device)


def erase(checkpoint: Path, folder: Path, device: str, flags: Sequence[str]) -> list[str]:
    """Run the bench on the checkpoint, once for each string of flags; return those of which something failed."""
    failed = []
    for more in flags:
        own = ["bench", "--checkpoint", str(checkpoint), "--folder", str(folder), "--device", device]
        if command_line([*own, *shlex.split(more)]):
            failed.append(more)
    return failed


def erased_figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return of each row what was erased, how, the figures before and after, and the time that it took."""
    kept = ("set", "erase", "variant", "seed", "before", "after", "updates", "seconds_space", "seconds_training")
    return [{name: value for name, value in row.items() if name in kept} for row in rows]


def run(settings: Settings, out: Path, every: int, flags: Sequence[str]) -> dict[str, Any]:
    """Prepare, train, export, measure and erase; return the figures that were written to ``out``.

    ``every``: measure only every n-th concept; ``flags``: those of each bench.
    """
    work, width, device = settings.work, settings.width, settings.device
    out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    figures: dict[str, Any] = {"machine": machine([device]), "seconds": seconds}
    last = time.monotonic()

    def done(part: str) -> None:
        nonlocal last
        now = time.monotonic()
        seconds[part], last = round(now - last, 1), now
        write_json(out / "figures.json", figures)
        print(f"{part}: {seconds[part]} s", flush=True)

    prepare(work, device)
    done("prepare")
    train(0, 1, settings)
    figures["made"] = json.loads((width.run_folder(work) / "made.json").read_text(encoding="utf-8"))
    done("train")
    model = work / f"model-{width.channels[0]}"
    checkpoint = export(work, model, width)
    done("export")
    figures["drawn"] = measure(NAMES[::every], checkpoint=checkpoint, device=device).to_dict()
    sample_sheet(checkpoint=checkpoint, device=device).save(out / "samples.png")
    done("measure")
    bench = work / f"bench-{width.channels[0]}"
    figures["failed"] = erase(checkpoint, bench, device, flags)
    if flags:
        rows = finished(read_rows(bench / RESULTS))
        figures["erased"] = erased_figures(rows)
        sheet = contact_sheet([bench], rows)
        if sheet is not None:
            sheet.save(out / "erased.png")
    done("erase")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with latents-*.npz; large files go here")
    parser.add_argument("--out", type=Path, required=True, help="folder for figures and pictures")
    parser.add_argument(
        "--channels", type=int, choices=WIDTHS, default=FULL.channels[0], help="of the finest level (320)"
    )
    parser.add_argument("--from-shipped", action="store_true", help="start from the shipped U-Net, widened")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training at most (5)")
    parser.add_argument("--steps", type=int, default=20000, help="of training at most (20000)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, help="peak (8e-4 x 64 / channels)")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--every", type=int, default=1, metavar="N", help="measure only every N-th concept (1)")
    parser.add_argument("--bench", action="append", default=[], metavar="FLAGS", help="erase: flags of the bench")
    a = parser.parse_args()
    width = WIDTHS[a.channels]
    settings = Settings(
        a.work,
        a.steps,
        a.batch,
        peak_rate(width) if a.lr is None else a.lr,
        width=width,
        from_shipped=a.from_shipped,
        seconds=60 * a.minutes,
        device=a.device,
        save_every=float("inf"),
        resumable=False,
    )
    run(settings, a.out, a.every, a.bench)


if __name__ == "__main__":
    main()
