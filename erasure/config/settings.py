"""The settings of an erasure. Flags, form controls, API fields and presets all come from :class:`EraseConfig`.

The metadata of a field holds its help line, group and allowed values, so nothing about a setting is said twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from erasure.config.checks import setting_problems
from erasure.config.methods import METHODS, Method
from erasure.config.setting import Setting, setting, setting_of
from erasure.errors import ConfigError

LayerChoice = Literal["xattn", "xattn_kv", "xattn_v", "noxattn", "selfattn", "full"]
Start = Literal["zero", "closed-form", "text-encoder"]
Vocabulary = Literal["words", "styles", "tokens", "file"]
Similarity = Literal["cosine", "l2"]
Adversary = Literal["gumbel", "pgd", "rerank", "uniform", "fixed", "anchor", "whole", "none"]
LossSpace = Literal["eps", "x0", "min_snr"]
GuidanceFrom = Literal["anchor", "null"]
Latents = Literal["replay", "fresh", "pictures", "noise"]
Precision = Literal["fp32", "bf16", "fp16"]
Robust = Literal["off", "words", "embeddings"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class EraseConfig:
    """Everything that decides the weights of a LoRA, given a checkpoint. Symbols are those of Bui et al. (2024)."""

    # concepts
    erase: tuple[str, ...] = setting(
        (),
        "a concept to erase (E); for several, repeat it or part them with commas. What stands in quotation marks is "
        "one, with its commas",
        "concepts",
        decides_space=True,
    )
    anchor: tuple[str, ...] = setting(
        (),
        "what a concept turns into (c_n): none = the empty prompt for all concepts, one = the same for all, or one for "
        "each concept",
        "concepts",
        decides_space=True,
    )
    synonym: tuple[str, ...] = setting(
        (), "another name for an erased concept: it is erased too, and never preserved", "concepts", decides_space=True
    )
    preserve: tuple[str, ...] = setting((), "a concept that must always be preserved", "concepts", decides_space=True)
    templates: tuple[str, ...] = setting(
        ("{}",),
        "a prompt with {} in place of the concept; each update picks one at random. Square brackets mark what "
        'disappears with the concept if the anchor is empty: "a house[ by {}]" turns into "a house"',
        "concepts",
        decides_space=True,
    )
    # concept space
    vocabulary: Vocabulary = setting(
        "words",
        "where candidates to preserve come from: common English words, styles (techniques and artists, for erasing a "
        "style), the tokenizer's words (tokens), or your own file",
        "concept space",
        choices=Vocabulary,
        decides_space=True,
    )
    vocabulary_file: str = setting(
        "", "a text file with one prompt per line, for vocabulary = file", "concept space", decides_space=True
    )
    neighbours: int = setting(
        100,
        "size of the concept space of each target (K): the nearest entries of the vocabulary",
        "concept space",
        low=1,
        high=2000,
        usual="50 to 100",
        decides_space=True,
    )
    similarity: Similarity = setting(
        "cosine",
        "how the similarity of text embeddings is measured",
        "concept space",
        choices=Similarity,
        decides_space=True,
    )
    synonym_threshold: float = setting(
        0.7,
        "a candidate is a synonym if its measured difference s(c) from the target is below this, and the judge "
        "recognises each in the other's pictures; 0 = do not measure",
        "concept space",
        low=0.0,
        high=10.0,
        usual="0.1 to 0.8",
        decides_space=True,
    )
    synonym_states: int = setting(
        6,
        "number of noisy latents, from sampling the target, on which s(c) is measured",
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
        "few and favouring those that are hurt more (rerank), or at random (uniform). Without a choice: always the "
        "same one (fixed: what preserve names, else the empty prompt), the anchor, the whole concept space at once "
        "(whole: methods uce and speed only), or only what preserve names (none)",
        "adversary",
        choices=Adversary,
    )
    search_steps: int = setting(2, "search steps per update (N_iter)", "adversary", low=0, high=100, usual="1 to 4")
    search_rate: float = setting(
        1e-2,
        "step size of the search (eta): of Adam on the logits, or of PGD relative to the norm of the embedding",
        "adversary",
        low=1e-6,
        high=10.0,
        usual="0.001 to 0.1",
    )
    temperature: float = setting(
        2.0, "Gumbel-Softmax temperature (tau)", "adversary", low=0.01, high=100.0, usual="0.5 to 5"
    )
    hard: bool = setting(True, "preserve exactly one concept (straight-through) instead of a mixture", "adversary")
    robust: Robust = setting(
        "off",
        "hold against attacks: other wordings from which the model draws the concept are erased as well, and near "
        "words whose pictures show it go along (words), or what lies near the concept's own embedding (embeddings, for "
        "trying). On the small test model words took 1.5 times the work; embeddings changed next to nothing, and from "
        "start zero lost a quarter of the nearest words. Neither stops somebody who has the weights and time",
        "adversary",
        choices=Robust,
        decides_space=True,
    )
    # loss
    preserve_weight: float = setting(
        1.5, "weight of preserving, relative to erasing (lambda)", "loss", low=0.0, high=1000.0, usual="0.5 to 5"
    )
    rehearsed: int = setting(
        2,
        "further concepts to preserve in each update, near and far ones in turn, on trajectories of the frozen model",
        "loss",
        low=0,
        high=64,
        usual="0 to 4",
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
        "where the direction of negative guidance starts: at the anchor, or at the empty prompt (null)",
        "loss",
        choices=GuidanceFrom,
    )
    loss_space: LossSpace = setting(
        "eps",
        "what the loss compares: predicted noise (eps), predicted clean latents (x0), or noise with Min-SNR weights",
        "loss",
        choices=LossSpace,
    )
    # latents
    latents: Latents = setting(
        "replay",
        "where noisy latents come from: replayed trajectories (cheap), fresh sampling for each draw (as published), "
        "noised pictures of the anchor (forget-me-not: of the concept), or always the same pure noise",
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
        "draws from one replayed trajectory before a new one is sampled; 0 = as many as it has steps",
        "latents",
        low=0,
        high=10_000,
    )
    on_policy: bool = setting(
        True, "replay latents of erased concepts as sampled by the tuned model, not the frozen one", "latents"
    )
    preserve_on_policy: bool = setting(
        True,
        "replay latents of preserved concepts as sampled by the tuned model, too: this preserves more, but erasing "
        "takes more updates",
        "latents",
    )
    early: float = setting(
        0.5,
        "concepts are preserved in this share of a replayed trajectory's steps, from its start, where it is settled "
        "what a picture shows; 1 = in all, which takes more rows",
        "latents",
        low=0.01,
        high=1.0,
        usual="0.5 to 1",
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
        "how to erase: adversarial preservation, or a method to compare it with; some methods fix other settings",
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
        "updates for each erased concept if steps is 0, and twice as many if only one is erased; 0 = what the method "
        f"needs, {METHODS['adversarial'].updates_per_concept} for adversarial preservation",
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
        f"{METHODS['adversarial'].learning_rate} for adversarial preservation",
        "training",
        low=0.0,
        high=1.0,
        usual="1e-4 to 2e-3",
    )
    pace: float = setting(
        0.025,
        "the learning rate is adapted once, so that an update moves the prediction of the erased concept by this share "
        "of the way to its anchor's; 0 = stay with the given learning rate",
        "training",
        low=0.0,
        high=1.0,
        usual="0.01 to 0.05",
    )
    schedule: Schedule = setting("cosine", "how the learning rate changes over time", "training", choices=Schedule)
    warmup: int = setting(
        10, "updates over which the learning rate rises from 0", "training", low=0, high=10_000, usual="0 to 50"
    )
    clip: float = setting(1.0, "largest norm of the gradient; 0 = no limit", "training", low=0.0, high=1e6, usual="1")
    precision: Precision = setting(
        "fp32",
        "number format of the frozen weights and of activations; LoRA weights and losses are always fp32",
        "training",
        choices=Precision,
        decides_space=True,
    )
    gradient_checkpointing: bool = setting(
        False, "recompute activations instead of keeping them: less memory, about a third slower", "training"
    )
    seed: int = setting(0, "seed of everything that is random", "training", low=0, high=2**32 - 1, decides_space=True)
    # lora
    layers: LayerChoice = setting(
        "xattn",
        "layers that get a LoRA: cross-attention, only its keys and values, only its values, all but cross-attention, "
        "self-attention, or all",
        "lora",
        choices=LayerChoice,
    )
    rank: int = setting(
        0,
        "rank of the LoRA; 0 = what the method needs: for adversarial preservation 4 per concept, 16 to 64",
        "lora",
        low=0,
        high=512,
        usual="4 to 64",
    )
    alpha: float = setting(
        0.0, "the LoRA is scaled by alpha / rank; 0 = as much as the rank", "lora", low=0.0, high=1024.0, usual="= rank"
    )
    start: Start = setting(
        "text-encoder",
        "where training starts: at no change (zero), where values of cross-attention are edited in closed form "
        "(closed-form), or where the text encoders are edited (text-encoder), as far as near and far words that stay "
        "allow it",
        "lora",
        choices=Start,
    )
    null_space: float = setting(
        0.02,
        "what the LoRA reads of a prompt is turned away from what preserved prompts are made of: the smaller, the "
        "more; 0 = not at all. Only for keys and values of cross-attention",
        "lora",
        low=0.0,
        high=100.0,
        usual="0.01 to 1",
    )
    save_precision: Precision = setting("fp16", "number format in the LoRA file", "lora", choices=Precision)
    # judging
    look_every: int = setting(
        10,
        "updates between looks at samples of the tuned model (more for over two targets): training ends when all "
        "targets are gone in two looks in a row, of which samples before the first update may be one, and keeps the "
        "best weights that were looked at; 0 = make all updates",
        "judging",
        low=0,
        high=100_000,
        usual="5 to 50",
    )
    judged_words: int = setting(
        20,
        "how many of the nearest protected words are judged before and after training, at most 20 of them already with "
        "the concept space; 0 = no verdict",
        "judging",
        low=0,
        high=1000,
        usual="20",
        decides_space=True,
    )
    # output
    preview_every: int = setting(
        0, "updates between previews; 0 = only before and after training", "output", low=0, high=100_000
    )
    save_every: int = setting(
        100, "updates between saved states; 0 = only at the end or when stopped", "output", low=0, high=100_000
    )

    # The settings that were asked for, as JSON types; None: not known. Configs are compared without it.
    asked: Mapping[str, Any] | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        problems = setting_problems(settings().values(), {name: getattr(self, name) for name in settings()})
        if problems:
            raise ConfigError(problems)

    @property
    def anchors(self) -> tuple[str, ...]:
        """One anchor per target, in the order of ``erase``; "" where none was given."""
        if not self.anchor:
            return ("",) * len(self.erase)
        return self.anchor * len(self.erase) if len(self.anchor) == 1 else self.anchor

    @property
    def updates(self) -> int:
        """Number of updates: ``steps``, or what its 0 stands for."""
        each = self.steps_per_concept or METHODS[self.method].updates_per_concept
        return self.steps or each * max(2, len(self.erase))

    @property
    def early_steps(self) -> int:
        """The number of steps of a trajectory, from its start, in which concepts are preserved."""
        return max(1, round(self.early * self.sampling_steps))

    def to_dict(self) -> dict[str, Any]:
        """Return every setting with the value that is used, as plain JSON types."""
        return plain({name: getattr(self, name) for name in settings()})


def settings() -> dict[str, Setting]:
    """Return the description of every setting by its name, in declaration order."""
    described = (setting_of(f) for f in fields(EraseConfig))
    return {about.name: about for about in described if about is not None}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same settings as plain JSON types."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def space_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``values`` (settings as used) that decide the concept space, as plain JSON types."""
    found = {name: values[name] for name, about in settings().items() if about.decides_space}
    if found["robust"] != "words":  # nothing else that it may be has a part in it
        del found["robust"]
    else:  # near words go along only where synonyms do
        found["erase_synonyms"] = values["erase_synonyms"]
    return plain(found)
