"""The LoRA file in kohya's layout, which AUTOMATIC1111, Forge, ComfyUI and diffusers read.

It is a safetensors file with three tensors per layer: ``lora_unet_<module path with _ for .>`` followed by
``.lora_down.weight`` (rank, in[, k, k]), ``.lora_up.weight`` (out, rank[, 1, 1]) and ``.alpha`` (a number: the scale is
alpha / rank, or 1 if alpha is missing). Of SDXL, the module path is the original one, see
:mod:`erasure.lora.layer_names`. Layers of a text encoder are called ``lora_te_text_model_<path>``, those of SDXL's two
``lora_te1_...`` and ``lora_te2_...``, with transformers' paths.

AUTOMATIC1111 1.10.1 (``extensions-builtin/Lora/networks.py``, tried on the miniatures of all families) takes each of
these layers on its own, but for the attention of OpenCLIP's text encoders (SD 2.x, SDXL's second), whose weights are
one matrix there: of a block that has not all four of ``q_proj``, ``k_proj``, ``v_proj`` and ``out_proj`` in the file,
it leaves out those that there are, and says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from erasure.errors import LoraFileError, OutputExists
from erasure.families.family import Family
from erasure.families.known import FAMILIES, supported
from erasure.lora.hashes import lora_hashes
from erasure.lora.kind import ALPHA, DOWN, PARTS, READS_TEXT, UP, tell_lora
from erasure.lora.layer_names import original_name
from erasure.lora.stored import StoredTensors, unreadable
from erasure.safetensors_file import DamagedFile, Header, read_header
from erasure.whole_file import whole_file

SHOWN = 5  # problems listed in one message


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as read from disk, not yet compared with any model.

    ``family``: that of the models it is for.
    ``state``: ``<module key>.lora_down.weight`` and ``.lora_up.weight``, as stored, on the CPU; see also
    :class:`erasure.lora.stored.StoredTensors`.
    ``alphas``: by module key; a missing one means alpha = rank. A module key is as :func:`module_key` makes it:
    ``lora_unet_conv_in``, also if the file has the family's other name for it; ``lora_te_...`` is of a text encoder.
    """

    path: Path
    family: Family
    state: Mapping[str, Tensor]
    alphas: dict[str, float]
    metadata: dict[str, str]
    dtype: torch.dtype

    @property
    def modules(self) -> tuple[str, ...]:
        """Module keys, in the order of the file."""
        return tuple(dict.fromkeys(key.partition(".")[0] for key in self.state))

    @property
    def told_family(self) -> bool:
        """Whether the file says for which family it is, or its names or the width of its text states; else a guess."""
        reads = (key for key in self.state if READS_TEXT.search(key))
        by_width = any(self.state[key].shape[-1] in self.family.marks.context for key in reads)
        return by_width or self.family.lora.layers == "original" or "ss_base_model_version" in self.metadata

    def weights(self, module: str) -> tuple[Tensor, Tensor, float]:
        """Return ``down``, ``up`` and the scale alpha / rank of one module."""
        down, up = self.state[f"{module}.{DOWN}"], self.state[f"{module}.{UP}"]
        rank = down.shape[0]
        return down, up, self.alphas.get(module, float(rank)) / rank


def module_key(path: str, family: Family) -> str:
    """Return the name that a module path has in a file: ``conv_in`` -> ``lora_unet_conv_in``.

    Paths of text encoders' layers begin with the name of the part: ``text_encoder.encoder.layers.0.mlp.fc1``.
    """
    for encoder in family.text_encoders:
        if path.startswith(encoder.part + "."):
            # Newer versions of transformers have left out the name in between.
            inside = path.removeprefix(encoder.part + ".").removeprefix("text_model.")
            return encoder.lora + inside.replace(".", "_")
    return _canonical(family.lora.prefix + path.replace(".", "_"), family)


def _canonical(key: str, family: Family) -> str:
    """Return a module key with the names of layers that the family's files have; either kind may be given."""
    prefix = family.lora.prefix
    if family.lora.layers == "diffusers" or not key.startswith(prefix):
        return key
    return prefix + original_name(key.removeprefix(prefix))


def write_lora(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    family: Family,
    alpha: float,
    metadata: Mapping[str, str],
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
) -> None:
    """Write an adapter's weights (as returned by ``lora_state``) with one alpha for all layers.

    Network size and hashes are added to the metadata. The file appears complete or not at all. Raises: OutputExists if
    it exists and ``overwrite`` is off; LoraFileError if ``dtype`` cannot hold a value, or writing fails.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists; choose another name, or ask to overwrite it")
    tensors = _file_tensors(state, family, alpha, dtype)
    metadata = {**metadata, **_network(state, alpha)}
    hashes = lora_hashes(tensors, metadata)
    # modelspec's hash is of the same bytes, written in another way.
    metadata = {**metadata, **hashes, "modelspec.hash_sha256": "0x" + hashes["sshs_model_hash"]}
    try:
        with whole_file(path) as temporary:
            temporary.touch()
            # Newer safetensors lets only the owner read the file, but a web UI may run as another user.
            mode = temporary.stat().st_mode
            save_file(tensors, str(temporary), metadata)
            temporary.chmod(mode & 0o777)
    except (OSError, SafetensorError) as error:
        raise LoraFileError(f"{path} could not be written: {error}; free disk space or choose another place") from error


def read_lora(path: Path, families: Sequence[Family] = FAMILIES, *, held: bool = True) -> LoraFile:
    """Read a LoRA file for a model of one of the families. Nothing in the file is run.

    ``held``: whether its weights are in memory from now on, or are read whenever they are asked for. Raises:
    LoraFileError if it is missing, truncated, damaged, incomplete or another kind of file; it says which.
    """
    path = Path(path)
    header = read_lora_header(path)
    family = tell_lora(header.shapes, header.metadata, families)
    if isinstance(family, str):
        wanted = f"a LoRA for {supported(families)} model in kohya's layout"
        raise LoraFileError(f"{path.name} is {family}; {wanted} is needed")
    return read_weights(path, header, family, held=held)


def read_lora_header(path: Path) -> Header:
    """Read shapes and metadata. Raises: LoraFileError if it is not a sound safetensors file."""
    try:
        if not path.is_file():
            raise LoraFileError(f"there is no file {path}; check the path")
        return read_header(path)
    except (DamagedFile, OSError) as error:
        raise unreadable(path, error) from error


def read_weights(path: Path, header: Header, family: Family, *, held: bool = True) -> LoraFile:
    """Read the weights of a file whose header says that it is a LoRA for the family.

    ``held``: see :func:`read_lora`. Raises: LoraFileError if it is incomplete or damaged.
    """
    names = _canonical_names(path, header.shapes, family)
    _check_parts(path, {names[name]: shape for name, shape in header.shapes.items()})
    suffix = "." + ALPHA
    scales = StoredTensors(path, {own: name for name, own in names.items() if own.endswith(suffix)})
    alphas = {own[: -len(suffix)]: float(tensor) for own, tensor in scales.held().items()}
    stored = StoredTensors(path, {own: name for name, own in names.items() if not own.endswith(suffix)})
    state = stored.held() if held else stored
    kinds: dict[str, str] = {}
    for name, own in names.items():
        if own in state:
            kinds.setdefault(header.dtypes[name], own)
    whole = next((own for own in kinds.values() if not state[own].is_floating_point()), None)
    if whole is not None:
        kind = str(state[whole].dtype).removeprefix("torch.")
        raise LoraFileError(f"{path.name} holds packed (quantised) weights ({kind}, such as {whole}); fp16 is needed")
    return LoraFile(path, family, state, alphas, dict(header.metadata), next(iter(state.values())).dtype)


def _canonical_names(path: Path, names: Iterable[str], family: Family) -> dict[str, str]:
    """Return what each tensor is called here. Raises: LoraFileError if a file has both names of one layer."""
    canonical: dict[str, str] = {}
    for name in names:
        key, dot, part = name.partition(".")
        canonical[name] = _canonical(key, family) + dot + part
    if len(set(canonical.values())) < len(canonical):
        both = next(name for name, own in canonical.items() if own != name and own in canonical)
        raise LoraFileError(f"{path.name} is not a sound LoRA file: {both} and {canonical[both]} are for one layer")
    return canonical


def _file_tensors(state: Mapping[str, Tensor], family: Family, alpha: float, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        path, part = next(((key[: -len(p) - 1], p) for p in (DOWN, UP) if key.endswith("." + p)), (key, ""))
        if not part:
            raise ValueError(f"{key} ends in neither {DOWN} nor {UP}")
        name = f"{module_key(path, family)}.{part}"
        if name in tensors:
            raise ValueError(f"two layers would be called {name} in the file")
        tensors[name] = value.detach().to("cpu", dtype).contiguous()
        if not bool(tensors[name].isfinite().all()):
            raise LoraFileError(
                f"{path} holds values that are not finite in {str(dtype).removeprefix('torch.')}; "
                "save in fp32, or train again with a lower learning_rate"
            )
        # In fp32 if the smaller format would round it: readers do not need alpha in the precision of the weights.
        exact = dtype if float(torch.tensor(alpha, dtype=dtype)) == alpha else torch.float32
        tensors[f"{module_key(path, family)}.{ALPHA}"] = torch.tensor(alpha, dtype=exact)
    if not tensors:
        raise LoraFileError("there are no LoRA weights to write; train at least one layer")
    return tensors


def _network(state: Mapping[str, Tensor], alpha: float) -> dict[str, str]:
    ranks = {tensor.shape[0] for key, tensor in state.items() if key.endswith(DOWN)}
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alpha),
    }


def _check_parts(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that every tensor is a known part of a module, and that ``down`` and ``up`` come in pairs."""
    modules: dict[str, set[str]] = {}
    for name in shapes:
        module, _, part = name.partition(".")
        modules.setdefault(module, set()).add(part)
    problems = []
    for module, parts in modules.items():
        problems += [f"{module}.{part} is not a known part of a LoRA" for part in sorted(parts - set(PARTS))]
        problems += [f"{module}.{part} is missing" for part in (DOWN, UP) if part not in parts]
        alpha = shapes.get(f"{module}.{ALPHA}", ())
        if any(size != 1 for size in alpha):
            problems.append(f"{module}.{ALPHA} has shape {alpha}, but should be one number")
        down, up = shapes.get(f"{module}.{DOWN}"), shapes.get(f"{module}.{UP}")
        if down is not None and up is not None:
            matrices = len(down) in (2, 4) and len(up) in (2, 4) and 0 not in (*down, *up)
            if not matrices or down[0] != up[1] or math.prod(up[2:]) != 1:
                problems.append(f"{module} has shapes {down} and {up}, which do not match")
    if problems:
        raise LoraFileError(f"{path.name} is not a complete LoRA file: {'; '.join(problems[:SHOWN])}")
