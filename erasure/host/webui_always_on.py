"""Keeps LoRAs on in every picture that a web UI draws, through its own network of the name "lora".

Web UIs turn their networks (LoRAs, hypernetworks) on anew for every batch and for the second pass of hires fix, by
``extra_networks.activate``, whatever tab, script or request the prompt came from; and once more without the prompt's
networks if those could not be read. So the list is put in there, at the last moment, and no prompt comes after it.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from modules import extra_networks, processing

from erasure.errors import LoraFileError
from erasure.host.always_on import AlwaysOn, Rule
from erasure.host.kept_on import in_force, lora_problem
from erasure.host.lora_prompt import split_prompt
from erasure.host.webui_networks import file_named, networks_of, same_file

# In the infotext of a picture. The first is read again when it is pasted.
KEPT, NOT_KEPT = "Always on", "Not kept on"
_KEPT_ON = "adversarial_erase_kept"  # on a generation: the rules that hold in its picture
_ALONE = "adversarial_erase_alone"  # on a generation: it asked for no networks at all
_CACHES = ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")


class Keeper:
    """Keeps the LoRAs of ``listed`` on, which is asked before every batch of pictures."""

    def __init__(self, listed: Callable[[], AlwaysOn]) -> None:
        self._listed = listed
        self._last: tuple[Rule, ...] = ()
        self._said: tuple[str, ...] = ()

    def watch(self) -> None:
        """Be asked from now on, whenever the web UI turns networks on. "Reload UI" leaves its modules as they are."""
        activate = extra_networks.activate
        parse = processing.StableDiffusionProcessing.parse_extra_network_prompts

        def activate_with_kept(p: Any, data: Any) -> Any:
            # The web UI also does so without a picture, for the states of an empty prompt.
            if getattr(p, "prompts", None) is None:
                return activate(p, data)
            self._prepare(p)
            return activate(p, {} if getattr(p, _ALONE, False) else data)

        def parse_unless_off(p: Any) -> Any:
            parsed = parse(p)
            # An option of the API, and of some scripts; it would leave on whatever the picture before had.
            if getattr(p, "disable_extra_networks", False) and _rules_for(p, self._listed()):
                p.disable_extra_networks = False
                setattr(p, _ALONE, True)
            return parsed

        extra_networks.activate = activate_with_kept
        processing.StableDiffusionProcessing.parse_extra_network_prompts = parse_unless_off

    def pasted(self, infotext: str, params: dict[str, Any]) -> None:
        """Put into a pasted prompt what was always on when its picture was drawn, but is not here and now."""
        try:
            there = [Rule(lora, weight) for lora, weight in split_prompt(str(params.get(KEPT, "")))[1]]
        except LoraFileError:  # it was written by anyone
            return
        here = {(rule.lora, rule.weight) for rule in in_force(self._listed().rules, _selected())}
        missing = [rule for rule in there if (rule.lora, rule.weight) not in here]
        networks = networks_of(extra_networks.extra_network_registry.get("lora"))
        for name in ("Prompt", "Hires prompt"):
            if missing and params.get(name):
                params[name] = _with_tags(str(params[name]), missing, networks)

    def _prepare(self, p: Any) -> None:
        """Note on the generation which LoRAs it is drawn with, and say what is not as it should be."""
        try:
            rules, problems = self._usable(p)
        except Exception:  # a picture is drawn all the same
            traceback.print_exc()
            rules, problems = (), ["the LoRAs that are always on could not be looked up; see the console"]
        second = bool(getattr(p, "is_hr_pass", False))
        before = getattr(p, _KEPT_ON, ()) if second else ()
        setattr(p, _KEPT_ON, rules)
        if rules != self._last:
            self._last = rules
            _forget_conditioning(p)
        written = dict.fromkeys(map(_tag, (*before, *rules)))
        _write(p, KEPT, " ".join(written), second)
        _write(p, NOT_KEPT, "; ".join(problems), second)
        for problem in problems:
            _comment(p, f"Always on: {problem}")
        if tuple(problems) != self._said:
            self._said = tuple(problems)
            for problem in problems:
                print(f"Adversarial Erase: always on: {problem}", file=sys.stderr)  # noqa: T201

    def _usable(self, p: Any) -> tuple[tuple[Rule, ...], list[str]]:
        """Return the rules whose files can be read, and what is wrong with the others and those that do not fit."""
        listed = self._listed()
        rules = _rules_for(p, listed)
        problems = list(listed.problems)
        if not rules:
            return (), problems
        network = extra_networks.extra_network_registry.get("lora")
        networks = networks_of(network)
        if networks is None:
            return (), [*problems, "this web UI's own Lora extension is off"]
        self._watch_network(network)
        usable = []
        for rule in rules:
            file = file_named(networks, rule.lora)
            if file is None:
                problems.append(f"there is no LoRA {rule.lora} in the Lora folder")
                continue
            problem = lora_problem(file, None)
            if not problem:
                usable.append(rule)
                problem = _misfit(file, p)
            if problem:
                problems.append(problem)
        return tuple(usable), problems

    def _watch_network(self, network: Any) -> None:
        """Be asked whenever the web UI's network of LoRAs is turned on; "Reload UI" makes a new one."""
        if getattr(network, "adversarial_erase", None) is self:
            return
        activate = network.activate

        def activate_with_kept(p: Any, params: list[Any]) -> Any:
            rules: Sequence[Rule] = getattr(p, _KEPT_ON, ())
            return activate(p, self._with_kept(p, network, params, rules) if rules else params)

        network.activate = activate_with_kept
        network.adversarial_erase = self

    def _with_kept(self, p: Any, network: Any, params: Iterable[Any], rules: Iterable[Rule]) -> list[Any]:
        """Return a prompt's networks without those of the files that are always on, and then these."""
        networks = networks_of(network)
        kept = {file: rule for rule in rules if (file := file_named(networks, rule.lora)) is not None}
        free = []
        for asked in params:
            file = file_named(networks, str(asked.positional[0])) if asked.positional else None
            rule = None if file is None else next((kept[other] for other in kept if same_file(file, other)), None)
            if rule is None:
                free.append(asked)
            elif _weights(asked) != {rule.weight}:
                tag = ":".join(map(str, asked.items))
                _comment(p, f"{rule.lora} is always on here, at weight {rule.weight:g}; <lora:{tag}> has no effect")
        own = [extra_networks.ExtraNetworkParams(items=[rule.lora, f"{rule.weight:g}"]) for rule in kept.values()]
        return [*free, *own]


def _weights(asked: Any) -> set[float]:
    """Return the weights that a tag asks for; empty if it makes no sense, as does what changes the rank."""
    try:
        values = [*asked.positional[1:3], *(asked.named[key] for key in ("te", "unet") if key in asked.named)]
        plain = len(asked.positional) <= 3 and "dyn" not in asked.named
        return {float(value) for value in values or ["1"]} if plain else set()
    except (TypeError, ValueError):
        return set()


def _rules_for(p: Any, listed: AlwaysOn) -> tuple[Rule, ...]:
    """Return the rules for the checkpoints that draw this picture, a refiner included."""
    infos = [_checkpoint_of(p), getattr(p, "refiner_checkpoint_info", None)]
    titles = [str(info.name) for info in infos if info is not None]
    # None is known only where a web UI keeps it elsewhere: rather too many than none.
    return in_force(listed.rules, titles or [rule.checkpoint for rule in listed.rules])


def _checkpoint_of(p: Any) -> Any:
    return getattr(getattr(p, "sd_model", None), "sd_checkpoint_info", None)


def _selected() -> list[str]:
    from modules import sd_models

    try:
        info = sd_models.select_checkpoint()
    except FileNotFoundError:
        return []
    return [] if info is None else [str(info.name)]


def _misfit(file: Path, p: Any) -> str:
    """Return why a file does not fit the checkpoint, "" if it may; leaving out what does not is the web UI's part."""
    info = _checkpoint_of(p)
    try:
        return "" if info is None else lora_problem(file, Path(info.filename))
    except Exception:  # a checkpoint that nobody foresaw is no reason to leave a LoRA out
        traceback.print_exc()
        return ""


def _forget_conditioning(p: Any) -> None:
    """Forget the prompts' states, which are kept from the picture before: a LoRA may change the text encoder."""
    for name in _CACHES:
        cache = getattr(p, name, None)
        if isinstance(cache, list) and cache:
            cache[0] = None


def _write(p: Any, key: str, text: str, second: bool) -> None:
    """Write into the infotext, or take out what an earlier picture of the same grid left there."""
    if text:
        p.extra_generation_params[key] = text
    elif not second:
        p.extra_generation_params.pop(key, None)


def _comment(p: Any, text: str) -> None:
    if hasattr(p, "comment"):
        p.comment(text)


def _with_tags(prompt: str, rules: Sequence[Rule], networks: Any) -> str:
    """Return a prompt with a tag for each rule, in place of those of the same file, which had no effect."""
    files = [file for rule in rules if networks is not None and (file := file_named(networks, rule.lora)) is not None]
    names = {rule.lora for rule in rules}

    def left(tag: re.Match[str]) -> str:
        file = None if networks is None else file_named(networks, tag[1])
        same = tag[1] in names or (file is not None and any(same_file(file, other) for other in files))
        return "" if same else tag[0]

    return " ".join([re.sub(r"\s*<(?:lora|lyco):([^:>]+)[^>]*>", left, prompt), *map(_tag, rules)]).strip()


def _tag(rule: Rule) -> str:
    return f"<lora:{rule.lora}:{rule.weight:g}>"
