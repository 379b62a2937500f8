"""Loads the tokenizer that lies beside a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer, CLIPTokenizerFast

from erasure.errors import BrokenCheckpoint
from erasure.families.family import Family
from erasure.model.build_parts import TextModel
from erasure.regular_file import regular_size

_SUFFIXES = (".json", ".txt", ".jinja")
_MOST_BYTES = 8_000_000  # of one file; CLIP's largest have 2 to 4 MB


def load_tokenizer(folder: Path, text_encoder: TextModel, family: Family, padding: str = "") -> CLIPTokenizer:
    """Load the tokenizer, as the fast class: tokens of the slow one depend on whether ftfy is installed.

    ``padding``: the token that pads prompts, "" for the tokenizer's own. Raises: BrokenCheckpoint if it cannot be used
    with the text encoder.
    """
    known = text_encoder.config.vocab_size
    try:
        _check_files(folder)
        tokenizer, own = _with_padding(folder)
        tokens = max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1)
        longest = min(family.tokens, text_encoder.config.max_position_embeddings)
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
        tokenizer.pad_token = padding or own or tokenizer.eos_token
        # A prompt as it will be read: with a start and an end, and padded.
        sample = tokenizer("a picture", padding="max_length", truncation=True).input_ids
    except BaseException as error:
        # Of two libraries, one of them in Rust, whose panics are no exceptions of the usual kind.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BrokenCheckpoint(
            f"The tokenizer in {folder} cannot be used ({type(error).__name__}: {error}). Download it again."
        ) from error
    if tokens > known:
        raise BrokenCheckpoint(
            f"The tokenizer in {folder} has {tokens} tokens, but the text encoder knows only {known}. "
            "Replace it with the tokenizer that belongs to the checkpoint."
        )
    if len(sample) != longest or None in sample or len(set(sample)) < 3:
        raise BrokenCheckpoint(
            f"The tokenizer in {folder} does not read words. "
            "Replace it with the tokenizer that belongs to the checkpoint."
        )
    return tokenizer


def _with_padding(folder: Path) -> tuple[Any, str | None]:
    """Return the tokenizer, and the token that it says prompts are padded with.

    SD 2's folders pad with "!", which the library would then take for no word where a prompt has it: neither OpenCLIP's
    own tokenizer nor web UIs do.
    """
    tokenizer: Any = CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    padding: str | None = tokenizer.pad_token
    if padding not in (None, tokenizer.eos_token):
        end = str(tokenizer.eos_token)
        tokenizer = CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True, pad_token=end)
    return tokenizer, padding


def _check_files(folder: Path) -> None:
    """Look at what the library would read. Raises: OSError if one is not a file, ValueError if one is too large."""
    for path in sorted(folder.iterdir()):
        if path.suffix in _SUFFIXES and not path.is_dir() and regular_size(path) > _MOST_BYTES:
            raise ValueError(f"{path.name} is larger than {_MOST_BYTES:,} bytes")
