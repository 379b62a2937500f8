"""Methods, each described by the settings that it decides; everything else is as in any other run.

Symbols: c_e the erased concept, c_n its anchor, theta the frozen and theta' the tuned model, g the negative guidance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Method = Literal[
    "adversarial", "esd-x", "esd-u", "fixed", "uce", "time", "speed", "concept-ablation", "leco",
    "instant-leco", "forget-me-not", "adv-unlearn",
]  # fmt: skip


# The largest rank that a method chooses by itself.
MOST_RANK = 64


class Unused(NamedTuple):
    """The value of a setting that a method has no use for, and why, as in "method uce works in one step"."""

    value: Any
    why: str


@dataclass(frozen=True)
class MethodSettings:
    """The settings that make a method.

    ``decides``: setting -> its allowed values, the default first; any other value is a problem.
    ``unused``: setting -> the value that is used whatever was asked for.
    ``preserves``: whether the method uses the concepts that the setting ``preserve`` names.
    ``closed_form``: whether it needs no training (see :mod:`erasure.training.closed_form`).
    ``compares``: whether it compares predictions with the frozen model's, which costs rows.
    ``updates_per_concept``, ``learning_rate`` and :meth:`rank`: what the method needs, used where the config leaves it
    open.
    """

    decides: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unused: Mapping[str, Unused] = field(default_factory=dict)
    preserves: bool = True
    closed_form: bool = False
    compares: bool = True
    updates_per_concept: int = 100
    learning_rate: float = 1e-3
    least_rank: int = 8
    rank_per_concept: int = 0

    def rank(self, concepts: int) -> int:
        """Return the rank of a LoRA that erases so many concepts."""
        return min(MOST_RANK, max(self.least_rank, self.rank_per_concept * concepts))


# Methods to compare with are what they were published as: no one looks before their last update.
_UNSEEN = {
    "look_every": Unused(0, "makes all its updates"),
    "start": Unused("zero", "does not start from an edit of ours"),
    "null_space": Unused(0.0, "turns nothing away from preserved prompts"),
    "pace": Unused(0.0, "keeps to its learning rate"),
    "rehearsed": Unused(0, "rehearses nothing"),
    "early": Unused(1.0, "trains in all steps of its trajectories"),
    "robust": Unused("off", "has no defence of ours"),
}
# These neither measure synonyms nor erase them, either.
_ALONE = {
    **_UNSEEN,
    "synonym_threshold": Unused(0.0, "measures no synonyms"),
    "erase_synonyms": Unused(False, "measures no synonyms"),
}
_ONE_STEP = {"steps": Unused(1, "works in one step")}

METHODS: dict[Method, MethodSettings] = {
    # Bui et al., NeurIPS 2024: what the trainer does without any change.
    "adversarial": MethodSettings(updates_per_concept=150, learning_rate=2e-3, least_rank=16, rank_per_concept=4),
    # ESD (Gandikota et al., ICCV 2023), Section 4, with z_t sampled by theta' itself and nothing preserved:
    # eps_theta'(z_t, c_e) -> eps(z_t, "") - g (eps(z_t, c_e) - eps(z_t, "")).
    # ESD-x trains cross-attention, ESD-u all the rest. ESD has no anchor; one that is given takes the place of "".
    "esd-x": MethodSettings({"adversary": ("none",), "layers": ("xattn",)}, _ALONE, preserves=False),
    "esd-u": MethodSettings({"adversary": ("none",), "layers": ("noxattn",)}, _ALONE, preserves=False),
    # Always preserves the same, "" or what `preserve` names: the baseline that Bui et al. 2024 improve on (Section 3).
    "fixed": MethodSettings({"adversary": ("fixed",)}, _ALONE),
    # UCE (Gandikota et al., WACV 2024), Eq. 7, in closed form; see erasure.training.uce. It preserves "" and what
    # `preserve` names, and with `whole` the concept space as well.
    "uce": MethodSettings(
        {"adversary": ("none", "whole"), "layers": ("xattn_kv",)},
        {**_ALONE, **_ONE_STEP},
        closed_form=True,
    ),
    # TIME (Orgad et al., ICCV 2023), in closed form; see erasure.training.time_edit.
    "time": MethodSettings(
        {"adversary": ("none",), "layers": ("xattn_kv",)},
        {**_ALONE, **_ONE_STEP, "preserve_weight": Unused(0.0, "preserves nothing")},
        preserves=False,
        closed_form=True,
    ),
    # SPEED (Li et al., ICLR 2026), in closed form; see erasure.training.speed. It preserves the concept space and what
    # `preserve` names, or with `none` only the latter.
    "speed": MethodSettings(
        {"adversary": ("whole", "none"), "layers": ("xattn_v",)},
        {
            **_ALONE,
            **_ONE_STEP,
            "null_space": Unused(0.0, "has a null space of its own"),
            "preserve_weight": Unused(0.0, "does not weigh what it preserves"),
        },
        closed_form=True,
    ),
    # Concept ablation (Kumari et al., ICCV 2023), its model-based variant, on noised pictures of the anchor:
    # eps_theta'(z_t, c_e) -> eps(z_t, c_n), regularised by their diffusion loss, || eps_theta'(z_t, c_n) - noise ||^2,
    # which adversary `none` leaves out.
    "concept-ablation": MethodSettings(
        {"adversary": ("anchor", "none"), "latents": ("pictures",), "guidance": (0.0,)}, _ALONE, preserves=False
    ),
    # LECO (github.com/p1atdev/LECO), ESD on a LoRA; its guidance starts at "" whatever the anchor is:
    # eps_theta'(z_t, c_e) -> eps(z_t, c_n) - g (eps(z_t, c_e) - eps(z_t, "")).
    "leco": MethodSettings({"adversary": ("none",), "guidance_from": ("null",)}, _ALONE, preserves=False),
    # "Instant" LECO (github.com/hako-mikan/sd-webui-traintrain): eps_theta'(z, t, c_e) -> eps(z, t, c_n) where z is
    # always the same pure noise, at any t; nothing is sampled.
    "instant-leco": MethodSettings(
        {"adversary": ("none",), "latents": ("noise",), "guidance": (0.0,)}, _ALONE, preserves=False
    ),
    # Forget-Me-Not (Zhang et al. 2023): no attention to the concept's tokens; see erasure.training.forget_me_not.
    "forget-me-not": MethodSettings(
        {"adversary": ("none",), "latents": ("pictures", "replay", "fresh"), "layers": ("xattn",)},
        {
            **_ALONE,
            "anchor": Unused((), "turns a concept into nothing that has a name"),
            "guidance": Unused(0.0, "compares no predictions"),
            "guidance_from": Unused("anchor", "compares no predictions"),
            "loss_space": Unused("eps", "compares no predictions"),
            "preserve_weight": Unused(0.0, "preserves nothing"),
        },
        preserves=False,
        compares=False,
        learning_rate=5e-4,
    ),
    # AdvUnlearn (Zhang et al., NeurIPS 2024): ESD's goal for the prompt near c_e that brings it back best, found by
    # `search_steps` steps of `search_rate`, and a retain set, what is rehearsed; see erasure.training.adv_unlearn.
    "adv-unlearn": MethodSettings(
        {"adversary": ("none",)},
        {name: unused for name, unused in _ALONE.items() if name != "rehearsed"},
    ),
}  # fmt: skip


def method_of(values: Mapping[str, Any]) -> MethodSettings | None:
    """Return the description of the method that these settings name; None if there is no such method."""
    return METHODS.get(values["method"])


def method_problems(values: Mapping[str, Any]) -> list[str]:
    """Return one line per setting that does not fit the method.

    ``values``: every setting with the value that is used.
    """
    about, name = method_of(values), values["method"]
    if about is None:
        return []  # the check of choices says that there is no such method
    problems = []
    for setting, allowed in about.decides.items():
        if values[setting] not in allowed:
            fitting = " or ".join(repr(choice) for choice in allowed)
            problems.append(f"{setting}: {values[setting]!r} does not go with method {name}, which needs {fitting}")
    for setting, unused in about.unused.items():
        if values[setting] != unused.value:
            problems.append(f"{setting}: {values[setting]!r}, but method {name} {unused.why}; use {unused.value!r}")
    if values["learning_rate"] == 0:
        problems.append(f"learning_rate: 0 trains nothing; method {name} needs about {about.learning_rate:g}")
    problems += [f"{name}: 0 leaves nothing to train" for name in ("rank", "alpha") if values[name] == 0]
    if values["preserve"] and not about.preserves:
        problems.append(f"preserve: method {name} cannot preserve named concepts; method 'fixed' can")
    return problems
