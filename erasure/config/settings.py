"""The one description of an erasure: every flag, form control, API field and preset comes from :class:`EraseConfig`.

A field's metadata holds its help line, its group and what is allowed, so that nothing about a setting is said twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from erasure.config.checks import setting_problems
from erasure.config.methods import METHODS, Method
from erasure.config.setting import Setting, setting, setting_of
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


@dataclass(frozen=True)
class EraseConfig:
    """All that decides the weights of a LoRA, given a checkpoint. Symbols are those of Bui et al. (2024)."""

    # concepts
    erase: tuple[str, ...] = setting((), "a concept to erase (E); repeat for several", "concepts", decides_space=True)
    anchor: tuple[str, ...] = setting(
        (),
        'what a concept turns into (c_n): none = "" for all, one = for all, or one per concept',
        "concepts",
        decides_space=True,
    )
    synonym: tuple[str, ...] = setting(
        (), "another name for an erased concept: it is erased too, and never preserved", "concepts", decides_space=True
    )
    preserve: tuple[str, ...] = setting((), "a concept that must always be preserved", "concepts", decides_space=True)
    templates: tuple[str, ...] = setting(
        ("{}",),
        'a prompt with {} where the concept goes; each update draws one. Where the anchor is "", '
        '"a house[ by {}]" turns into what is outside the brackets',
        "concepts",
        decides_space=True,
    )
    # concept space
    vocabulary: Vocabulary = setting(
        "words",
        "where candidates to preserve come from: common English words, techniques and artists (to erase a style), "
        "the tokenizer's words, or a file",
        "concept space",
        choices=Vocabulary,
        decides_space=True,
    )
    vocabulary_file: str = setting(
        "", "a text file, one prompt per line (vocabulary = file)", "concept space", decides_space=True
    )
    neighbours: int = setting(
        100,
        "size of the concept space per target (K): the nearest words of the vocabulary",
        "concept space",
        low=1,
        high=2000,
        usual="50 to 100",
        decides_space=True,
    )
    similarity: Similarity = setting(
        "cosine", "how nearness of text embeddings is measured", "concept space", choices=Similarity, decides_space=True
    )
    synonym_threshold: float = setting(
        0.7,
        "candidates whose measured difference s(c) from the target is below this are synonyms; 0 = no test",
        "concept space",
        low=0.0,
        high=10.0,
        usual="0.1 to 0.8",
        decides_space=True,
    )
    synonym_states: int = setting(
        6,
        "states of the target's own trajectory on which s(c) is measured",
        "concept space",
        low=1,
        high=50,
        usual="4 to 8",
        decides_space=True,
    )
    erase_synonyms: bool = setting(True, "erase measured synonyms along with their target", "concept space")
    # adversary
    adversary: Adversary = setting(
        "gumbel",
        "how the concept to preserve is chosen: by Gumbel-Softmax search, by PGD in embedding space, by measuring a "
        "few and favouring those that are hurt more (rerank), or at random (uniform). Or no choice is made: always "
        'the same one (fixed: what preserve names, else ""), the anchor, the whole concept space at once (whole: '
        "method uce only), or only what preserve names (none)",
        "adversary",
        choices=Adversary,
    )
    search_steps: int = setting(2, "search steps per update (N_iter)", "adversary", low=0, high=100, usual="1 to 4")
    search_rate: float = setting(
        1e-2,
        "step size of the search (eta): Adam on the logits, or the PGD step relative to the embedding's norm",
        "adversary",
        low=1e-6,
        high=10.0,
        usual="0.001 to 0.1",
    )
    temperature: float = setting(
        2.0, "Gumbel-Softmax temperature (tau)", "adversary", low=0.01, high=100.0, usual="0.5 to 5"
    )
    hard: bool = setting(True, "straight-through: exactly one concept is preserved, not a mixture", "adversary")
    # loss
    preserve_weight: float = setting(
        1.5, "weight of preserving against erasing (lambda)", "loss", low=0.0, high=1000.0, usual="0.5 to 5"
    )
    guidance: float = setting(
        1.0,
        "negative guidance g: the erased concept is pushed past its anchor, eps(c_n) - g (eps(c_e) - eps(c_n))",
        "loss",
        low=0.0,
        high=10.0,
        usual="0 to 3",
    )
    guidance_from: GuidanceFrom = setting(
        "anchor",
        "where the direction of negative guidance begins: at the anchor, or at the empty prompt",
        "loss",
        choices=GuidanceFrom,
    )
    loss_space: LossSpace = setting(
        "eps",
        "compare predicted noise (eps), predicted clean latents (x0), or noise with Min-SNR weights",
        "loss",
        choices=LossSpace,
    )
    # latents
    latents: Latents = setting(
        "replay",
        "where noisy latents come from: replayed trajectories (cheap), fresh sampling at each draw (published), "
        "noised pictures of the anchor, or always the same bare noise",
        "latents",
        choices=Latents,
    )
    sampling_steps: int = setting(
        8, "DDIM steps of a trajectory", "latents", low=2, high=1000, usual="8 replayed, 50 fresh"
    )
    sampling_guidance: float = setting(
        3.0,
        "classifier-free guidance while sampling latents",
        "latents",
        low=0.0,
        high=30.0,
        usual="3",
        decides_space=True,
    )
    reuse: int = setting(
        0,
        "draws from one replayed trajectory before a new one begins; 0 = as many as it has steps",
        "latents",
        low=0,
        high=10_000,
    )
    on_policy: bool = setting(
        True, "replay the erased concepts' latents as the tuned model samples them, not the frozen one", "latents"
    )
    preserve_on_policy: bool = setting(
        True,
        "replay the preserved concepts' latents as the tuned model samples them, too: this preserves more, but erasing "
        "takes more updates",
        "latents",
    )
    resolution: int = setting(
        0,
        "picture size in pixels; 0 = the size the checkpoint was made for",
        "latents",
        low=0,
        high=2048,
        decides_space=True,
    )
    # training
    method: Method = setting(
        "adversarial",
        "how to erase: adversarial preservation, or a method that it is compared with; some decide settings themselves",
        "training",
        choices=Method,
    )
    steps: int = setting(
        0,
        "updates of the LoRA weights; 0 = steps_per_concept for each erased concept",
        "training",
        low=0,
        high=100_000,
        usual="200 to 1000",
    )
    steps_per_concept: int = setting(
        0,
        "updates for each erased concept where steps is 0, and twice as many where only one is erased; 0 = what the "
        f"method needs, {METHODS['adversarial'].updates_per_concept} with adversarial preservation",
        "training",
        low=0,
        high=10_000,
        usual="30 to 200",
    )
    batch: int = setting(
        1, "pairs of (erased, preserved) concept per update", "training", low=1, high=64, usual="1 to 4"
    )
    learning_rate: float = setting(
        0.0,
        "Adam learning rate (alpha); 0 = what the method needs, "
        f"{METHODS['adversarial'].learning_rate} with adversarial preservation",
        "training",
        low=0.0,
        high=1.0,
        usual="1e-4 to 2e-3",
    )
    schedule: Schedule = setting("cosine", "learning rate over time", "training", choices=Schedule)
    warmup: int = setting(
        10, "updates in which the learning rate rises from 0", "training", low=0, high=10_000, usual="0 to 50"
    )
    clip: float = setting(
        1.0, "largest norm of the gradient; 0 = no clipping", "training", low=0.0, high=1e6, usual="1"
    )
    precision: Precision = setting(
        "fp32",
        "number format of the frozen weights and of activations; LoRA weights and losses are always fp32",
        "training",
        choices=Precision,
        decides_space=True,
    )
    gradient_checkpointing: bool = setting(
        False, "compute activations again instead of keeping them: less memory, about a third slower", "training"
    )
    seed: int = setting(0, "seed of everything drawn at random", "training", low=0, high=2**32 - 1, decides_space=True)
    # lora
    layers: LayerChoice = setting(
        "xattn",
        "what gets a LoRA: cross-attention, its keys and values only, all but cross-attention, self-attention, or all",
        "lora",
        choices=LayerChoice,
    )
    rank: int = setting(8, "rank of the LoRA", "lora", low=1, high=512, usual="4 to 32")
    alpha: float = setting(8.0, "scale of the LoRA is alpha / rank", "lora", low=0.01, high=1024.0, usual="= rank")
    save_precision: Precision = setting("fp16", "number format in the LoRA file", "lora", choices=Precision)
    # output
    preview_every: int = setting(
        0, "updates between previews; 0 = only before and after", "output", low=0, high=100_000
    )
    save_every: int = setting(
        100, "updates between saved states; 0 = only at the end or when stopped", "output", low=0, high=100_000
    )

    # What a person asked for, setting -> value as JSON types; None: nobody said. Never part of what a config is.
    asked: Mapping[str, Any] | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        problems = setting_problems(settings().values(), {name: getattr(self, name) for name in settings()})
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
        """Every setting with the value that is used, as plain JSON types."""
        return plain({name: getattr(self, name) for name in settings()})


def settings() -> dict[str, Setting]:
    """Every setting by its name, in declaration order."""
    described = (setting_of(f) for f in fields(EraseConfig))
    return {about.name: about for about in described if about is not None}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings as plain JSON types."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def space_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` (settings as used) that decide the concept space, as plain JSON types."""
    return plain({name: values[name] for name, about in settings().items() if about.decides_space})
