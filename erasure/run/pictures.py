"""The pictures of a run: the same few prompts and seeds, before and after."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin

from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.drawing import DRAWING
from erasure.model.pictures import drawing_steps, run_to_end
from erasure.model.rows import Purpose
from erasure.run import events
from erasure.run.events import Preview
from erasure.run.folder import RunFolder
from erasure.run.forecast import ERASED_SHOWN, NEAR_SHOWN, PRESERVED_SHOWN
from erasure.run.picture_sheet import SEEDS, picture_grid
from erasure.training.session import Session
from erasure.whole_file import whole_file


@dataclass(frozen=True)
class RunPictures:
    """``before``: the frozen model's pictures, every prompt with every seed, prompts outermost."""

    session: Session
    folder: RunFolder
    prompts: tuple[str, ...]
    before: tuple[Image.Image, ...]

    def preview(self) -> Preview:
        """:meth:`steps` to the end."""
        return run_to_end(self.steps())

    def steps(self) -> Generator[events.Drawing, None, Preview]:
        """Draw the same again with the LoRA as it is now, and write both to the run folder as a grid.

        Raises: OSError if it cannot be written.
        """
        after = yield from _drawn(self.session, self.prompts, SEEDS)
        n = len(SEEDS)
        columns = [f"{when}, seed {seed}" for when in ("before", "after") for seed in SEEDS]
        rows = [
            (prompt, [*self.before[i * n : (i + 1) * n], *after[i * n : (i + 1) * n]])
            for i, prompt in enumerate(self.prompts)
        ]
        step = self.session.trainer.step
        path = self.folder.preview(step)
        _write_png(picture_grid(columns, rows), path)
        return Preview(step, path)


def open_run_pictures(
    session: Session, folder: RunFolder, config: EraseConfig, count: int | None = None
) -> Generator[events.Drawing, None, RunPictures]:
    """With the "before" pictures that are in the run folder already, or new ones, which are kept there.

    ``count``: how many of the prompts, at least one; None: all. Raises: OSError if they cannot be written.
    """
    prompts = preview_prompts(session, config)[:count]
    drawn_as = json.dumps({"prompts": prompts, "seeds": SEEDS, "pixels": session.model.pixels})
    before = _read_strip(folder.before, drawn_as, len(prompts) * len(SEEDS))
    if before is None:
        before = yield from _drawn(session, prompts, SEEDS, frozen=True)
        _write_strip(folder.before, drawn_as, before)
    return RunPictures(session, folder, tuple(prompts), tuple(before))


def preview_prompts(session: Session, config: EraseConfig) -> list[str]:
    """The erased concepts, two protected neighbours of the first, and one prompt that has nothing to do with them."""
    template = config.templates[0]
    first = session.space.targets[0]
    near = [candidate.text for candidate in first.preserved[:NEAR_SHOWN]]
    far = [first.preserved[-1].text] if len(first.preserved) > NEAR_SHOWN else []
    names = list(dict.fromkeys([*config.erase[:ERASED_SHOWN], *config.preserve[:PRESERVED_SHOWN], *near, *far]))
    return [fill(template, name) for name in names]


def draw(session: Session, prompts: Sequence[str], seeds: Sequence[int], *, purpose: Purpose) -> list[Image.Image]:
    """Every prompt with every seed, prompts outermost; its rows are counted for ``purpose``."""
    return run_to_end(_drawn(session, prompts, seeds, purpose=purpose))


def _drawn(
    session: Session,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    frozen: bool = False,
    purpose: Purpose = "pictures",
) -> Generator[events.Drawing, None, list[Image.Image]]:
    every = [prompt for prompt in prompts for _ in seeds]
    model = session.model
    steps = drawing_steps(model, every, [*seeds] * len(prompts), DRAWING)
    while True:
        # Not around the loop: at a step's end the run may pause, and its state is saved as that of the training.
        with model.rows.purpose(purpose), model.frozen() if frozen else nullcontext():
            try:
                share = next(steps)
            except StopIteration as end:
                pictures: list[Image.Image] = end.value
                return pictures
        yield events.Drawing(share)


def _write_strip(path: Path, drawn_as: str, pictures: Sequence[Image.Image]) -> None:
    """Side by side in one PNG, which loses nothing; ``drawn_as`` says what they show."""
    width, height = pictures[0].size
    strip = Image.new("RGB", (width * len(pictures), height))
    for i, picture in enumerate(pictures):
        strip.paste(picture, (i * width, 0))
    about = PngImagePlugin.PngInfo()
    about.add_itxt("drawn_as", drawn_as)
    _write_png(strip, path, about)


def _read_strip(path: Path, drawn_as: str, count: int) -> list[Image.Image] | None:
    """None if there is none, or it shows something else, or is damaged: then they are drawn anew."""
    with suppress(OSError, SyntaxError, ValueError), Image.open(path) as strip:
        strip.load()
        if strip.info.get("drawn_as") != drawn_as or strip.width % count:
            return None
        side = strip.width // count
        return [strip.convert("RGB").crop((i * side, 0, (i + 1) * side, strip.height)) for i in range(count)]
    return None


def _write_png(picture: Image.Image, path: Path, about: PngImagePlugin.PngInfo | None = None) -> None:
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=about)
