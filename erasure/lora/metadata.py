"""The metadata of a LoRA file: kohya's ``ss_*``, Stability AI's ``modelspec.*`` and our own config.

It must not reveal paths on the user's disk: of every path only the last part is written.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from PIL import Image

from erasure import __version__, bounded_json
from erasure.families.family import Family, PredictionType

CONFIG_KEY = "adversarial_erase"  # every setting with the value that was used
ASKED_KEY = "adversarial_erase_asked"  # those that were asked for, as they were asked for
NAMES_KEY = "adversarial_erase_names"  # by erased concept, the other names that were erased with it
VERDICT_KEY = "adversarial_erase_verdict"  # what the judge found after training
WEIGHTS_KEY = "adversarial_erase_base_weights"  # of a base with plain and averaged weights, which it was trained on
COMBINED_KEY = "adversarial_erase_combined"  # the files that it was combined from, see erasure.lora.parts
COVER_SIDE = 512  # pixels
THUMBNAIL_SIDE = 256  # pixels, as the ModelSpec recommends
TAGS = ("lora", "stable-diffusion", "concept-erasure")
_PATH_SETTINGS = ("vocabulary_file",)


def json_object(metadata: Mapping[str, str], key: str) -> dict[str, Any] | None:
    """Return a JSON object that a file's metadata holds under ``key``; None if there is none. Its values may be any."""
    try:
        values = bounded_json.parse(metadata[key], finite=False)
    except (KeyError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def lora_metadata(
    *,
    name: str,
    family: Family,
    prediction: PredictionType = "epsilon",
    config: Mapping[str, object],
    asked: Mapping[str, object] | None = None,
    base_name: str,
    base_sha256: str | None,
    base_short_hash: str | None,
    base_weights: str = "",
    cover: Image.Image | None,
    steps: int,
    finished: datetime,
    resolution: int | None = None,
    planned_steps: int | None = None,
    started: datetime | None = None,
    verdict: Mapping[str, object] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    combined: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """Return the metadata of a finished LoRA, except what is added when it is written (network size and hashes).

    ``name``: the stem of the file; web UIs insert ``ss_output_name`` into prompts, so the two must be equal.
    ``prediction``: what the base predicts.
    ``config``: every setting as used, plain JSON types; ``asked``: those that were asked for.
    ``finished`` and ``started``: times with a time zone. ``planned_steps``: updates if the run is not stopped early.
    ``base_weights``: ``plain`` or ``averaged`` if the base has both kinds of weights for its U-Net, else "".
    ``verdict``: what the judge found, as plain JSON types (see :mod:`erasure.verdict.verdict`).
    ``names``: by erased concept, the other names that went with it, told or measured.
    ``combined``: what training started from, see :class:`erasure.lora.parts.Combination`, as plain JSON types.
    ``resolution``: pixels trained at; by default the config's, or the family's if the config leaves it open.
    """
    config = _without_places(config)
    name = _base_name(name)
    side = resolution or config.get("resolution") or family.full.pixels
    values = {
        **_kohya(name, config, steps, finished),
        **_versions(family, prediction),
        "ss_max_train_steps": planned_steps or steps,
        "ss_training_started_at": None if started is None else started.timestamp(),
        "ss_sd_model_name": _base_name(base_name),
        "ss_sd_model_hash": base_short_hash,
        "ss_new_sd_model_hash": base_sha256,
        "ss_resolution": f"({side}, {side})",
        **_modelspec(name, family, prediction, _concepts(config), finished),
        "modelspec.resolution": f"{side}x{side}",
        CONFIG_KEY: json.dumps(config),
        ASKED_KEY: None if asked is None else json.dumps(_without_places(asked)),
        WEIGHTS_KEY: base_weights or None,
        NAMES_KEY: None if names is None else json.dumps(names),
        VERDICT_KEY: None if verdict is None else json.dumps(verdict),
        COMBINED_KEY: None if combined is None else json.dumps(combined),
        "ssmd_cover_images": None if cover is None else json.dumps([_encoded(cover, COVER_SIDE)]),
        "modelspec.thumbnail": (None if cover is None else f"data:image/jpeg;base64,{_encoded(cover, THUMBNAIL_SIDE)}"),
    }
    return {key: str(value) for key, value in values.items() if value is not None}


def combined_metadata(
    *,
    name: str,
    family: Family,
    prediction: PredictionType = "epsilon",
    erases: Sequence[str],
    config: Mapping[str, object] | None,
    asked: Mapping[str, object] | None,
    names: Mapping[str, Sequence[str]],
    combined: Mapping[str, object],
    merged_from: str,
    base: Mapping[str, str],
    made: datetime,
    side: int,
) -> dict[str, str]:
    """Return the metadata of a LoRA that was combined from others, except what is added when it is written.

    ``config`` and ``asked``: the joint settings, None if the files do not say enough; ``names``: as for a finished
    LoRA, as far as the files say it. ``combined``: see :class:`erasure.lora.parts.Combination`, as plain JSON types.
    ``base``: what all the files say alike of their base. No verdict, and nothing of a training: nobody measured the new
    file, nor trained it. ``side``: pixels.
    """
    name = _base_name(name)
    values = {
        "ss_output_name": name,
        **_versions(family, prediction),
        "ss_training_comment": f"combined; erases {', '.join(erases)}" if erases else "combined",
        **{key: _base_name(text) if key == "ss_sd_model_name" else text for key, text in base.items()},
        **_modelspec(name, family, prediction, erases, made),
        "modelspec.description": f"Combined from {merged_from}; {_made_by(erases)}",
        "modelspec.merged_from": merged_from,
        "modelspec.resolution": f"{side}x{side}",
        CONFIG_KEY: None if config is None else json.dumps(_without_places(config)),
        ASKED_KEY: None if asked is None else json.dumps(_without_places(asked)),
        NAMES_KEY: json.dumps(names) if names else None,
        COMBINED_KEY: json.dumps(combined),
    }
    return {key: str(value) for key, value in values.items() if value is not None}


def _versions(family: Family, prediction: PredictionType) -> dict[str, object]:
    """Return what kohya's scripts say of the base's kind."""
    told = {"ss_base_model_version": family.lora.version_of(prediction), "ss_v2": family.lora.v2}
    return {**told, "ss_v_parameterization": "True"} if prediction == "v_prediction" else {**told}


def _kohya(name: str, config: Mapping[str, Any], steps: int, finished: datetime) -> dict[str, object]:
    concepts = ", ".join(_concepts(config))
    return {
        "ss_output_name": name,
        "ss_steps": steps,
        "ss_seed": config.get("seed"),
        "ss_learning_rate": config.get("learning_rate"),
        "ss_unet_lr": config.get("learning_rate"),
        # None of the settings says at which rate text encoders were trained: a start in them finds it by itself.
        "ss_text_encoder_lr": None if config.get("start") == "text-encoder" else "None",
        "ss_lr_scheduler": config.get("schedule"),
        "ss_lr_warmup_steps": config.get("warmup"),
        "ss_max_grad_norm": config.get("clip"),
        "ss_optimizer": "torch.optim.adam.Adam",
        "ss_mixed_precision": {"fp32": "no"}.get(str(config.get("precision")), config.get("precision")),
        "ss_gradient_checkpointing": config.get("gradient_checkpointing"),
        "ss_clip_skip": "None",
        "ss_training_finished_at": finished.timestamp(),
        "ss_training_comment": f"erases {concepts}",
    }


def _modelspec(
    name: str, family: Family, prediction: PredictionType, erases: Sequence[str], finished: datetime
) -> dict[str, object]:
    """Return the ModelSpec (github.com/Stability-AI/ModelSpec), in the version that kohya's scripts write.

    Forge reads the family from its architecture. Author and license are for whoever shares the file to give; the hash
    is added when it is written.
    """
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": family.lora.architecture_of(prediction),
        "modelspec.implementation": "diffusers",
        "modelspec.title": name,
        "modelspec.description": _made_by(erases, "E"),
        "modelspec.usage_hint": f"<lora:{name}:1>",
        "modelspec.trigger_phrase": "",  # it has none: it works without any word in the prompt
        "modelspec.tags": ", ".join(TAGS),
        "modelspec.date": finished.isoformat(timespec="seconds"),
        "modelspec.prediction_type": prediction,
    }


def _concepts(config: Mapping[str, Any]) -> Sequence[str]:
    erase: Sequence[str] = config.get("erase", ())
    return erase


def _made_by(erases: Sequence[str], first: str = "e") -> str:
    made = f"made by Adversarial Erase {__version__}."
    return f"{first}rases {', '.join(erases)}; {made}" if erases else made


def _without_places(settings: Mapping[str, object]) -> dict[str, object]:
    return {key: _base_name(value) if key in _PATH_SETTINGS else value for key, value in settings.items()}


def _base_name(value: object) -> str:
    """Return the last part of a path in the notation of any system, without a separator at the end."""
    return re.split(r"[/\\]", str(value).rstrip("/\\"))[-1]


def _encoded(cover: Image.Image, side: int) -> str:
    """Return a small JPEG in base64, made from the bare pixels so that it has none of the picture's metadata."""
    small = cover.convert("RGB")
    small.thumbnail((side, side))
    bare = Image.frombytes("RGB", small.size, small.tobytes())
    stream = io.BytesIO()
    bare.save(stream, format="JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode("ascii")
