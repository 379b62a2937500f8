"""Take the VAE, the text encoder and the classifier that ship, instead of training them anew.

``python -m emoji_sd.making.shipped --work DIR`` writes ``vae/``, ``text_encoder/``, ``tokenizer/`` and
``classifier.safetensors``, as the steps that train them would. With these, a U-Net of another width needs only data,
latents and its own training, and draws latents that the shipped VAE decodes.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from emoji_sd import FOLDER, MODEL
from emoji_sd.making.export import TOKENIZER_FILES
from erasure.model.loading import load_parts


def take_shipped(work: Path) -> None:
    """Write the shipped parts to ``work``, in fp32 of the fp16 weights that ship; replaces parts that are there."""
    parts = load_parts(MODEL)
    assert parts.vae is not None
    parts.vae.save_pretrained(work / "vae")
    parts.text_encoder.save_pretrained(work / "text_encoder")
    (work / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(FOLDER / "text_encoder" / name, work / "tokenizer" / name)
    shutil.copy(FOLDER / "classifier.safetensors", work / "classifier.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    take_shipped(parser.parse_args().work)


if __name__ == "__main__":
    main()
