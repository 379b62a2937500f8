"""The one description of an erasure: every flag, form control, API field and preset comes from :class:`EraseConfig`.

A field's metadata holds its help line, its group and what is allowed, so that nothing about a setting is said twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from erasure.config.checks import config_problems
from erasure.config.methods import METHODS, Method, settle
from erasure.errors import ConfigError

LayerChoice = Literal["xattn", "xattn_kv", "noxattn", "selfattn", "full"]
Vocabulary = Literal["words", "styles", "tokens", "file"]
Similarity = Literal["cosine", "l2"]
Adversary = Literal["gumbel", "pgd", "rerank", "uniform", "fixed", "anchor", "whole", "none"]
LossSpace = Literal["eps", "x0", "min_snr"]
GuidanceFrom = Literal["anchor", "null"]
Latents = Literal["replay", "fresh", "pictures", "noise"]
Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal["constant", "linear", "cosine"]

GROUPS = ("concepts", "concept space", "adversary", "loss", "latents", "training", "lora", "output")


def _setting(
    default: Any,
    help: str,
    group: str,
    *,
    choices: Any = None,
    low: float | None = None,
    high: float | None = None,
    usual: str = "",
) -> Any:
    """A dataclass field with its description; ``low`` and ``high`` are inclusive, ``usual`` is shown to people."""
    assert group in GROUPS
    metadata = {
        "help": help,
        "group": group,
        "choices": get_args(choices) if choices is not None else None,
        "low": low,
        "high": high,
        "usual": usual,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class EraseConfig:
    """All that decides the weights of a LoRA, given a checkpoint. Symbols are those of Bui et al. (2024)."""

    # concepts
    erase: tuple[str, ...] = _setting((), "a concept to erase (E); repeat for several", "concepts")
    anchor: tuple[str, ...] = _setting(
        (),
        'what a concept turns into (c_n): none = "" for all, one = for all, or one per concept',
        "concepts",
    )
    synonym: tuple[str, ...] = _setting(
        (), "another name of an erased concept: never preserved, erased along", "concepts"
    )
    preserve: tuple[str, ...] = _setting((), "a concept that must always be preserved", "concepts")
    templates: tuple[str, ...] = _setting(
        ("{}",),
        'a prompt around a concept, with {} in its place; one is drawn per update. Where the anchor is "", '
        '"a house[ by {}]" turns into what is outside the brackets',
        "concepts",
    )
    # concept space
    vocabulary: Vocabulary = _setting(
        "words",
        "where candidates to preserve come from: common English words, techniques and artists (to erase a style), "
        "the tokenizer's words, or a file",
        "concept space",
        choices=Vocabulary,
    )
    vocabulary_file: str = _setting("", "a text file, one prompt per line (vocabulary = file)", "concept space")
    neighbours: int = _setting(
        100,
        "size of the concept space per target (K): the nearest words of the vocabulary",
        "concept space",
        low=1,
        high=2000,
        usual="50 to 100",
    )
    similarity: Similarity = _setting(
        "cosine", "how nearness of text embeddings is measured", "concept space", choices=Similarity
    )
    synonym_threshold: float = _setting(
        0.7,
        "candidates whose measured difference s(c) from the target is below this are synonyms; 0 = no test",
        "concept space",
        low=0.0,
        high=10.0,
        usual="0.1 to 0.8",
    )
    synonym_states: int = _setting(
        6,
        "states of the target's own trajectory on which s(c) is measured",
        "concept space",
        low=1,
        high=50,
        usual="4 to 8",
    )
    erase_synonyms: bool = _setting(True, "erase measured synonyms along with their target", "concept space")
    # adversary
    adversary: Adversary = _setting(
        "gumbel",
        "how the concept to preserve is found: Gumbel-Softmax search, PGD in embedding space, measuring a few and "
        "drawing the worse hit more often (rerank), a uniform draw; or it is given: "
        'always the same ("" unless preserve names some), the anchor, the whole space at once (method uce), or '
        "nothing but what preserve names",
        "adversary",
        choices=Adversary,
    )
    search_steps: int = _setting(2, "search steps per update (N_iter)", "adversary", low=0, high=100, usual="1 to 4")
    search_rate: float = _setting(
        1e-2,
        "step size of the search (eta): Adam on the logits, or the PGD step relative to the embedding's norm",
        "adversary",
        low=1e-6,
        high=10.0,
        usual="0.001 to 0.1",
    )
    temperature: float = _setting(
        2.0, "Gumbel-Softmax temperature (tau)", "adversary", low=0.01, high=100.0, usual="0.5 to 5"
    )
    hard: bool = _setting(True, "straight-through: exactly one concept is preserved, not a mixture", "adversary")
    # loss
    preserve_weight: float = _setting(
        1.5, "weight of preserving against erasing (lambda)", "loss", low=0.0, high=1000.0, usual="0.5 to 5"
    )
    guidance: float = _setting(
        1.0,
        "negative guidance g: the erased concept is pushed past its anchor, eps(c_n) - g (eps(c_e) - eps(c_n))",
        "loss",
        low=0.0,
        high=10.0,
        usual="0 to 3",
    )
    guidance_from: GuidanceFrom = _setting(
        "anchor",
        "where the direction of negative guidance begins: at the anchor, or at the empty prompt",
        "loss",
        choices=GuidanceFrom,
    )
    loss_space: LossSpace = _setting(
        "eps",
        "compare predicted noise (eps), predicted clean latents (x0), or noise with Min-SNR weights",
        "loss",
        choices=LossSpace,
    )
    # latents
    latents: Latents = _setting(
        "replay",
        "where noisy latents come from: replayed trajectories (cheap), fresh sampling at each draw (published), "
        "noised pictures of the anchor, or always the same bare noise",
        "latents",
        choices=Latents,
    )
    sampling_steps: int = _setting(
        8, "DDIM steps of a trajectory", "latents", low=2, high=1000, usual="8 replayed, 50 fresh"
    )
    sampling_guidance: float = _setting(
        3.0, "classifier-free guidance while sampling latents", "latents", low=0.0, high=30.0, usual="3"
    )
    reuse: int = _setting(
        0,
        "draws from one replayed trajectory before a new one begins; 0 = as many as it has steps",
        "latents",
        low=0,
        high=10_000,
    )
    on_policy: bool = _setting(
        True,
        "replay the erased concepts' latents as the tuned model samples them, not the frozen one",
        "latents",
    )
    preserve_on_policy: bool = _setting(
        True,
        "replay the preserved concepts' latents as the tuned model samples them, too: more is preserved, and erasing "
        "takes more updates",
        "latents",
    )
    resolution: int = _setting(
        0, "picture size in pixels; 0 = the size the checkpoint was made for", "latents", low=0, high=2048
    )
    # training
    method: Method = _setting(
        "adversarial",
        "how to erase: adversarial preservation, or a method to compare with, which decides some settings itself",
        "training",
        choices=Method,
    )
    steps: int = _setting(
        0,
        "updates of the LoRA weights; 0 = as many per erased concept as the next setting says",
        "training",
        low=0,
        high=100_000,
        usual="200 to 1000",
    )
    steps_per_concept: int = _setting(
        0,
        "updates per erased concept where steps is 0; a single concept gets those of two; 0 = as many as the method "
        f"needs, {METHODS['adversarial'].updates_per_concept} with adversarial preservation",
        "training",
        low=0,
        high=10_000,
        usual="30 to 200",
    )
    batch: int = _setting(
        1, "pairs of (erased, preserved) concept per update", "training", low=1, high=64, usual="1 to 4"
    )
    learning_rate: float = _setting(
        0.0,
        "Adam learning rate (alpha); 0 = what the method needs, "
        f"{METHODS['adversarial'].learning_rate} with adversarial preservation",
        "training",
        low=0.0,
        high=1.0,
        usual="1e-4 to 2e-3",
    )
    schedule: Schedule = _setting("cosine", "learning rate over time", "training", choices=Schedule)
    warmup: int = _setting(
        10, "updates in which the learning rate rises from 0", "training", low=0, high=10_000, usual="0 to 50"
    )
    clip: float = _setting(
        1.0, "largest norm of the gradient; 0 = no clipping", "training", low=0.0, high=1e6, usual="1"
    )
    precision: Precision = _setting(
        "fp32",
        "of the frozen weights and activations; LoRA weights and losses are always fp32",
        "training",
        choices=Precision,
    )
    gradient_checkpointing: bool = _setting(
        False,
        "compute activations again instead of keeping them: less memory, about a third slower",
        "training",
    )
    seed: int = _setting(0, "seed of everything drawn at random", "training", low=0, high=2**32 - 1)
    # lora
    layers: LayerChoice = _setting(
        "xattn",
        "layers that get a LoRA: cross-attention, its keys and values, all but it, self-attention, everything",
        "lora",
        choices=LayerChoice,
    )
    rank: int = _setting(8, "rank of the LoRA", "lora", low=1, high=512, usual="4 to 32")
    alpha: float = _setting(8.0, "scale of the LoRA is alpha / rank", "lora", low=0.01, high=1024.0, usual="= rank")
    save_precision: Precision = _setting("fp16", "number format in the LoRA file", "lora", choices=Precision)
    # output
    preview_every: int = _setting(
        0, "updates between previews; 0 = only before and after", "output", low=0, high=100_000
    )
    save_every: int = _setting(
        100,
        "updates between saved states; 0 = only at the end or when stopped",
        "output",
        low=0,
        high=100_000,
    )

    def __post_init__(self) -> None:
        problems = settle(self) + config_problems(self)
        if problems:
            raise ConfigError(problems)

    @property
    def anchors(self) -> tuple[str, ...]:
        """One anchor per target, in the order of ``erase``."""
        if not self.anchor:
            return ("",) * len(self.erase)
        return self.anchor * len(self.erase) if len(self.anchor) == 1 else self.anchor

    @property
    def updates(self) -> int:
        """``steps``, or what 0 stands for."""
        each = self.steps_per_concept or METHODS[self.method].updates_per_concept
        return self.steps or each * max(2, len(self.erase))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return json.loads(json.dumps(asdict(self)))

    def with_changes(self, **changes: Any) -> EraseConfig:
        return replace(self, **changes)


def settings() -> dict[str, dict[str, Any]]:
    """Name -> help, group, choices, low, high, usual, type and default of every setting, in declaration order."""
    return {f.name: {**f.metadata, "type": type(f.default), "default": f.default} for f in fields(EraseConfig)}
