"""``python -m erasure share``: make a folder of a LoRA that is ready to be passed on, and upload it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from erasure.cli.flags import Commands, add_command, print_notes
from erasure.errors import ConfigError


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "share", "make a folder of a LoRA that is ready to be passed on")
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the LoRA file")
    add("--to", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    add("--license", metavar="ID", help="what the file may be used for, by the Hugging Face Hub's id; for SD 1.x "
        "usually creativeml-openrail-m, for SD 2.x and SDXL openrail++")  # fmt: skip
    add("--base-model", metavar="OWNER/NAME", help="the base on the Hugging Face Hub (default: known for the files of "
        "SD 1.4, 1.5, 2.0, 2.1 and SDXL 1.0)")  # fmt: skip
    add("--erase", action="append", metavar="TEXT", help="what it erases (default: what the file says)")
    add("--author", metavar="NAME", help="who is named as its author (default: nobody)")
    add("--run", dest="folder", type=Path, metavar="DIR", help="run folder with its pictures (default: looked for in "
        "runs, and beside the file)")  # fmt: skip
    add("--with-unsafe-pictures", action="store_true", help="show pictures of unsafe content as well")
    add("--upload", metavar="OWNER/NAME", help="then upload the folder to this repository of the Hugging Face Hub, "
        "with huggingface_hub's own login; private unless --public")  # fmt: skip
    add("--public", action="store_true", help="with --upload: let everybody see it")
    add("--dry-run", action="store_true", help="with --upload: make the folder and say what would be uploaded")
    add("--overwrite", action="store_true", help="replace files in an existing folder, and in an existing repository")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the files that were made; notes go to stderr."""
    if not arguments.upload and (arguments.public or arguments.dry_run):
        raise ConfigError(["--public and --dry-run go with --upload OWNER/NAME"])
    from erasure.share.order import share_order

    lora: Path = arguments.file
    try:
        order = share_order(
            lora,
            arguments.license,
            base_model=arguments.base_model,
            erase=arguments.erase,
            author=arguments.author,
            run=arguments.folder or _own_run(lora),
            unsafe_pictures=arguments.with_unsafe_pictures,
            repo=arguments.upload,
        )
    except ConfigError as error:
        raise ConfigError([_as_flag(problem) for problem in error.problems]) from error
    from erasure.share.folder import share_lora
    from erasure.share.upload import UploadPlan, upload

    shared = share_lora(order, arguments.to, overwrite=arguments.overwrite)
    print_notes(shared.notes)
    for name in shared.files:
        print(shared.path / name)
    if arguments.upload:
        plan = UploadPlan(shared.path, shared.files, arguments.upload, arguments.public)
        if arguments.dry_run:
            print(f"would upload {plan}")
        else:
            print(f"uploading {plan}", file=sys.stderr)
            print(upload(plan, overwrite=arguments.overwrite, progress=_say))
    return 0


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


def _own_run(lora: Path) -> Path | None:
    from erasure.share.pictures import find_run

    return find_run(lora, [Path("runs"), lora.parent / "runs", lora.parent]) if lora.is_file() else None


def _as_flag(problem: str) -> str:
    name, colon, rest = problem.partition(": ")
    flags = {"license": "--license", "base_model": "--base-model", "author": "--author", "run": "--run",
             "erase": "--erase", "upload": "--upload"}  # fmt: skip
    return f"{flags[name]}{colon}{rest}" if name in flags else problem
