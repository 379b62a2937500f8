"""Measures how well emoji-SD draws what a prompt asks for, as judged by its classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from emoji_sd import FOLDER, MODEL, load_classifier
from emoji_sd.captions import measured_caption
from emoji_sd.concepts import NAMES, STYLES
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import draw_pictures
from erasure.model.model import open_model

STEPS = 20
GUIDANCE = 4.0


@dataclass(frozen=True)
class Figures:
    """Shares in %, over one picture of every measured concept in every style."""

    pictures: int
    guidance: float
    concept_top_1: float
    concept_top_5: float
    style_top_1: float
    never_first: tuple[str, ...]  # concepts not recognised first in any style

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


def draw(
    names: tuple[str, ...], *, guidance: float = GUIDANCE, checkpoint: Path = MODEL, device: str = "cpu"
) -> list[Image.Image]:
    """Draw every concept in every style with 20 DDIM steps; a picture's seed is its place in the list."""
    model = open_model(inspect_checkpoint(checkpoint), device=device)
    prompts = [measured_caption(name, style) for name in names for style in STYLES]
    drawing = DrawSettings(steps=STEPS, guidance=guidance, batch=32)
    return draw_pictures(model, prompts, range(len(prompts)), drawing)


def measure(
    names: tuple[str, ...] = NAMES, *, guidance: float = GUIDANCE, checkpoint: Path = MODEL, device: str = "cpu"
) -> Figures:
    """Draw every concept in every style, and judge the pictures with the classifier beside the checkpoint.

    If there is none, the one that ships judges them.
    """
    own = (checkpoint.parent / "classifier.safetensors").exists()
    drawn = draw(names, guidance=guidance, checkpoint=checkpoint, device=device)
    return judge(drawn, names, guidance, checkpoint.parent if own else FOLDER)


def judge(drawn: list[Image.Image], names: tuple[str, ...], guidance: float, folder: Path = FOLDER) -> Figures:
    """Judge pictures, in the order of :func:`draw`, with the classifier in ``folder``."""
    classifier = load_classifier(folder)
    ranks = classifier.concept_ranks(drawn, [name for name in names for _ in STYLES])
    styles = classifier.style_ranks(drawn, list(STYLES) * len(names))
    per = len(STYLES)
    never = tuple(name for i, name in enumerate(names) if min(ranks[i * per : (i + 1) * per]) > 0)

    def share(found: list[int], k: int) -> float:
        return round(100 * sum(rank < k for rank in found) / len(found), 1)

    return Figures(len(drawn), guidance, share(ranks, 1), share(ranks, 5), share(styles, 1), never)
