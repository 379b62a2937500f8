"""CLIP score (Hessel et al. 2021), and delta(c): how far erasing lowers a concept's (Bui et al. 2024, Section 3.2).

Computed by torchmetrics, with a CLIP model from a local folder in transformers' layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erasure.errors import EvaluationError, MissingExtra
from erasure.evaluate.extras import need
from erasure.evaluate.model_folder import check_weights
from erasure.evaluate.pixels import Preparation, prepare

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
USUAL = "openai/clip-vit-large-patch14"  # the model behind the paper's figures


class ClipScore:
    """Scores (picture, prompt) pairs with 100 times the cosine of their CLIP embeddings, or 0 if that is negative."""

    def __init__(self, folder: Path, *, device: str = "cpu"):
        """Load the CLIP model and tokenizer from ``folder``.

        Raises: MissingExtra if torchmetrics or the model is missing; EvaluationError if the model cannot be read.
        """
        self._metric = need("torchmetrics.functional.multimodal.clip_score", "metrics").clip_score
        if not (folder / "config.json").is_file():
            raise MissingExtra(
                f"CLIP scores need a CLIP model, but {folder} holds none (it has no config.json). Download {USUAL} "
                "from the Hugging Face hub, and give its folder."
            )
        self._model, self._tokenizer = _load(folder, device)
        self._device = device

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        """Return one score per pair, in the order given."""
        scores: list[float] = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            levels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).to(self._device)
            score = self._metric(levels, prompt, model_name_or_path=self._parts)
            scores.append(max(0.0, float(score)))
        return scores

    def _parts(self) -> tuple[Any, Any]:
        return self._model, _Processor(self._tokenizer, int(self._model.config.vision_config.image_size))


def clip_drop(
    scorer: ClipScore, before: Sequence[Image.Image], after: Sequence[Image.Image], prompts: Sequence[str]
) -> float:
    """Return delta(c): the mean CLIP score before minus that after, over pairs drawn from the same noise and prompt.

    Raises: EvaluationError if there are no pairs.
    """
    if not prompts:
        raise EvaluationError("delta(c) is a mean over pairs of pictures, but there are none. Draw at least one pair.")
    return fmean(b - a for b, a in zip(scorer(before, prompts), scorer(after, prompts), strict=True))


def clip_preparation(side: int) -> Preparation:
    """Return how pictures are prepared for a CLIP model that takes ``side`` px."""
    return Preparation(side, side, Image.Resampling.BICUBIC, MEAN, DEVIATION)


class _Features:
    """A CLIP model whose feature methods return tensors with every version of transformers."""

    def __init__(self, model: Any):
        self._model = model
        self.config = model.config

    def to(self, device: Any) -> _Features:
        self._model.to(device)
        return self

    def get_image_features(self, *arguments: Any, **named: Any) -> Tensor:
        return _tensor(self._model.get_image_features(*arguments, **named))

    def get_text_features(self, *arguments: Any, **named: Any) -> Tensor:
        return _tensor(self._model.get_text_features(*arguments, **named))


class _Processor:
    """Does the work of transformers' CLIPProcessor without torchvision, which that one needs."""

    def __init__(self, tokenizer: Any, side: int):
        self._tokenizer = tokenizer
        self._preparation = clip_preparation(side)

    def __call__(self, images: Any = None, text: Any = None, **_: Any) -> Any:
        if text is not None:
            return self._tokenizer(list(text), return_tensors="pt", padding=True, truncation=True)
        pictures = [Image.fromarray(levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy()) for levels in images]
        return {"pixel_values": prepare(pictures, self._preparation)}


def _tensor(features: Any) -> Tensor:
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found


def _load(folder: Path, device: str) -> tuple[_Features, Any]:
    from transformers import CLIPModel, CLIPTokenizerFast

    check_weights(folder, "the CLIP model")
    try:
        model = CLIPModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        tokenizer = CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"the CLIP model in {folder} cannot be read: {error}. Download it again, with weights as safetensors."
        ) from error
    tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.text_config.max_position_embeddings)
    return _Features(model.eval().requires_grad_(False).to(device)), tokenizer
