"""How the noise is had from what a model's U-Net predicts, and how what it predicts is measured.

Of z = sqrt(a) x0 + sqrt(1 - a) eps, with a = alpha_bar, the velocity is v = sqrt(a) eps - sqrt(1 - a) x0 (Salimans & Ho
2022, appendix D), so that

    eps = sqrt(a) v + sqrt(1 - a) z,    x0 = sqrt(a) z - sqrt(1 - a) v.
"""

from __future__ import annotations

from torch import Tensor

from erasure.families.family import PredictionType


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
