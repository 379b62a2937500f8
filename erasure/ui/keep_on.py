"""The LoRAs that are always on, as the tab shows them, and what its buttons do with them."""

from __future__ import annotations

from markupsafe import Markup

from erasure.host.always_on import FLAG, HOUSE_RULE, make_rule, without_rule
from erasure.host.base import Host
from erasure.host.kept_on import Kept, in_force, kept_on, turn_on
from erasure.ui.html import box, button, element, empty_html, icon, join, notes_html, problems_html, quiet

KEEP_OFF = "keep-off"
_PART = "\t"  # between the parts of a button's value; no name holds it


def kept_html(host: Host) -> Markup:
    """Return the host's list, with a button to turn each off where that can be done here."""
    listed = host.always_on()
    notes = [HOUSE_RULE, listed.fixed or f"Whoever can open this page can change the list; {FLAG} fixes it."]
    if not listed.rules and not listed.problems:
        return empty_html("No LoRA is always on.", " ".join(notes))
    rows = (_row(kept, bool(listed.fixed)) for kept in kept_on(host))
    return join(
        [box("kept", element("ul", *rows, class_="ae-list")), problems_html(listed.problems), notes_html(notes)]
    )


def _row(kept: Kept, fixed: bool) -> Markup:
    rule = kept.rule
    where = f"for {rule.checkpoint} only" if rule.checkpoint else "for all checkpoints"
    now = "" if kept.in_force else ", not the one chosen now" if rule.checkpoint else ", but another rule comes first"
    said = element("p", element("strong", rule.lora), f" at weight {rule.weight:g} ", quiet(f"{where}{now}"))
    value = _PART.join((rule.lora, rule.checkpoint))
    question = f"Turn {rule.lora} off? Pictures are then drawn without it."
    off = button(
        "Turn off", KEEP_OFF, value, title=f"let {rule.lora} be left out", confirm=question, kind="quiet-button"
    )
    mark = icon("warning" if kept.problem else "check")
    body = element("div", said, problems_html([kept.problem]))
    return element("li", mark, body, Markup("") if fixed else off, class_="ae-kept-row")


def keep(host: Host, lora: str, weight: float, checkpoint: str) -> None:
    """Keep a file of the Lora folder on, for a checkpoint or, if that is "", for all. Raises: EraseError."""
    turn_on(host, make_rule(lora, weight, checkpoint))


def turn_off(host: Host, value: str) -> None:
    """Turn off the rule whose button was pressed. Raises: RunError if the list is fixed."""
    lora, _, checkpoint = value.partition(_PART)
    host.set_always_on(without_rule(host.always_on().rules, lora, checkpoint))


def kept_weights(host: Host) -> dict[str, float]:
    """Return name -> weight of the LoRAs that are in every picture of the chosen checkpoint."""
    current = host.current_checkpoint()
    rules = in_force(host.always_on().rules, () if current is None else (current.title,))
    return {rule.lora: rule.weight for rule in rules}
