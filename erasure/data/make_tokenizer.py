"""Write the CLIP tokenizer's files from OpenAI's published merge list.

Usage: ``python erasure/data/make_tokenizer.py bpe_simple_vocab_16e6.txt.gz``. The list is part
of CLIP (MIT) and of the ``open-clip-torch`` wheel (``open_clip/bpe_simple_vocab_16e6.txt.gz``). The
vocabulary is built the way CLIP's ``SimpleTokenizer`` builds it: 256 byte symbols, the same with the
end-of-word mark, one token per merge, two specials.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49152 - 256 - 2  # CLIP uses this many of the listed merges


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes, in CLIP's order (printable bytes first)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def write_tokenizer(merge_list: Path, folder: Path) -> None:
    """Write ``vocab.json`` (49,408 tokens), ``merges.txt`` and the two configs of SD 1.x into ``folder``."""
    with gzip.open(merge_list, "rt", encoding="utf-8") as lines:
        merges = lines.read().split("\n")[1 : MERGES + 1]
    symbols = byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *("".join(m.split()) for m in merges), START, END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {
        **special,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    _write(folder / "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    _write(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    _write(folder / "special_tokens_map.json", json.dumps(special, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)


if __name__ == "__main__":
    write_tokenizer(Path(sys.argv[1]), Path(__file__).parent / "clip-vit-large-patch14")
