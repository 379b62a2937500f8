"""ImageNet classifiers as judges: torchvision's ResNet-50, or any image classification model in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from erasure.errors import EvaluationError
from erasure.evaluate.extras import need, need_weights, torch_cache
from erasure.evaluate.pixels import Preparation, prepare
from erasure.evaluate.recognition import Ranks

IMAGENET = Preparation(232, 224, Image.Resampling.BILINEAR, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""As for torchvision's IMAGENET1K_V2."""
WEIGHTS = "resnet50-11ad3fa6.pth"  # torchvision's IMAGENET1K_V2


def imagenet_ranks(
    index: dict[str, int], *, weights: str = "", random: bool = False, device: str = "cpu", seed: int = 0
) -> Ranks:
    """A judge among the 1,000 ImageNet classes; ``index``: label -> class.

    ``weights``: a folder in transformers' layout, or a file of ResNet-50 weights in torchvision's names; "": the file
    in torch's own cache. ``random``: an untrained ResNet-50, which judges nothing and only lets a bench run through.
    Raises: MissingExtra, EvaluationError.
    """
    logits = _random(seed, device) if random else _trained(weights, device)

    def ranks(pictures: Sequence[Image.Image], labels: Sequence[str]) -> list[int]:
        with torch.no_grad():
            found = logits(prepare(pictures, IMAGENET).to(device)).float().cpu()
        own = found.gather(1, torch.tensor([index[label] for label in labels])[:, None])
        return (found > own).sum(1).tolist()

    return ranks


def _trained(weights: str, device: str) -> Callable[[Tensor], Tensor]:
    if weights and Path(weights).is_dir():
        from transformers import AutoModelForImageClassification

        try:
            model = AutoModelForImageClassification.from_pretrained(weights, local_files_only=True)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"the classifier in {weights} cannot be read: {error}") from error
        return _from_transformers(model, device)
    models = need("torchvision.models", "imagenette", "give --classifier a folder with a model for transformers")
    file = Path(weights) if weights else torch_cache(WEIGHTS)
    need_weights(file, "the ResNet-50 judge", "download.pytorch.org/models (or name others with --classifier)")
    network = models.resnet50(weights=None)
    try:
        network.load_state_dict(_read_weights(file))
    except Exception as error:  # readers of weight files raise whatever a damaged byte makes them stumble over
        raise EvaluationError(f"{file} holds no weights of torchvision's ResNet-50: {error}") from error
    return network.eval().requires_grad_(False).to(device)


def _read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors only: no code that a file may hold is run."""
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _random(seed: int, device: str) -> Callable[[Tensor], Tensor]:
    from transformers import ResNetConfig, ResNetForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # transformers' defaults are ResNet-50.
        return _from_transformers(ResNetForImageClassification(ResNetConfig(num_labels=1000)), device)


def _from_transformers(model: Any, device: str) -> Callable[[Tensor], Tensor]:
    if model.config.num_labels != 1000:
        raise EvaluationError(
            f"the classifier knows {model.config.num_labels} classes; one of ImageNet's 1,000 in their order is needed"
        )
    model = model.eval().requires_grad_(False).to(device)
    return lambda pixels: model(pixel_values=pixels).logits
