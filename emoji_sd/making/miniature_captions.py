"""Encode all captions with the text encoders of a miniature, before its U-Net is trained.

``python -m emoji_sd.making.miniature_captions --work DIR --miniature sd2v`` reads what ``latents`` wrote and the text
encoder that ships. It writes ``captions-sd2v.npy``: the text states in the order of ``captions.json``; for SDXL's
layout ``pooled-sdxl.npy`` too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from transformers import CLIPTextModel, CLIPTokenizer

from emoji_sd.making.miniature import MINIATURES, Miniature, read_states


def encode(miniature: Miniature, work: Path) -> None:
    """Write the files. In SDXL's layout the empty caption is told as zeros, as SDXL's programs do."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    encoders = miniature.text_encoders(CLIPTextModel.from_pretrained(work / "text_encoder").eval())
    texts = list(json.loads((work / "captions.json").read_text()))
    states, pooled = [], []
    for start in range(0, len(texts), 256):
        part = texts[start : start + 256]
        tokens = tokenizer(part, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        read, projected = read_states(miniature, encoders, tokens["input_ids"])
        states.append(read.half().numpy())
        pooled.append(projected.half().numpy())
    if miniature.xl:
        assert texts[0] == ""
        states[0][0], pooled[0][0] = 0, 0
        np.save(miniature.pooled_file(work), np.concatenate(pooled))
    np.save(miniature.states_file(work), np.concatenate(states))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--miniature", choices=MINIATURES, required=True)
    a = parser.parse_args()
    encode(MINIATURES[a.miniature], a.work)


if __name__ == "__main__":
    main()
