"""The classifier that judges emoji-SD's pictures: which concept, and in which style.

Its file is a ``.safetensors`` with the network's weights, and with the concepts and styles, in order, as JSON metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from erasure import bounded_json
from erasure.errors import EvaluationError
from erasure.safetensors_file import DamagedFile, read_header, read_tensors

SIDE = 64
WIDTHS = (32, 64, 128, 192)


class EmojiClassifier(nn.Module):
    """A small CNN that maps pictures (b, 3, 64, 64) in [-1, 1] to logits of concepts and of styles."""

    def __init__(self, concepts: int, styles: int):
        super().__init__()
        blocks: list[nn.Module] = []
        before = 3
        for i, width in enumerate(WIDTHS):
            blocks += [nn.Conv2d(before, width, 3, stride=2 if i == 0 else 1, padding=1, bias=False)]
            blocks += [nn.BatchNorm2d(width), nn.ReLU()]
            if i:
                blocks += [
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
            blocks += [nn.MaxPool2d(2)]
            before = width
        self.body = nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.2))
        self.concept = nn.Linear(before * 4, concepts)
        self.style = nn.Linear(before * 4, styles)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(pictures)
        return self.concept(features), self.style(features)


@dataclass(frozen=True)
class Judge:
    """A loaded classifier with its labels."""

    network: EmojiClassifier
    concepts: tuple[str, ...]
    styles: tuple[str, ...]

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Return the probabilities of concepts (n, 105) and styles (n, 4)."""
        batches = [to_tensor(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
        logits = [self.network(batch) for batch in batches]
        return torch.cat([c for c, _ in logits]).softmax(1), torch.cat([s for _, s in logits]).softmax(1)

    def concept_ranks(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> list[int]:
        """Return, per picture, the rank of its name among all concepts (0 = recognised first)."""
        probabilities, _ = self(pictures)
        return _ranks(probabilities, [self.concepts.index(name) for name in names])

    def style_ranks(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> list[int]:
        """Return, per picture, the rank of its style among all styles (0 = recognised first)."""
        _, probabilities = self(pictures)
        return _ranks(probabilities, [self.styles.index(name) for name in names])


def _ranks(probabilities: Tensor, wanted: Sequence[int]) -> list[int]:
    own = probabilities.gather(1, torch.tensor(wanted)[:, None])
    ranks: list[int] = (probabilities > own).sum(1).tolist()
    return ranks


def to_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """Return pictures as (n, 3, 64, 64) in [-1, 1]; larger ones are averaged down."""
    small = [p.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX) for p in pictures]
    return torch.from_numpy(np.stack([np.asarray(p) for p in small])).permute(0, 3, 1, 2).float() / 127.5 - 1


def load_classifier(path: Path) -> Judge:
    """Read a classifier file. Raises: EvaluationError if it is damaged, or is not a file of this classifier."""
    try:
        header = read_header(path)
        weights = {name: tensor.float() for name, tensor in read_tensors(path, header.shapes).items()}
    except (DamagedFile, OSError) as error:
        raise EvaluationError(f"the classifier {path} cannot be read: {error}") from error
    labels = header.metadata
    if not {"concepts", "styles"} <= labels.keys():
        raise EvaluationError(f"{path} is no classifier of emoji-SD: its metadata names no concepts and styles")
    try:
        concepts, styles = _names(labels["concepts"]), _names(labels["styles"])
        network = EmojiClassifier(len(concepts), len(styles))
        # The file has no batch counters, which inference does not use.
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except (ValueError, RuntimeError) as error:
        raise EvaluationError(f"{path} does not fit emoji-SD's classifier: {error}") from error
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise EvaluationError(f"{path} does not fit emoji-SD's classifier: {', '.join([*missing, *unexpected])}")
    return Judge(network.eval(), concepts, styles)


def _names(text: str) -> tuple[str, ...]:
    """Read a list of names. Raises: ValueError if it is none."""
    names = bounded_json.parse(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its labels are no list of names")
    return tuple(names)
