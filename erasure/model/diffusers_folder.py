"""Reads a checkpoint in the diffusers layout: ``model_index.json`` and one folder per part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure import bounded_json
from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint, shown
from erasure.families.family import Family, PredictionType, TextEncoder
from erasure.families.known import choose, relatives_besides
from erasure.model.kinds import CONTINUOUS, GUIDED, UNDISTILLED
from erasure.model.packing import packed
from erasure.model.part_config import LONGEST_SIDE, check_part
from erasure.model.prediction import check_zero_snr, prediction_named
from erasure.model.weights_file import WeightsFile, open_weights

INDEX = "model_index.json"
_MOST_PIECES = 1000  # files that hold the weights of one part
TOKENIZER_FILES = ("vocab.json", "merges.txt")
_TEXT = "model"
# Part -> stem of its weights files; those of text encoders have another.
PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
# (word in a pipeline's class name, what the model is); the first word found decides.
_PIPELINE_WORDS = (
    ("Inpaint", "an inpainting model"),
    ("InstructPix2Pix", "an InstructPix2Pix model"),
    ("ControlNet", "a ControlNet pipeline"),
    ("StableDiffusionXL", "a Stable Diffusion XL model"),
    ("StableDiffusion3", "a Stable Diffusion 3 model"),
    ("Flux", "a Flux model"),
    ("Upscale", "an upscaler"),
    ("Depth2Img", "a Stable Diffusion 2 depth model"),
    ("LatentConsistency", "a latent consistency model"),
)


@dataclass(frozen=True)
class DiffusersFolder:
    """A folder that was read: ``configs`` of the parts and the scheduler, ``weights`` of the parts.

    The parts are ``unet``, ``vae`` and the sub-folders of the family's text encoders.

    There may be no ``vae``. The U-Net in ``weights`` is the one that diffusers loads; beside it there may be
    ``averaged_unet``, as trainers leave it in ``unet_ema``, or ``plain_unet`` (files called ``.non_ema``).
    """

    path: Path
    family: Family
    configs: Mapping[str, dict[str, Any]]
    weights: Mapping[str, tuple[WeightsFile, ...]]
    averaged_unet: tuple[WeightsFile, ...] = ()
    plain_unet: tuple[WeightsFile, ...] = ()

    @property
    def prediction_type(self) -> PredictionType:
        """What the U-Net predicts, as the scheduler's configuration says. Raises: UnsupportedCheckpoint."""
        origin = str(self.path / "scheduler" / "scheduler_config.json")
        return prediction_named(self.configs["scheduler"].get("prediction_type", "epsilon"), origin)

    @property
    def zero_snr(self) -> bool:
        """Whether the last of the noise levels has no picture in it."""
        return bool(self.configs["scheduler"].get("rescale_betas_zero_snr"))

    @property
    def latent_side(self) -> int:
        """Height and width of the latents."""
        full = self.family.full
        return int(self.configs["unet"].get("sample_size") or full.pixels // self.family.pixels_per_latent)

    @property
    def pixels_per_latent(self) -> int:
        """Pixels per latent along one side, from the number of levels of the VAE."""
        levels = self.configs.get("vae", {}).get("block_out_channels")
        return self.family.pixels_per_latent if levels is None else int(2 ** (len(levels) - 1))

    def tokenizer(self, encoder: TextEncoder) -> Path:
        """Return the folder of a text encoder's tokenizer, or of the family's if it has none."""
        folder = part_folder(self.path, encoder.tokenizer)
        there = all((folder / name).exists() for name in TOKENIZER_FILES)
        return folder if there else encoder.tokenizer_folder


def read_folder(folder: Path, families: Sequence[Family]) -> DiffusersFolder:
    """Read the configurations and the headers of the weights.

    Raises: BrokenCheckpoint if it is damaged or incomplete; UnsupportedCheckpoint if it is not a text-to-image model
    of one of the families.
    """
    index = folder / INDEX
    if not index.is_file():
        raise BrokenCheckpoint(
            f"{folder} has no {INDEX}, so it is not a diffusers folder. "
            f"Give the folder that contains {INDEX}, or a .safetensors or .ckpt file."
        )
    pipeline = str(read_json(index).get("_class_name", ""))[:100]
    candidates = [family for family in families if pipeline in family.pipelines]
    if not candidates:
        what = next((what for word, what in _PIPELINE_WORDS if word in pipeline), "another kind of model")
        raise UnsupportedCheckpoint(f"{folder} is {what} (pipeline class {pipeline or 'missing'}). {choose(families)}")
    unet_files = weight_files(folder, "unet")
    unet = read_config(part_folder(folder, "unet") / "config.json")
    family = _told_by_unet(folder, unet, candidates, families)
    # Without a VAE a model can be trained; half a one is a download that was cut off.
    others = ["vae"] if part_folder(folder, "vae").is_dir() else []
    others += [encoder.part for encoder in family.text_encoders]
    files = {"unet": unet_files} | {part: weight_files(folder, part) for part in others}
    configs = {"unet": unet} | {part: read_config(part_folder(folder, part) / "config.json") for part in others}
    configs["scheduler"] = read_config(folder / "scheduler" / "scheduler_config.json")
    _check_parts(folder, configs, family, families)
    _check_steps(folder, configs["scheduler"], family, families)
    weights = {part: tuple(open_weights(file) for file in found) for part, found in files.items()}
    averaged, plain = (tuple(open_weights(file) for file in found) for found in _other_unets(folder))
    read = DiffusersFolder(folder, family, configs, weights, averaged, plain)
    check_zero_snr(read.prediction_type, read.zero_snr, str(folder))
    _check_types(read, families)
    try:
        sound = read.latent_side > 0 and read.latent_side * read.pixels_per_latent <= LONGEST_SIDE
    except (TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise BrokenCheckpoint(
            f"{folder}: sample_size in unet/config.json and block_out_channels in vae/config.json do not give a "
            "picture size. Download it again."
        )
    return read


def _told_by_unet(
    folder: Path, unet: Mapping[str, Any], candidates: Sequence[Family], families: Sequence[Family]
) -> Family:
    """Return the family, from the width of the text states that the U-Net reads and from its other inputs."""
    context, embedding = unet.get("cross_attention_dim"), unet.get("addition_embed_type")
    for other in relatives_besides(candidates, families):
        if context in other.marks.context or embedding in other.marks.embeddings:
            what = f"a {other.name} model (context width {context})"
            raise UnsupportedCheckpoint(f"{folder} is {what}. {choose(families)}")
    told = [family for family in candidates if context in family.marks.context]
    for each in candidates:  # of other widths: a model of any size has the settings of its family
        told += [each] if any(unet.get(key) == value for key, value in each.marks.unet_settings) else []
    family = next(iter([*told, *candidates]))
    if embedding is not None and embedding not in family.marks.embeddings:
        raise UnsupportedCheckpoint(
            f"{folder} is a model whose U-Net takes more than text ({embedding}). {choose(families)}"
        )
    if embedding is None and family.marks.embeddings:
        raise BrokenCheckpoint(
            f"{folder}: the U-Net takes text alone, but that of {family.name} takes more. Download it again."
        )
    if unet.get("time_cond_proj_dim"):
        raise UnsupportedCheckpoint(f"{folder} is {GUIDED}. {UNDISTILLED}")
    for more in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
        if unet.get(more) is not None:
            raise UnsupportedCheckpoint(
                f"{folder} is a model whose U-Net takes more than text ({more}). {choose(families)}"
            )
    return family


def _check_parts(
    folder: Path, configs: Mapping[str, dict[str, Any]], family: Family, families: Sequence[Family]
) -> None:
    unet, texts = configs["unet"], [configs[encoder.part] for encoder in family.text_encoders]
    widths = [text.get("text_config", text).get("hidden_size") for text in texts]
    usual = family.latent_channels
    channels, context = unet.get("in_channels", usual), unet.get("cross_attention_dim")
    if channels != usual:
        known = {
            str(2 * usual + 1): "an inpainting model",
            str(usual + 1): "a depth-to-image model",
            str(2 * usual): "an InstructPix2Pix model",
        }
        raise UnsupportedCheckpoint(
            f"{folder} is {known.get(str(channels), 'not text-to-image')} "
            f"({shown(channels)} input channels; text-to-image has {usual}). {choose(families)}"
        )
    if None not in widths and context != sum(widths):
        have = "text encoder has" if len(widths) == 1 else "text encoders have"
        raise BrokenCheckpoint(
            f"{folder}: the U-Net expects text of width {context}, the {have} "
            f"{' and '.join(map(str, widths))}. The folder mixes two models. Download it again."
        )


def _check_types(read: DiffusersFolder, families: Sequence[Family]) -> None:
    """Refuse weights that are no plain floating-point numbers."""
    for part, config in read.configs.items():
        if config.get("quantization_config"):
            raise UnsupportedCheckpoint(f"{read.path} has a quantised {part}. {choose(families)}")
    for file in (*(file for files in read.weights.values() for file in files), *read.averaged_unet, *read.plain_unet):
        how = packed(file, file.shapes)
        if how:
            raise UnsupportedCheckpoint(
                f"{file.path} is a quantised model ({how}). Choose the fp16 or fp32 version of it."
            )


def _check_steps(folder: Path, scheduler: Mapping[str, Any], family: Family, families: Sequence[Family]) -> None:
    steps = family.schedule.steps
    if scheduler.get("sigma_data"):
        raise UnsupportedCheckpoint(f"{folder} is {CONTINUOUS}. {choose(families)}")
    if scheduler.get("num_train_timesteps", steps) != steps:
        raise UnsupportedCheckpoint(
            f"{folder} was not trained with {family.short}'s {steps} noise levels. {choose(families)}"
        )


def part_folder(folder: Path, part: str) -> Path:
    """Return the folder of a part: as diffusers, not that of averaged weights, unless there is no other."""
    plain, ema = folder / part, folder / f"{part}_ema"
    return ema if not plain.is_dir() and (ema / "config.json").is_file() else plain


def _other_unets(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of averaged and of plain weights of the U-Net besides those that diffusers loads."""
    place, ema, stem = part_folder(folder, "unet"), folder / "unet_ema", PARTS["unet"]
    apart = weights_in(place, stem, (".non_ema",))
    if apart:
        main = weights_in(place, stem)
        return (main, apart) if main else ([], [])
    return ([] if place == ema else weights_in(ema, stem)), []


def weight_files(folder: Path, part: str) -> list[Path]:
    """Return the files with a part's weights: full precision before fp16, safetensors before pickle.

    Raises: BrokenCheckpoint if there are none.
    """
    place, stem = part_folder(folder, part), PARTS.get(part, _TEXT)
    found = weights_in(place, stem, ("", ".fp16", ".non_ema"))
    if found:
        return found
    raise BrokenCheckpoint(
        f"{folder} lacks the weights of its {part}, such as {place.name}/{stem}.safetensors. Download it again."
    )


def weights_in(place: Path, stem: str, variants: Sequence[str] = ("", ".fp16")) -> list[Path]:
    """Return the files with weights in the folder of a part; none if there are none.

    ``stem``: of their names; the first of the ``variants`` is taken, safetensors before pickle.
    """
    pickled = "pytorch_model" if stem == "model" else stem
    for variant in variants:
        for name in (f"{stem}{variant}.safetensors", f"{pickled}{variant}.bin"):
            if (place / name).is_file():
                return [place / name]
            # A large part may be split into files that an index lists.
            suffix = Path(name).suffix
            listing = place / f"{name.removesuffix(suffix)}{suffix}.index{variant}.json"
            if listing.is_file():
                return _pieces(listing)
    return []


def _pieces(listing: Path) -> list[Path]:
    places = read_json(listing).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise BrokenCheckpoint(f"{listing} does not say which files the weights are in. Download it again.")
    names = sorted({str(name) for name in places.values()})
    if len(names) > _MOST_PIECES:
        raise BrokenCheckpoint(f"{listing} lists {len(names):,} files, more than {_MOST_PIECES}. Download it again.")
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise BrokenCheckpoint(f"{listing} points outside its folder ({name}). Do not use this model.")
        if not (listing.parent / name).is_file():
            raise BrokenCheckpoint(f"{listing.parent} lacks {name}. Download it again.")
    return [listing.parent / name for name in names]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file. Raises: BrokenCheckpoint if it is missing or not one."""
    try:
        document = bounded_json.read(path)
    except FileNotFoundError as error:
        raise BrokenCheckpoint(f"{path} is missing. Download the model again.") from error
    except (OSError, ValueError) as error:
        raise BrokenCheckpoint(f"{path} cannot be read ({error}). Download the model again.") from error
    if not isinstance(document, dict):
        raise BrokenCheckpoint(f"{path} is not a configuration. Download the model again.")
    return document


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a part, like :func:`read_json`, and check its numbers: it decides what is built."""
    document = read_json(path)
    try:
        check_part(document)
    except ValueError as error:
        raise BrokenCheckpoint(f"{path} cannot be used: {error}. Download the model again.") from error
    return document
