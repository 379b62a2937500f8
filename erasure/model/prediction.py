"""What a model's U-Net predicts, the noise (epsilon) or the velocity (v), and how the noise is had from either.

Of z = sqrt(a) x0 + sqrt(1 - a) eps, with a = alpha_bar, the velocity is v = sqrt(a) eps - sqrt(1 - a) x0 (Salimans & Ho
2022, appendix D), so that

    eps = sqrt(a) v + sqrt(1 - a) z,    x0 = sqrt(a) z - sqrt(1 - a) v.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

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
    said = weights.metadata.get("modelspec.prediction_type", "").lower()
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


def noise_in(output: Tensor, z: Tensor, alpha_bar: Tensor, prediction: PredictionType) -> Tensor:
    """Return the noise (b, c, h, w), fp32, of what the U-Net returned for z (b, c, h, w); alpha_bar: (b,)."""
    output = output.float()
    if prediction == "epsilon":
        return output
    a = alpha_bar.to(output).view(-1, 1, 1, 1)
    return a.sqrt() * output + (1 - a).sqrt() * z.float()


def measured_prediction(output: Tensor, z: Tensor) -> PredictionType:
    """Return what a U-Net predicts, from its output for pure noise z at the last, noisiest timestep (same shapes).

    There z is almost only noise: the output's slope on z, <output, z> / <z, z>, is near sqrt(1 - alpha_bar) for the
    noise and near sqrt(alpha_bar) for the velocity, with the usual schedule 0.998 and 0.068. Not finite: the noise.
    """
    output, z = output.float(), z.float()
    slope = float((output * z).sum() / (z * z).sum())
    return "v_prediction" if slope < 0.5 else "epsilon"
