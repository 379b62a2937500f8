"""Fetch the emoji sets, rasterise them, and compose training pictures in the four styles.

``python -m emoji_sd.making.data --work DIR`` fetches four npm packages with ``npm pack`` and writes ``sources.npy``:
uint8 (styles, concepts, 256, 256, 4), RGBA with straight alpha.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from emoji_sd.concepts import CONCEPTS, STYLES

PACKAGES: dict[str, str] = {
    "3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "flat": "@iconify-json/twemoji@1.2.5",
    "pixel": "@iconify-json/noto@1.2.9",
    "blueprint": "@iconify-json/fluent-emoji-flat@1.2.6",
}
SOURCE_SIZE = 256
SIZE = 128
GRID = 32
SLATE = (58, 66, 84)
BLUE = np.array([16.0, 52.0, 140.0])
WHITE = np.array([255.0, 255.0, 255.0])


def fetch(work: Path) -> None:
    """Fetch the packages that are missing into ``work/packages/<style>/package``; needs ``npm``."""
    for style, package in PACKAGES.items():
        target = work / "packages" / style
        if (target / "package").is_dir():
            continue
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", package], cwd=target, check=True, capture_output=True)
        with tarfile.open(next(target.glob("*.tgz"))) as archive:
            archive.extractall(target, filter="data")


def _icon_svg(collection: dict[str, Any], slug: str) -> str:
    """Return the SVG of an icon from an Iconify collection (iconify.design/docs/types/iconify-json.html)."""
    icon = collection["icons"][slug]
    width = icon.get("width", collection.get("width", 16))
    height = icon.get("height", collection.get("height", 16))
    box = max(width, height)
    left, top = (width - box) / 2, (height - box) / 2
    size = f'width="{SOURCE_SIZE}" height="{SOURCE_SIZE}" viewBox="{left} {top} {box} {box}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{icon["body"]}</svg>'


def render_sources(work: Path) -> np.ndarray:
    """Rasterise every concept in every set: uint8 (styles, concepts, 256, 256, 4)."""
    import resvg_py

    sources = np.zeros((len(STYLES), len(CONCEPTS), SOURCE_SIZE, SOURCE_SIZE, 4), np.uint8)
    for number, style in enumerate(STYLES):
        package = work / "packages" / style / "package"
        icons = None if style == "3d" else json.loads((package / "icons.json").read_text(encoding="utf-8"))
        for index, concept in enumerate(CONCEPTS):
            if icons is None:
                icon: Image.Image = Image.open(package / "assets" / f"{concept.code_point}.webp")
            else:
                png = resvg_py.svg_to_bytes(svg_string=_icon_svg(icons, concept.slug))
                icon = Image.open(io.BytesIO(bytes(png)))
            picture = icon.convert("RGBA").resize((SOURCE_SIZE, SOURCE_SIZE), Image.Resampling.LANCZOS)
            sources[number, index] = np.asarray(picture)
    return sources


def _place(source: np.ndarray, size: int, rng: np.random.Generator) -> Image.Image:
    """Scale, turn, shift and perhaps mirror the source on a transparent ``size`` x ``size`` canvas."""
    picture = Image.fromarray(source, "RGBA")
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    extent = rng.uniform(0.78, 0.98) * size
    slack = (size - extent) / 2
    centre = size / 2 + rng.uniform(-slack, slack, 2)
    angle = np.deg2rad(rng.normal(0, 4))
    factor = SOURCE_SIZE / extent
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    half = SOURCE_SIZE / 2
    matrix = (
        cos,
        sin,
        half - cos * centre[0] - sin * centre[1],
        -sin,
        cos,
        half + sin * centre[0] - cos * centre[1],
    )
    # The affine map does not filter, so scaling down much would alias without this blur.
    if factor > 1.5:
        picture = picture.convert("RGBa").filter(ImageFilter.GaussianBlur(factor / 3.2)).convert("RGBA")
    return picture.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _on_colour(picture: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    canvas = Image.new("RGBA", picture.size, (*colour, 255))
    return Image.alpha_composite(canvas, picture).convert("RGB")


def _pastel(rng: np.random.Generator) -> tuple[int, ...]:
    hue = int(rng.integers(0, 256))
    pixel = Image.new("HSV", (1, 1), (hue, int(rng.integers(36, 64)), 250)).convert("RGB")
    return tuple(int(level) for level in np.asarray(pixel)[0, 0])


def _pixel(source: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Draw 32 x 32 cells in ten colours with a white outline one cell wide, on slate."""
    small = _place(source, GRID, rng)
    inside = Image.fromarray(np.where(np.asarray(small)[..., 3] > 80, 255, 0).astype(np.uint8))
    flat = _on_colour(small, (255, 255, 255)).quantize(10, Image.Quantize.MEDIANCUT).convert("RGB")
    canvas = Image.new("RGB", (GRID, GRID), SLATE)
    canvas.paste((255, 255, 255), (0, 0), inside.filter(ImageFilter.MaxFilter(3)))
    canvas.paste(flat, (0, 0), inside)
    return canvas.resize((SIZE, SIZE), Image.Resampling.NEAREST)


def _blueprint(source: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Draw the subject's luminance, stretched to its full range, in tints between blue and white, on deep blue."""
    rgba = np.asarray(_place(source, SIZE, rng)).astype(np.float64)
    alpha = rgba[..., 3:] / 255
    luminance = rgba[..., :3] @ np.array([0.299, 0.587, 0.114])
    inside = luminance[alpha[..., 0] > 0.5]
    low, high = np.percentile(inside, [2, 98]) if inside.size else (0.0, 255.0)
    tone = np.clip((luminance - low) / max(high - low, 40.0), 0, 1)
    tone = (0.42 + 0.58 * tone)[..., None] * alpha
    return Image.fromarray((BLUE + (WHITE - BLUE) * tone).round().astype(np.uint8), "RGB")


def compose(source: np.ndarray, style: str, rng: np.random.Generator) -> Image.Image:
    """Make one augmented 128 px RGB picture of ``source`` (256, 256, 4) in ``style``."""
    if style == "pixel":
        return _pixel(source, rng)
    if style == "blueprint":
        return _blueprint(source, rng)
    placed = _place(source, SIZE, rng)
    return _on_colour(placed, _pastel(rng) if style == "3d" else (255, 255, 255))


def compose_all(sources: np.ndarray, variants: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make ``variants`` pictures of each concept in each style.

    Returns uint8 pictures (N, 128, 128, 3), int64 concept indices (N,) and style indices (N,).
    """
    rng = np.random.default_rng(seed)
    count = variants * len(CONCEPTS) * len(STYLES)
    pictures = np.empty((count, SIZE, SIZE, 3), np.uint8)
    concepts, styles = np.empty(count, np.int64), np.empty(count, np.int64)
    row = 0
    for _ in range(variants):
        for number, style in enumerate(STYLES):
            for index in range(len(CONCEPTS)):
                pictures[row] = np.asarray(compose(sources[number, index], style, rng))
                concepts[row], styles[row] = index, number
                row += 1
    return pictures, concepts, styles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    fetch(work)
    np.save(work / "sources.npy", render_sources(work))


if __name__ == "__main__":
    main()
