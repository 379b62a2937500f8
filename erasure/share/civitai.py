"""What Civitai asks for when a LoRA is published there, under the names of its API. Needs no torch."""

from __future__ import annotations

import html
from typing import Any

from erasure.share.about import About
from erasure.share.markdown import one_line
from erasure.share.model_card import TAGS
from erasure.share.order import ShareOrder
from erasure.verdict.verdict import hurt_line, lines

_AUTO_V2 = 10  # hex digits of the sha256


def civitai_values(about: About, order: ShareOrder, *, sha256: str, size: int) -> dict[str, Any]:
    """Return plain JSON types. ``sha256`` and ``size`` (bytes): of the LoRA file as it is shared.

    The description is HTML, as Civitai's is; all that comes from a file is escaped.
    """
    measured = (
        [] if about.verdict is None else [line for line in (*lines(about.verdict), hurt_line(about.verdict)) if line]
    )
    said = [f"Removes {', '.join(about.erases)} from {about.family.name}. It needs no trigger word."]
    said += ["Measured by its maker, on the base it was made from:", *measured] if measured else []
    said.append(f"Made from {about.base_name}." if about.base_name else "")
    return {
        "name": one_line(about.name),
        "type": "LORA",
        "baseModel": about.base.version if about.base else about.family.lora.civitai or about.family.short,
        "trainedWords": [],
        "weight": 1.0,
        "description": "".join(f"<p>{html.escape(one_line(line))}</p>" for line in said if line),
        "tags": list(TAGS),
        "nsfw": about.unsafe,
        "license": order.license,
        "creator": order.author or None,
        "files": [
            {
                "name": f"{about.name}.safetensors",
                "type": "Model",
                "sizeKB": size / 1024,
                "hashes": {"SHA256": sha256.upper(), "AutoV2": sha256[:_AUTO_V2].upper()},
            }
        ],
    }
