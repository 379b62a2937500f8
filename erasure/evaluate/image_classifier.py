"""ImageNet classifiers as judges: torchvision's ResNet-50, or an image classification model in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from erasure.errors import EvaluationError
from erasure.evaluate.extras import need, need_weights, torch_cache
from erasure.evaluate.model_folder import check_weights
from erasure.evaluate.pixels import Preparation, prepare
from erasure.evaluate.recognition import Ranks
from erasure.safetensors_file import read_header, read_tensors

Logits = Callable[[Tensor], Tensor]
"""Maps prepared pictures (n, 3, 224, 224) to logits (n, 1000)."""

IMAGENET = Preparation(232, 224, Image.Resampling.BILINEAR, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What torchvision's IMAGENET1K_V2 weights were trained with."""
WEIGHTS = "resnet50-11ad3fa6.pth"  # torchvision's IMAGENET1K_V2


def imagenet_ranks(
    index: dict[str, int], *, weights: str = "", random: bool = False, device: str = "cpu", seed: int = 0
) -> Ranks:
    """Return a judge that ranks pictures among ImageNet's 1,000 classes; ``index`` maps labels to classes.

    ``weights`` is a folder in transformers' layout, or a file of ResNet-50 weights with torchvision's names; "" is the
    file in torch's cache. ``random`` makes an untrained ResNet-50, whose ranks mean nothing: it is for trying a bench.

    Raises: MissingExtra if torchvision or the weights are missing; EvaluationError if the weights cannot be used.
    """
    logits = _random(seed, device) if random else _trained(weights, device)

    def ranks(pictures: Sequence[Image.Image], labels: Sequence[str]) -> list[int]:
        with torch.no_grad():
            found = logits(prepare(pictures, IMAGENET).to(device)).float().cpu()
        own = found.gather(1, torch.tensor([index[label] for label in labels])[:, None])
        return (found > own).sum(1).tolist()

    return ranks


def _trained(weights: str, device: str) -> Logits:
    if weights and Path(weights).is_dir():
        from transformers import AutoModelForImageClassification

        check_weights(Path(weights), "the classifier")
        try:
            model = AutoModelForImageClassification.from_pretrained(
                weights, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise EvaluationError(
                f"the classifier in {weights} cannot be read: {error}. Give another folder, with weights as "
                "safetensors."
            ) from error
        return _from_transformers(model, device)
    models = need("torchvision.models", "imagenette", "give --classifier a folder with a transformers model")
    file = Path(weights) if weights else torch_cache(WEIGHTS)
    need_weights(file, "the ResNet-50 judge", "download.pytorch.org/models (or give others with --classifier)")
    network: nn.Module = models.resnet50(weights=None)
    try:
        network.load_state_dict(_read_weights(file))
    except Exception as error:  # a damaged file can make its reader raise anything
        raise EvaluationError(
            f"{file} holds no weights of torchvision's ResNet-50: {error}. Give another file with --classifier."
        ) from error
    return network.eval().requires_grad_(False).to(device)


def _read_weights(file: Path) -> dict[str, Tensor]:
    """Read tensors alone; code in the file is never run."""
    if file.suffix == ".safetensors":
        return read_tensors(file, read_header(file).shapes)
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _random(seed: int, device: str) -> Logits:
    from transformers import ResNetConfig, ResNetForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # The defaults of transformers are those of ResNet-50.
        return _from_transformers(ResNetForImageClassification(ResNetConfig(num_labels=1000)), device)


def _from_transformers(model: Any, device: str) -> Logits:
    if model.config.num_labels != 1000:
        raise EvaluationError(
            f"the classifier knows {model.config.num_labels} classes, but imagenette needs one that knows ImageNet's "
            "1,000 in their order. Give another with --classifier."
        )
    model = model.eval().requires_grad_(False).to(device)
    return lambda pixels: model(pixel_values=pixels).logits
