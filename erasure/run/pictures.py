"""The pictures of a run: the same few prompts and seeds are drawn before and after."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from PIL import Image

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.drawing import relayed, run_to_end
from erasure.model.stage import Stage, counted
from erasure.run.events import Preview
from erasure.run.folder import RunFolder
from erasure.run.forecast import ERASED_SHOWN, NEAR_SHOWN, PRESERVED_SHOWN, SEEDS
from erasure.run.picture_folder import Picture, Role, Subject, known_pictures, write_pictures
from erasure.run.preview import BeforeAfter, pair_rows
from erasure.run.tuned_model import TunedModel
from erasure.training.update_count import updates
from erasure.verdict.verdict import Verdict


@dataclass(frozen=True)
class RunPictures:
    """Draws the pictures. ``before``: the frozen model's, subject by subject with every seed."""

    tuned: TunedModel
    folder: RunFolder
    before: tuple[Picture, ...]

    def steps(self) -> Generator[Stage, None, tuple[Preview, list[BeforeAfter]]]:
        """Draw the same subjects with the LoRA as it is now, and write the pictures to the run folder.

        Yields how far it is; returns the event and the pictures beside those from before. Raises: OSError.
        """
        step = self.tuned.training.step
        shots = [(picture.subject, picture.seed) for picture in self.before]
        after = yield from _drawn(self.tuned, shots, step)
        folder = self.folder.pictures(step)
        write_pictures(folder, after)
        return Preview(step, folder), pair_rows(self.before, after)

    def preview(self) -> tuple[Preview, list[BeforeAfter]]:
        """Do all of :meth:`steps` at once."""
        return run_to_end(self.steps())

    def with_worst(self, verdict: Verdict) -> Generator[Stage, None, RunPictures]:
        """Draw the word that was hurt most without the LoRA as well, unless it is there; return all pictures before.

        So that what is shown of the words that were to be kept is the worst of them. Raises: OSError.
        """
        shown = {picture.subject.concept for picture in self.before}
        worst = next(iter(verdict.worst), None)
        if worst is None or worst.after >= worst.before or worst.concept in shown:
            return self
        template = self.tuned.training.config.templates[0]
        role: Role = "protected" if worst.role == "near" else "other"
        subject = Subject(worst.concept, fill(template, worst.concept), role)
        drawn = yield from _drawn(self.tuned, [(subject, seed) for seed in SEEDS], None)
        before = (*self.before, *drawn)
        write_pictures(self.folder.before, before)
        return replace(self, before=before)

    def first_again(self) -> Image.Image:
        """Draw the first picture with the LoRA as it is now; nothing is written."""
        first = self.before[0]
        return run_to_end(self.tuned.draw([first.subject.prompt], [first.seed], purpose="check"))[0]


def open_run_pictures(
    tuned: TunedModel, folder: RunFolder, config: EraseConfig, count: int | None = None
) -> Generator[Stage, None, RunPictures]:
    """Read the "before" pictures from the run folder, or draw them and write them there.

    ``count``: how many subjects to draw, at least one; None: all. Raises: OSError if the pictures cannot be written.
    """
    shots = [(subject, seed) for subject in subjects(tuned.space, config)[:count] for seed in SEEDS]
    before = known_pictures(folder.before)
    # Behind these may be a word that was hurt, of a run that had ended.
    before = before[: len(shots)]
    same = [(picture.subject, picture.seed, picture.image.width) for picture in before]
    if same != [(*shot, tuned.pixels) for shot in shots]:
        before = yield from _drawn(tuned, shots, None)
        write_pictures(folder.before, before)
    return RunPictures(tuned, folder, tuple(before))


def subjects(space: ConceptSpace, config: EraseConfig) -> list[Subject]:
    """Return what is drawn: erased and protected concepts, neighbours of the first, and one far from it."""
    preserved = [candidate.text for candidate in space.targets[0].preserved]
    roles: dict[str, Role] = dict.fromkeys(config.erase[:ERASED_SHOWN], "erased")
    for name in (*config.preserve[:PRESERVED_SHOWN], *preserved[:NEAR_SHOWN]):
        roles.setdefault(name, "protected")
    for name in preserved[-1:] if len(preserved) > NEAR_SHOWN else ():
        roles.setdefault(name, "other")
    return [Subject(name, fill(config.templates[0], name), role) for name, role in roles.items()]


def _drawn(
    tuned: TunedModel, shots: list[tuple[Subject, int]], step: int | None
) -> Generator[Stage, None, list[Picture]]:
    steps = tuned.draw([subject.prompt for subject, _ in shots], [seed for _, seed in shots], frozen=step is None)
    when = "before" if step is None else f"after {updates(step)}"
    images = yield from relayed(steps, counted(f"draws the pictures {when}", len(shots)))
    return [Picture(*shot, step, image) for shot, image in zip(shots, images, strict=True)]
