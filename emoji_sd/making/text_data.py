"""Texts for the text encoder: the CLIP tokenizer's files, common words, and MiniLM's sentence embeddings.

``python -m emoji_sd.making.text_data --work DIR --bpe FILE --minilm DIR`` writes ``tokenizer/`` and ``words.npz``
(``texts``: words, and the concepts' names and synonyms; ``vectors``: their embeddings, float32 (N, 384), unit length).
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path

import numpy as np
import torch

from emoji_sd.concepts import CONCEPTS, STYLES

_SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def _byte_symbols() -> list[str]:
    """Return the printable symbols by which CLIP's encoding writes the 256 bytes (github.com/openai/CLIP)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(rest))]


def write_tokenizer(bpe: Path, target: Path) -> dict[str, int]:
    """Convert ``bpe_simple_vocab_16e6.txt.gz`` to transformers' ``CLIPTokenizer`` files; return the vocabulary."""
    with gzip.open(bpe, "rt", encoding="utf-8") as lines:
        merges = lines.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    symbols = _byte_symbols()
    entries = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(m.split()) for m in merges)]
    vocabulary = {entry: number for number, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}
    target.mkdir(parents=True, exist_ok=True)
    (target / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    special = {**_SPECIAL, "pad_token": "<|endoftext|>"}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (target / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return vocabulary


def word_list(minilm: Path, vocabulary: dict[str, int], icons: Path) -> list[str]:
    """List the concepts and styles, the names of all emoji in a set, and frequent words of MiniLM and CLIP."""
    lines = (minilm / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = [line for line in lines if re.fullmatch("[a-z]{3,}", line)][:9000]
    clip = [entry[:-4] for entry in vocabulary if re.fullmatch("[a-z]{3,}</w>", entry)]
    slugs = json.loads(icons.read_text(encoding="utf-8"))["icons"]
    names = [slug.replace("-", " ") for slug in slugs if not re.search("skin-tone|[0-9]|flag-", slug)]
    things = [thing for concept in CONCEPTS for thing in (concept.name, *concept.synonyms)]
    styles = [f"{style} style" for style in STYLES]
    return list(dict.fromkeys([*things, *styles, *names, *words, *clip[:14000]]))


@torch.no_grad()
def embed(minilm: Path, texts: list[str]) -> np.ndarray:
    """Return all-MiniLM-L6-v2's sentence embeddings (mean pooling), unit length: float32 (len(texts), 384)."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    rows = []
    for start in range(0, len(texts), 256):
        batch = tokenizer(texts[start : start + 256], padding=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        states = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        rows.append(torch.nn.functional.normalize(states, dim=-1).numpy())
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bpe", type=Path, required=True, help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    a = parser.parse_args()
    vocabulary = write_tokenizer(a.bpe, a.work / "tokenizer")
    icons = a.work / "packages" / "pixel" / "package" / "icons.json"
    texts = word_list(a.minilm, vocabulary, icons)
    np.savez(a.work / "words.npz", texts=np.array(texts), vectors=embed(a.minilm, texts))


if __name__ == "__main__":
    main()
