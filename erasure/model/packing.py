"""Names the kinds of packed (quantised) weights, from which no gradient can be taken.

The marks are those of published files: bitsandbytes, GPTQ and AWQ, ComfyUI's scaled 8-bit floats, optimum-quanto,
torch's own quantisation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from erasure.model.weights_file import FLOATS, WeightsFile

# (pattern for tensor names, how the weights are packed); the first pattern found decides.
_MARKS = (
    (r"\.quant_state\.bitsandbytes__(fp4|nf4)$", r"4 bits each, \1 of bitsandbytes"),
    (r"\.(absmax|nested_absmax|quant_map|nested_quant_map)$", "4 bits each, of bitsandbytes"),
    (r"\.(SCB|weight_format)$", "8-bit integers, of bitsandbytes"),
    (r"\.(qweight|qzeros|g_idx)$", "few bits each, of GPTQ or AWQ"),
    (r"(^|\.)scaled_fp8$|\.(scale_weight|weight_scale|weight_scale_2|comfy_quant)$", "8-bit floats with scales"),
    (r"\.weight\.(_data|_scale|_shift)$|\.(_data|_packed_params|zero_point)$", "few bits each, of quanto or torch"),
)
_TYPES = {"I8": "8-bit integers", "U8": "bytes", "QI8": "8-bit integers, of torch", "QU8": "8-bit integers, of torch"}


def packed(weights: WeightsFile, names: Iterable[str]) -> str:
    """Return how the named tensors are packed, with an example; "" if their weights are plain floating-point numbers.

    A counter among them, or the positions that text encoders store, is no packed weight.
    """
    every = list(names)
    for pattern, how in _MARKS:
        for name in every:
            match = re.search(pattern, name)
            if match:
                return f"{match.expand(how)}, such as {name}"
    for name in every:
        dtype, numbers = weights.dtypes[name], name.endswith((".weight", ".bias"))
        if dtype not in FLOATS and (numbers or dtype in _TYPES):
            return f"{_TYPES.get(dtype, dtype)}, such as {name}"
    return ""
