"""``python -m erasure preview``: a before/after grid for given prompts and seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from erasure.cli.flags import Commands, add_command, add_model_flags, opening_of, print_notes
from erasure.cli.numbers import MOST_DRAWING_STEPS, MOST_SEED, pixels, real, whole
from erasure.model.device import default_device
from erasure.run.output import check_output
from erasure.whole_file import whole_file


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "preview", "draw pictures with and without a LoRA")
    add_model_flags(parser)
    add = parser.add_argument
    add("--lora", type=Path, required=True, metavar="FILE", help="the LoRA file")
    add("--weight", type=real, default=1.0, metavar="X", help="weight of the LoRA (default: 1)")
    add("--prompt", action="append", required=True, metavar="TEXT", help="what to draw; repeat for several")
    add("--seed", action="append", type=whole(0, MOST_SEED), metavar="N", help="repeat for several (default: 1 and 2)")
    add("--steps", type=whole(1, MOST_DRAWING_STEPS), default=20, metavar="N", help="DDIM steps (default: 20)")
    add("--guidance", type=real, default=5.0, metavar="X", help="classifier-free guidance (default: 5)")
    add("--pixels", type=pixels, default=0, metavar="N", help="picture size (default: the checkpoint's own)")
    add("--out", type=Path, required=True, metavar="FILE.png", help="the grid of pictures to write")
    add("--overwrite", action="store_true", help="replace an existing --out")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_output(arguments.out, overwrite=arguments.overwrite, suffix=".png")
    from erasure.lora.file import read_lora
    from erasure.lora.fit import match_lora
    from erasure.lora.model_adapter import inject_lora_file, model_shapes
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.draw_settings import DrawSettings
    from erasure.model.drawing import draw_pictures
    from erasure.model.model import open_model
    from erasure.run.picture_sheet import picture_grid

    checkpoint, file = inspect_checkpoint(arguments.checkpoint).opened(opening_of(arguments)), read_lora(arguments.lora)
    model = open_model(checkpoint, resolution=arguments.pixels, device=arguments.device or default_device())
    print_notes(model.parts.notes)
    match_lora(file, model_shapes(model.parts.modules), checkpoint.family)
    seeds = arguments.seed or [1, 2]
    prompts = [prompt for prompt in arguments.prompt for _ in seeds]
    drawing = DrawSettings(arguments.steps, arguments.guidance)
    every = seeds * len(arguments.prompt)
    before = draw_pictures(model, prompts, every, drawing)
    inject_lora_file(model.parts.modules, file, arguments.weight)
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
