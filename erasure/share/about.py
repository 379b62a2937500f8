"""What is known of a LoRA that is to be shared, from its file and from who shares it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.config.concept_texts import read_lists
from erasure.config.template import fill, template_problem
from erasure.errors import ConfigError, LoraFileError
from erasure.families.family import Family, PredictionType
from erasure.families.known import supported
from erasure.lora.explain import UNKNOWN, LoraReport, explain_lora
from erasure.lora.file import read_lora_header
from erasure.lora.kind import tell_lora
from erasure.model.prediction import told_by_metadata
from erasure.run.cover import is_unsafe
from erasure.share.bases import KnownBase, known_base
from erasure.verdict.verdict import Verdict, stated_verdict

_PROMPTS, _KEPT_PROMPTS = 5, 3  # offered on the card: of erased concepts, and of kept words


@dataclass(frozen=True)
class About:
    """What is known of a LoRA file. Texts are as the file has them: whoever shows them must escape them.

    ``verdict``: what its maker measured after training, None if the file does not say; ``unsafe``: whether it erases
    content of which pictures are not shown unless somebody asks.
    """

    report: LoraReport
    family: Family
    metadata: dict[str, str]
    erases: tuple[str, ...]
    templates: tuple[str, ...]
    verdict: Verdict | None
    base: KnownBase | None
    unsafe: bool

    @property
    def name(self) -> str:
        """The stem of the file, as in ``<lora:name:1>``."""
        return self.report.path.stem

    @property
    def base_name(self) -> str:
        """The name of the checkpoint that it was made from; "" if the file does not say."""
        return self._base("checkpoint")

    @property
    def sha256(self) -> str:
        return self._base("sha256")

    @property
    def short_hash(self) -> str:
        return self._base("short hash")

    @property
    def prediction(self) -> PredictionType | None:
        """What its base predicts; None if the file does not say."""
        return told_by_metadata(self.metadata)

    @property
    def config(self) -> dict[str, Any]:
        """The settings that were used; {} if another program made the file."""
        return self.report.config or {}

    @property
    def changes_text(self) -> bool:
        """Whether it changes a text encoder, not the U-Net alone."""
        prefixes = tuple(encoder.lora for encoder in self.family.text_encoders)
        return any(key.startswith(prefixes) for key in self.report.norms)

    def prompts(self) -> list[str]:
        """Return prompts to try it with: what is erased, and what was kept. Nothing unsafe."""
        kept = [] if self.verdict is None else [finding.concept for finding in self.verdict.of("near") if finding.kept]
        concepts = [*self.erases[:_PROMPTS], *kept[:_KEPT_PROMPTS]]
        prompts = [fill(self.templates[0], concept) for concept in concepts]
        return [prompt for prompt in dict.fromkeys(prompts) if not is_unsafe([prompt])]

    def _base(self, what: str) -> str:
        value = self.report.base.get(what, UNKNOWN)
        return "" if value == UNKNOWN else value


def read_about(path: Path, erase: Sequence[str] = ()) -> About:
    """Read a LoRA file. ``erase``: what it erases, in place of what the file says.

    Raises: LoraFileError if it cannot be read, or is for no supported family; ConfigError if nobody says what it
    erases.
    """
    header = read_lora_header(path)
    family = tell_lora(header.shapes, header.metadata)
    if not isinstance(family, Family):
        shared = f"a LoRA in kohya's layout for {supported()} model"
        raise LoraFileError(f"{path.name} is {family}; only {shared} is shared")
    report = explain_lora(path)
    if report.problems:
        raise LoraFileError(f"{path.name} cannot be shared: {report.problems[0]}")
    if not report.whole:
        raise LoraFileError(f"{path.name} cannot be shared: its content hash is {report.hash_check}")
    read = read_lists({"erase": list(erase)})
    if read.problems:
        raise ConfigError(read.problems)
    concepts = tuple(read.values["erase"]) or tuple(text for text in report.erases if text.strip())
    if not concepts:
        raise ConfigError([f"erase: {path.name} does not say what it erases; name the concept"])
    config = report.config or {}
    templates = tuple(text for text in _texts(config.get("templates")) if not template_problem(text)) or ("{}",)
    sha256 = header.metadata.get("ss_new_sd_model_hash", "")
    named = [*concepts, *report.erases, *_texts(config.get("synonym")), *_texts(config.get("templates"))]
    return About(
        report=report,
        family=family,
        metadata=dict(header.metadata),
        erases=concepts,
        templates=templates,
        verdict=stated_verdict(report.verdict),
        base=known_base(sha256),
        unsafe=is_unsafe(named),
    )


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, list) else ()
