"""``python -m erasure preview``: a before/after grid for given prompts and seeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from erasure.cli.flags import add_model_flags
from erasure.errors import OutputExists
from erasure.model.device import default_device
from erasure.whole_file import whole_file


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("preview", help="draw pictures with and without a LoRA")
    add_model_flags(parser)
    parser.add_argument("--lora", type=Path, required=True, metavar="FILE")
    parser.add_argument("--weight", type=float, default=1.0, help="as in <lora:name:weight> (1)")
    parser.add_argument("--prompt", action="append", required=True, help="repeat for several")
    parser.add_argument("--seed", action="append", type=int, help="repeat for several (1, 2)")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps (20)")
    parser.add_argument("--guidance", type=float, default=5.0, help="classifier-free guidance (5)")
    parser.add_argument("--pixels", type=int, default=0, help="side of a picture (the checkpoint's own)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.out.exists() and not arguments.overwrite:
        raise OutputExists(f"{arguments.out} exists; choose another name, or add --overwrite")
    from erasure.lora.file import inject_lora_file, match_lora, read_lora
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.draw_settings import DrawSettings
    from erasure.model.drawing import draw_pictures
    from erasure.model.model import open_model
    from erasure.run.picture_sheet import picture_grid

    checkpoint, file = inspect_checkpoint(arguments.checkpoint), read_lora(arguments.lora)
    model = open_model(checkpoint, resolution=arguments.pixels, device=arguments.device or default_device())
    match_lora(file, model.unet)
    seeds = arguments.seed or [1, 2]
    prompts = [prompt for prompt in arguments.prompt for _ in seeds]
    drawing = DrawSettings(arguments.steps, arguments.guidance)
    every = seeds * len(arguments.prompt)
    before = draw_pictures(model, prompts, every, drawing)
    inject_lora_file(model.unet, file, arguments.weight)
    after = draw_pictures(model, prompts, every, drawing)
    n = len(seeds)
    columns = [f"{when}, seed {seed}" for when in ("before", "after") for seed in seeds]
    rows = [
        (prompt, [*before[i * n : (i + 1) * n], *after[i * n : (i + 1) * n]])
        for i, prompt in enumerate(arguments.prompt)
    ]
    with whole_file(arguments.out) as temporary:
        picture_grid(columns, rows).save(temporary, format="PNG")
    print(arguments.out)
    return 0
