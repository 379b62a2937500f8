"""What makes a method: the settings that it decides, everything else being as for any other run.

Symbols as in :class:`erasure.config.settings.EraseConfig`: c_e the erased concept, c_n its anchor, theta the frozen
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from erasure.config.settings import EraseConfig

Method = Literal[
    "adversarial", "esd-x", "esd-u", "fixed", "uce", "concept-ablation", "leco", "instant-leco"
]  # fmt: skip


@dataclass(frozen=True)
class MethodSettings:
    """``decides``: setting -> what it may be, first what it is unless something else is asked for; anything else is
    a problem. ``sets``: setting -> what it is, whatever was asked for, because the method has no use for it.
    ``preserves``: whether the concepts that the config names as ``preserve`` have a place in the method.
    ``updates_per_concept`` and ``learning_rate``: what it needs, where the config does not say.
    """

    decides: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    sets: Mapping[str, Any] = field(default_factory=dict)
    preserves: bool = True
    updates_per_concept: int = 100
    learning_rate: float = 1e-3


# Measuring synonyms and erasing them along is no part of these methods.
_ALONE = {"synonym_threshold": 0.0, "erase_synonyms": False}

METHODS: dict[Method, MethodSettings] = {
    # Bui et al., NeurIPS 2024: the trainer as it is.
    "adversarial": MethodSettings(updates_per_concept=150, learning_rate=1.5e-3),
    # ESD (Gandikota et al., ICCV 2023), Section 4, with z_t sampled by theta' itself and nothing preserved:
    # eps_theta'(z_t, c_e) -> eps(z_t, "") - g (eps(z_t, c_e) - eps(z_t, "")).
    # ESD-x trains cross-attention, ESD-u all the rest. An anchor, which ESD does not have, takes the place of "".
    "esd-x": MethodSettings({"adversary": ("none",), "layers": ("xattn",)}, _ALONE, preserves=False),
    "esd-u": MethodSettings({"adversary": ("none",), "layers": ("noxattn",)}, _ALONE, preserves=False),
    # Preserving always the same, "" or what `preserve` names: what Bui et al. 2024 (Section 3) find wanting.
    "fixed": MethodSettings({"adversary": ("fixed",)}, _ALONE),
    # UCE (Gandikota et al., WACV 2024), Eq. 7, in closed form; see erasure.training.uce. It preserves "" and what
    # `preserve` names, and with `whole` the concept space as well.
    "uce": MethodSettings({"adversary": ("none", "whole"), "layers": ("xattn_kv",)}, {**_ALONE, "steps": 1}),
    # Concept ablation (Kumari et al., ICCV 2023), its model-based variant, on noised pictures of the anchor:
    # eps_theta'(z_t, c_e) -> eps(z_t, c_n), regularised by their diffusion loss, || eps_theta'(z_t, c_n) - noise ||^2,
    # which `none` leaves out.
    "concept-ablation": MethodSettings(
        {"adversary": ("anchor", "none"), "latents": ("pictures",), "guidance": (0.0,)}, _ALONE, preserves=False
    ),
    # LECO (github.com/p1atdev/LECO), ESD on a LoRA whose concept's direction starts at "" whatever it turns into:
    # eps_theta'(z_t, c_e) -> eps(z_t, c_n) - g (eps(z_t, c_e) - eps(z_t, "")).
    "leco": MethodSettings({"adversary": ("none",), "guidance_from": ("null",)}, _ALONE, preserves=False),
    # "Instant" LECO (github.com/hako-mikan/sd-webui-traintrain): eps_theta'(z, t, c_e) -> eps(z, t, c_n) where z is
    # always the same bare noise, at any t; nothing is sampled.
    "instant-leco": MethodSettings(
        {"adversary": ("none",), "latents": ("noise",), "guidance": (0.0,)}, _ALONE, preserves=False
    ),
}  # fmt: skip


def settle(config: EraseConfig) -> list[str]:
    """Give a config under construction what its method decides; returns a line per setting that contradicts it."""
    if config.method not in METHODS:
        return []  # told with the other choices that do not exist
    about = METHODS[config.method]
    defaults = {f.name: f.default for f in fields(config)}
    problems = []
    for name, allowed in about.decides.items():
        value = getattr(config, name)
        if value == defaults[name]:
            object.__setattr__(config, name, allowed[0])
        elif value not in allowed:
            fitting = " or ".join(repr(choice) for choice in allowed)
            problems.append(f"{name}: {value!r} does not go with method {config.method}, which takes {fitting}")
    if config.learning_rate == 0:
        object.__setattr__(config, "learning_rate", about.learning_rate)
    for name, value in about.sets.items():
        object.__setattr__(config, name, value)
    if config.preserve and not about.preserves:
        problems.append(f"preserve: method {config.method} preserves nothing by name; method 'fixed' does")
    return problems
