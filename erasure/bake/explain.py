"""What is baked into a checkpoint, as it says itself, and whether its weights are those that were written then.

Anyone can edit the metadata: what it says is bounded, and is only ever text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erasure.bake.label import BAKED_KEY, baked_before
from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.family import Family
from erasure.families.known import FAMILIES
from erasure.lora.hashes import content_hash
from erasure.lora.kind import tell_lora
from erasure.lora.parts import Part, stated_parts
from erasure.model.checkpoint import inspect_checkpoint, sha256
from erasure.model.diffusers_folder import INDEX
from erasure.model.kinds import tell_family
from erasure.model.weights_file import PICKLES, open_weights
from erasure.safetensors_file import DamagedFile, Header, read_header
from erasure.verdict.base_check import BaseCheck

_HASH_KEY = "modelspec.hash_sha256"
_MOST_BAKES, _LONGEST = 50, 200  # that are shown, and characters of a text
_UNET = re.compile(r"(^|\.)diffusion_model\.")
_TEXT = "text_encoder"  # how the folders of text encoders begin
NOTHING = "nothing is known to be baked into it"


@dataclass(frozen=True)
class BakedIn:
    """One bake, as a file states it: into which base, with the sha256 of that, when, and which LoRAs."""

    base: str
    base_sha256: str
    made: str
    loras: tuple[Part, ...]

    @property
    def line(self) -> str:
        """All of it in a sentence."""
        loras = ", ".join(map(str, self.loras)) or "LoRAs that it does not name"
        return f"{loras}, into {self.base or 'a base that it does not name'}{f' on {self.made}' if self.made else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        loras = [{**asdict(part), "erases": list(part.erases)} for part in self.loras]
        return {**asdict(self), "loras": loras}


@dataclass(frozen=True)
class CheckpointReport:
    """What is known of a checkpoint. ``size``: bytes of the file, or of the folder's files that say what is baked in.

    ``baked``: the latest last. ``hashes``: whether the weights are those that were written when it was baked, by file.
    """

    path: Path
    kind: str
    size: int
    baked: tuple[BakedIn, ...]
    hashes: dict[str, str]
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether no hash of its weights that it states is wrong."""
        return not any(found.startswith("WRONG") for found in self.hashes.values())

    @property
    def erases(self) -> tuple[str, ...]:
        """The concepts that LoRAs in it erase; one with a negative weight brings them out."""
        return self._concepts(lambda weight: weight > 0)

    @property
    def brings_out(self) -> tuple[str, ...]:
        return self._concepts(lambda weight: weight < 0)

    def _concepts(self, wanted: Any) -> tuple[str, ...]:
        parts = [part for each in self.baked for part in each.loras if wanted(part.weight)]
        return tuple(dict.fromkeys(concept for part in parts for concept in part.erases))

    @property
    def lines(self) -> list[str]:
        """All of it in words; whoever prints them takes care of what a stranger wrote."""
        lines = [f"{self.path.name}: {self.kind}, {self.size / 2**20:.2f} MiB"]
        if not self.baked:
            lines.append(f"baked in: {NOTHING}, since {self._silence()}")
        for each in self.baked:
            base = f", sha256 {each.base_sha256}" if each.base_sha256 else ""
            lines.append(f"baked in{f' on {each.made}' if each.made else ''}, into {each.base}{base}:")
            lines += [f"  {part}, sha256 {part.sha256 or 'not stated'}" for part in each.loras]
        if self.baked:
            lines.append(f"erases: {', '.join(map(repr, self.erases)) or 'unknown (no LoRA in it says it)'}")
        if self.brings_out:
            lines.append(f"brings out: {', '.join(map(repr, self.brings_out))} (a weight below 0)")
        lines += [f"content hash{f' of {name}' if name else ''}: {found}" for name, found in self.hashes.items()]
        if self.baked:
            lines.append("all of this is what it says of itself; the hash covers its weights, not what it says")
        return [*lines, *(f"problem: {problem}" for problem in self.problems)]

    def _silence(self) -> str:
        if self.path.suffix.lower() in PICKLES:
            return f"a {self.path.suffix.lower()} file has no metadata that could say it"
        return "its metadata does not say so"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the file, its name."""
        return {
            "file": self.path.name,
            "kind": self.kind,
            "size": self.size,
            "baked": [each.to_dict() for each in self.baked],
            "erases": list(self.erases),
            "brings_out": list(self.brings_out),
            "hashes": dict(self.hashes),
            "whole": self.whole,
            "problems": list(self.problems),
        }


def is_checkpoint(path: Path) -> bool:
    """Return whether a path leads to a checkpoint, by its name and header alone; False for what cannot be read."""
    if path.is_dir() or path.suffix.lower() in PICKLES:
        return True
    try:
        header = read_header(path)
    except (DamagedFile, OSError):
        return False
    told = tell_lora(header.shapes, header.metadata)
    of_a_model = BAKED_KEY in header.metadata or any(map(_UNET.search, header.shapes))
    return isinstance(told, str) and "no LoRA" in told and of_a_model


def baked_into(path: Path) -> tuple[BakedIn, ...]:
    """Return what a checkpoint says was baked into it, the latest last; headers alone are read.

    () if it says nothing, or nothing that makes sense. Raises: BrokenCheckpoint.
    """
    said = [_stated(header.metadata) for _, header in _headers(path)]
    return next((baked for baked in said if baked), ())


def explain_checkpoint(path: Path) -> CheckpointReport:
    """Read what a file or a diffusers folder says was baked into it; if it does, all of its weights are read, too.

    Raises: CheckpointError if it cannot be read or is no checkpoint of any kind.
    """
    path = Path(path)
    kind = _kind(path)
    files = _headers(path)
    said = {inside: _stated(header.metadata) for inside, header in files}
    baked = next((each for each in said.values() if each), ())
    problems = []
    if baked:
        silent = [inside for inside, each in said.items() if each != baked and not _of_text(inside, path)]
        problems = [f"{inside} does not say the same as the other files of the U-Net" for inside in silent]
        # A text encoder's file says only what has changed it.
        problems += [
            f"{inside} says that more is baked into it than the files of the U-Net do"
            for inside, each in said.items()
            if _of_text(inside, path) and not set(each) <= set(baked)
        ]
        if any(BAKED_KEY in header.metadata and not _loras_named(header.metadata) for _, header in files):
            problems.append("not all that it says of what is baked in makes sense")
    elif any(BAKED_KEY in header.metadata for _, header in files):
        problems.append("it says something of what is baked in, but nothing that makes sense")
    place = path if path.is_dir() else path.parent
    try:
        hashes = {_named(inside, path): _hash_check(place / inside, header) for inside, header in files if baked}
        size = sum((place / inside).stat().st_size for inside, _ in files) or path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    return CheckpointReport(path, kind, size, baked, hashes, tuple(problems))


def check_bake_base(baked: Sequence[BakedIn], base: Path) -> BaseCheck:
    """Compare the hashes that bakes state of their bases with a checkpoint, the latest bake first. Raises: OSError."""
    stated = [each for each in reversed(baked) if re.fullmatch("[0-9a-f]{64}", each.base_sha256)]
    if not stated:
        return BaseCheck(None, f"it does not state the hash of its base, so nobody can tell whether it is {base.name}")
    here = sha256(base)
    if any(each.base_sha256 == here for each in stated):
        return BaseCheck(True, f"it was baked from {base.name} (sha256 is the same)")
    name = stated[0].base or "another checkpoint"
    return BaseCheck(False, f"it was baked from {name}, which is another file than {base.name}")


def _kind(path: Path) -> str:
    """Raises: BrokenCheckpoint; UnsupportedCheckpoint for what is no model's weights at all."""
    if path.is_dir():
        try:
            return f"{inspect_checkpoint(path).family.name} checkpoint, a diffusers folder"
        except UnsupportedCheckpoint:
            if not (path / INDEX).is_file():
                raise
            return "a diffusers folder of another family"
    told = tell_family(open_weights(path), FAMILIES)
    return f"{told.name} checkpoint" if isinstance(told, Family) else told.what


def _headers(path: Path) -> list[tuple[str, Header]]:
    """Return the header of every file that a bake writes, by its path within the folder, those of the U-Net first.

    None of pickles, and of text encoders only of files that say something: a LoRA may leave them alone.
    """
    if path.is_dir():
        every = [file for part in ("unet*", f"{_TEXT}*") for file in sorted(path.glob(f"{part}/*.safetensors"))]
        every = [file for file in every if file.is_file()]
    else:
        every = [] if path.suffix.lower() in PICKLES else [path]
    found, root = [], path if path.is_dir() else path.parent
    for file in every:
        try:
            found.append((file.relative_to(root).as_posix(), read_header(file)))
        except DamagedFile as error:
            raise BrokenCheckpoint(f"{file} is {error.what}. {error.advice}") from error
        except OSError as error:
            raise _unreadable(file, error) from error
    return [(inside, header) for inside, header in found if not _of_text(inside, path) or BAKED_KEY in header.metadata]


def _of_text(inside: str, path: Path) -> bool:
    """Whether a file is one of a text encoder's in a folder."""
    return path.is_dir() and inside.startswith(_TEXT)


def _stated(metadata: Mapping[str, str]) -> tuple[BakedIn, ...]:
    return tuple(
        BakedIn(
            base=_text(each, "base"),
            base_sha256=_text(each, "base_sha256").lower(),
            made=_text(each, "made"),
            loras=stated_parts(each.get("loras")),
        )
        for each in baked_before(metadata)[-_MOST_BAKES:]
    )


def _loras_named(metadata: Mapping[str, str]) -> bool:
    """Whether every bake names LoRAs, and all that it names make sense."""
    every = [each.get("loras") for each in baked_before(metadata)]
    return all(isinstance(listed, list) and len(stated_parts(listed)) == len(listed) > 0 for listed in every)


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value[:_LONGEST] if isinstance(value, str) else ""


def _hash_check(file: Path, header: Header) -> str:
    stated = header.metadata.get(_HASH_KEY, "").lower().removeprefix("0x")
    if not stated:
        return "it does not state one, so it cannot be checked"
    found = content_hash(file)
    if found == stated:
        return f"ok ({found[:12]})"
    return f"WRONG: it says {stated[:12]}, its weights have {found[:12]}; they were changed or damaged since"


def _named(inside: str, path: Path) -> str:
    """Return what a file is called in the report: nothing, if it is the checkpoint itself."""
    return inside if path.is_dir() else ""


def _unreadable(path: Path, error: OSError) -> BrokenCheckpoint:
    return BrokenCheckpoint(f"{path} cannot be read ({error}). Check the path and permissions.")
