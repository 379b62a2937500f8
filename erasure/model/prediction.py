"""What files say that a model's U-Net predicts: the noise (epsilon) or the velocity (v). Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from erasure.errors import UnsupportedCheckpoint, shown
from erasure.families.family import PredictionType
from erasure.model.weights_file import WeightsFile

# By LDM's words and diffusers'.
_KINDS: Mapping[str, PredictionType] = {
    **{"eps": "epsilon", "epsilon": "epsilon"},
    **{"v": "v_prediction", "v_prediction": "v_prediction"},
}
WORDS: Mapping[PredictionType, str] = {"epsilon": "the noise (epsilon)", "v_prediction": "the velocity (v)"}
_OTHERS = {"x0": "the picture (x0)", "sample": "the picture (x0)"}
_ADVICE = "Choose a checkpoint that predicts the noise (epsilon) or the velocity (v)."


def told_by_file(weights: WeightsFile) -> PredictionType | None:
    """Return what a single file says of itself, by a tensor called ``v_pred`` or by ModelSpec; None if nothing."""
    if "v_pred" in weights.shapes or "v_pred" in weights.others:
        return "v_prediction"
    return told_by_metadata(weights.metadata)


def told_by_metadata(metadata: Mapping[str, str]) -> PredictionType | None:
    """Return what a checkpoint's or a LoRA's ModelSpec says of the base; None if nothing."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    # kohya's scripts write "v", others "v_prediction" or "v-prediction".
    return "v_prediction" if said.startswith("v") else "epsilon" if said.startswith("eps") else None


def has_zero_snr(weights: WeightsFile) -> bool:
    """Return whether a single file says that its last noise level has no picture in it, by a tensor ``ztsnr``."""
    return "ztsnr" in weights.shapes or "ztsnr" in weights.others


def prediction_named(word: object, origin: str) -> PredictionType:
    """Return what a configuration calls ``word``. Raises: UnsupportedCheckpoint if it is neither noise nor velocity."""
    found = _KINDS.get(str(word))
    if found is None:
        what = _OTHERS.get(str(word), "something else")
        raise UnsupportedCheckpoint(
            f"{origin} says that its model predicts {what} (prediction type {shown(word)}). {_ADVICE}"
        )
    return found


def check_zero_snr(prediction: PredictionType | None, zero_snr: bool, origin: str) -> None:
    """Raises: UnsupportedCheckpoint for noise predicted where there is nothing but noise, which tells no picture."""
    if zero_snr and prediction == "epsilon":
        raise UnsupportedCheckpoint(
            f"{origin} says that its model predicts the noise, and that its last noise level has zero SNR: at that "
            "level no picture could be had from the noise (Lin et al. 2023). Correct it, or choose another checkpoint."
        )
