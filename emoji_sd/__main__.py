"""``python -m emoji_sd install | samples | measure``"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emoji_sd import MODEL
from emoji_sd.concepts import NAMES
from emoji_sd.install import InstallError, install
from erasure.console import print_any_character
from erasure.errors import EraseError


def main() -> int:
    print_any_character()
    parser = argparse.ArgumentParser(prog="python -m emoji_sd", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    into = commands.add_parser("install", help="copy the model into a web UI")
    into.add_argument("--webui", type=Path, required=True, metavar="DIR", help="the folder that holds webui.py")
    into.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="another miniature, as emoji_sd.making wrote it (emoji-SD)"
    )
    into.add_argument(
        "--open-clip",
        type=Path,
        metavar="DIR",
        help="folder of the library open_clip in the web UI's Python (looked for in its venv)",
    )
    into.add_argument("--force", action="store_true", help="replace different files of the same names")
    samples = commands.add_parser("samples", help="draw a sheet of samples")
    samples.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture to write")
    measured = commands.add_parser("measure", help="draw pictures and let the classifier judge them")
    measured.add_argument("--every", type=int, default=1, metavar="N", help="measure only every N-th concept (1)")
    for command in (samples, measured):
        command.add_argument("--checkpoint", type=Path, default=MODEL, metavar="FILE", help="(emoji-SD)")
        command.add_argument("--guidance", type=float, default=4.0, metavar="X", help="guidance scale (4)")
        command.add_argument("--device", default="cpu", metavar="NAME", help="torch device (cpu)")
    measured.add_argument("--save", action="store_true", help="save the figures beside the checkpoint")
    arguments = parser.parse_args()
    try:
        return {"install": _install, "samples": _samples, "measure": _measure}[arguments.command](arguments)
    except (InstallError, EraseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _install(arguments: argparse.Namespace) -> int:
    a = arguments
    for path in install(a.webui, a.checkpoint, open_clip=a.open_clip, force=a.force):
        print(path)
    return 0


def _samples(arguments: argparse.Namespace) -> int:
    from emoji_sd.samples import sample_sheet

    a = arguments
    sample_sheet(guidance=a.guidance, checkpoint=a.checkpoint, device=a.device).save(a.out)
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    from emoji_sd.measure import measure

    names = NAMES[:: arguments.every]
    a = arguments
    figures = measure(names, guidance=a.guidance, checkpoint=a.checkpoint, device=a.device).to_dict()
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.save:
        (arguments.checkpoint.parent / "figures.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
