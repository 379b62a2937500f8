"""Explains any LoRA file from its contents. Nothing in the file is trusted or run."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from erasure.config.concept_texts import read_lists
from erasure.config.settings import plain
from erasure.errors import LoraFileError
from erasure.families.family import Family
from erasure.families.known import FAMILIES
from erasure.lora.file import LoraFile, read_lora_header, read_weights
from erasure.lora.hashes import content_hash, lora_hashes
from erasure.lora.kind import tell_lora
from erasure.lora.low_rank import product_norm
from erasure.lora.metadata import ASKED_KEY, CONFIG_KEY, VERDICT_KEY, WEIGHTS_KEY, json_object
from erasure.lora.parts import Combination, stated_combination
from erasure.safetensors_file import Header, read_tensors

UNKNOWN = "unknown"
_LARGEST = 5
_IN_TEXTS = re.compile(r"(lora_te\d?_|text_encoder)")  # how names of their layers begin, of all layouts
_LONGEST = 300  # characters shown of a text in the file


@dataclass(frozen=True)
class LoraReport:
    """What is known of a LoRA file; ``str()`` of it is the explanation.

    ``layers``: how many it changes; ``text_layers``: how many of them are of text encoders. ``norms``: Frobenius norm
    of the change ``alpha / rank * up @ down`` by module key, largest first; empty for kinds of LoRA that cannot be
    read. ``config``: the settings that were used, None if another program made the file; ``asked``: those that were
    asked for, {} if the file does not say.
    """

    path: Path
    kind: str
    size: int
    layers: int
    text_layers: int
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    precision: str
    erases: tuple[str, ...]
    base: dict[str, str]
    trained: dict[str, str]
    hash_check: str
    other_hashes: dict[str, str]  # what became of other hashes that the file states, by their key
    norms: dict[str, float]
    config: dict[str, Any] | None
    asked: dict[str, Any]
    verdict: dict[str, Any] | None  # what its maker's run measured, unchecked
    combined: Combination | None  # of what it was made, if it was combined from others
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether no hash of its content that the file states is wrong."""
        return not any(found.startswith("WRONG") for found in (self.hash_check, *self.other_hashes.values()))

    def __str__(self) -> str:
        norms = [f"{name}: {norm:.4g}" for name, norm in list(self.norms.items())[:_LARGEST]]
        total = sum(norm**2 for norm in self.norms.values()) ** 0.5
        lines = [
            f"{_plain(self.path.name)}: {self.kind}, {self.size / 2**20:.2f} MiB",
            f"erases: {', '.join(map(repr, map(_plain, self.erases))) or _not_said()}",
            *self._parts(),
            *(f"base {what}: {_plain(value)}" for what, value in self.base.items()),
            *(f"{what}: {_plain(value)}" for what, value in self.trained.items()),
            f"layers: {self.layers}{self._in_texts()}, rank {_several(self.ranks)}, alpha {_several(self.alphas)}",
            f"precision: {self.precision}",
            f"content hash: {self.hash_check}",
            *(f"{key}: {found}" for key, found in self.other_hashes.items()),
            *(f"problem: {problem}" for problem in self.problems),
        ]
        if norms:
            lines += [
                f"size of the change (Frobenius norm): {total:.4g} in total; largest:",
                *(f"  {n}" for n in norms),
            ]
        if self.config is None:
            return "\n".join([*lines, "settings: unknown (the file was not made by Adversarial Erase)"])
        settings = [
            f"  {_plain(key)} = {_plain(json.dumps(value))}{self._asked(key)}" for key, value in self.config.items()
        ]
        return "\n".join([*lines, "settings:", *settings])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the file, its name; null for norms that are not finite."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        del values["path"]
        norms = {name: norm if isfinite(norm) else None for name, norm in self.norms.items()}
        combined = None if self.combined is None else self.combined.to_dict()
        return {"file": self.path.name, **values, "norms": norms, "combined": combined, "whole": self.whole}

    def _parts(self) -> list[str]:
        """Return the files that it was combined from, one a line."""
        if self.combined is None:
            return []
        how = f" ({self.combined.how})" if self.combined.how else ""
        return [f"combined from{how}:", *(f"  {_plain(part)}" for part in self.combined.parts)]

    def _in_texts(self) -> str:
        if not self.text_layers:
            return ""
        if self.text_layers == self.layers:
            return " (all in text encoders)"
        return f" ({self.text_layers} of them in text encoders)"

    def _asked(self, key: str) -> str:
        """Return what was asked for, in brackets, if it is not the value that was used."""
        if self.config is None or key not in self.asked or self.asked[key] == self.config[key]:
            return ""
        if plain(read_lists(self.asked).values)[key] == self.config[key]:
            return ""
        return f" (asked for: {_plain(json.dumps(self.asked[key]))})"


def explain_lora(path: Path, families: Sequence[Family] = FAMILIES) -> LoraReport:
    """Read and explain a file. Raises: LoraFileError if it is not a sound safetensors file, or not a LoRA."""
    path = Path(path)
    header = read_lora_header(path)
    metadata, told = header.metadata, tell_lora(header.shapes, header.metadata, families)
    if isinstance(told, str) and re.search(r"\bno LoRA\b", told):
        raise LoraFileError(f"{path.name} is {told}; give a LoRA file")
    file, problems = None, []
    if isinstance(told, Family):
        try:
            file = read_weights(path, header, told)
        except LoraFileError as error:
            problems.append(str(error))
    config = json_object(metadata, CONFIG_KEY)
    norms = {} if file is None else _norms(file)
    problems += [f"{name} holds values that are not finite" for name, norm in norms.items() if norm != norm]
    if file is not None and not any(norms.values()):
        problems.append("all weights are zero, so it changes nothing")
    erases = config.get("erase") if config else None
    combined = stated_combination(metadata)
    modules = {name.partition(".")[0] if name.startswith("lora_") else name for name in header.shapes}
    return LoraReport(
        path=path,
        kind=told if isinstance(told, str) else f"a LoRA for {told.name} in kohya's layout",
        size=path.stat().st_size,
        layers=len(modules),
        text_layers=sum(_IN_TEXTS.match(name) is not None for name in modules),
        ranks=_ranks(file),
        alphas=tuple(sorted(set(file.alphas.values()))) if file else (),
        precision=_precision(file),
        erases=tuple(map(str, erases)) if isinstance(erases, list) else (),
        base=_base(metadata),
        trained=_trained(metadata, told_all=combined is None or combined.refined),
        hash_check=_hash_check(path, metadata.get("sshs_model_hash")),
        other_hashes=_other_hashes(path, header, readable=file is not None),
        norms=norms,
        config=config,
        asked=json_object(metadata, ASKED_KEY) or {},
        verdict=json_object(metadata, VERDICT_KEY),
        combined=combined,
        problems=tuple(problems),
    )


def _ranks(file: LoraFile | None) -> tuple[int, ...]:
    return tuple(sorted({file.weights(module)[0].shape[0] for module in file.modules})) if file else ()


def _precision(file: LoraFile | None) -> str:
    if file is None:
        return UNKNOWN
    counts = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in file.state.values())
    return " and ".join(name for name, _ in counts.most_common())


def _base(metadata: Mapping[str, str]) -> dict[str, str]:
    keys = {
        "checkpoint": "ss_sd_model_name",
        "sha256": "ss_new_sd_model_hash",
        "short hash": "ss_sd_model_hash",
    }
    base = {what: metadata.get(key, UNKNOWN) for what, key in keys.items()}
    if WEIGHTS_KEY in metadata:  # of a checkpoint that has both
        kind = metadata[WEIGHTS_KEY]
        base["weights"] = {
            "plain": "the plain ones, not the averaged (EMA)",
            "averaged": "the averaged ones (EMA)",
        }.get(kind, kind)
    return base


def _trained(metadata: Mapping[str, str], *, told_all: bool) -> dict[str, str]:
    keys = {
        "updates": "ss_steps",
        "learning rate": "ss_learning_rate",
        "seed": "ss_seed",
        "made": "modelspec.date",
    }
    return {what: metadata.get(key, UNKNOWN) for what, key in keys.items() if told_all or key in metadata}


def _hash_check(path: Path, stated: str | None) -> str:
    if stated is None:
        return "the file does not state one, so it cannot be checked"
    found = content_hash(path)
    if found == stated.lower():
        return f"ok ({found[:12]})"
    return f"WRONG: the file says {_plain(stated)[:12]}, its content has {found[:12]}; the file was changed or damaged"


def _other_hashes(path: Path, header: Header, *, readable: bool) -> dict[str, str]:
    """Recompute what else the file states: the ModelSpec's hash, and the short one, which covers the metadata, too."""
    found: dict[str, str] = {}
    stated = header.metadata.get("modelspec.hash_sha256")
    if stated is not None:
        same = stated.lower().removeprefix("0x") == content_hash(path)
        found["modelspec.hash_sha256"] = "ok" if same else "WRONG: the file was changed or damaged"
    stated = header.metadata.get("sshs_legacy_hash")
    if stated is not None and readable:
        made = lora_hashes(read_tensors(path, header.shapes), header.metadata)["sshs_legacy_hash"]
        changed = "not the same: its metadata was edited since, or another version wrote the file"
        found["sshs_legacy_hash"] = "ok" if made == stated.lower() else changed
    return found


def _norms(file: LoraFile) -> dict[str, float]:
    norms = {module: _norm(*file.weights(module)) for module in file.modules}
    return dict(sorted(norms.items(), key=lambda item: -item[1] if item[1] == item[1] else float("-inf")))


def _norm(down: Tensor, up: Tensor, scale: float) -> float:
    """Return the Frobenius norm of ``scale * up @ down``."""
    return abs(scale) * product_norm(up.flatten(1), down.flatten(1))


def _several(values: tuple[Any, ...]) -> str:
    if not values:
        return UNKNOWN
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _not_said() -> str:
    return "unknown (the file does not say)"


def _plain(text: object) -> str:
    """Return a text from the file on one line, shortened, and without characters that could control a terminal."""
    plain = "".join(character if character.isprintable() else "?" for character in str(text))
    return plain if len(plain) <= _LONGEST else plain[:_LONGEST] + "..."
