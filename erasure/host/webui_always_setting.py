"""Where a web UI keeps the list of LoRAs that are always on: in its settings, or on its command line."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules import shared

from erasure.errors import RunError
from erasure.host.always_on import FLAG, HOUSE_RULE, AlwaysOn, Rule, read_rules, rules_text
from erasure.whole_file import write_json

OPTION = "adversarial_erase_always"  # the setting; also the flag's name, as preload.py adds it


def always_on() -> AlwaysOn:
    """Return the list of the command line, which is fixed, or else that of the settings."""
    flagged = getattr(shared.cmd_opts, OPTION, None)
    if flagged:
        listed = read_rules("\n".join(flagged))
        return AlwaysOn(listed.rules, f"The web UI was started with {FLAG}.", listed.problems)
    listed = read_rules(getattr(shared.opts, OPTION, ""))
    return AlwaysOn(listed.rules, _frozen(), listed.problems)


def set_always_on(rules: Sequence[Rule]) -> None:
    """Write the list into the web UI's settings. Raises: RunError if it is fixed, or the file cannot be written."""
    fixed = always_on().fixed
    if fixed:
        raise RunError(fixed)
    text = rules_text(rules)
    file = Path(shared.config_filename).resolve()
    try:
        # This one alone: the web UI's own way to save would also keep what a picture that is being drawn overrides.
        values = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        write_json(file, {**values, OPTION: text})
    except (OSError, TypeError, ValueError) as error:
        raise RunError(f"the web UI's settings could not be saved in {file.name}: {error}") from error
    shared.opts.data[OPTION] = text


def add_setting(section: tuple[str, str]) -> None:
    """Add the setting to the settings page, or a line in its place if the list is the command line's."""
    shared.opts.add_option(OPTION, _told(section) if getattr(shared.cmd_opts, OPTION, None) else _asked(section))
    # Whoever closes folders to visitors (--hide-ui-dir-config) does not want them to lift a house rule.
    shared.opts.restricted_opts.add(OPTION)


def _asked(section: tuple[str, str]) -> Any:
    import gradio as gr

    return shared.OptionInfo(
        "",
        "Always on: LoRAs that are in every picture, one in a line",
        gr.Textbox,
        {"lines": 3, "placeholder": "NAME:WEIGHT, or NAME:WEIGHT @ CHECKPOINT"},
        section=section,
        restrict_api=True,  # or any request, also one for a picture, could lift the rule
    ).info(f"empty: none. {HOUSE_RULE}")


def _told(section: tuple[str, str]) -> Any:
    listed = always_on()
    said = f"Always on: {', '.join(map(str, listed.rules))}. {listed.fixed} {HOUSE_RULE}"
    return shared.options_section(section, {OPTION: shared.OptionHTML(html.escape(said))})[OPTION]


def _frozen() -> str:
    """Return why the web UI lets nobody change the setting, "" if it does: a copy of its settings is asked to."""
    if OPTION not in shared.opts.data_labels:  # before the page is made
        return ""
    # Not the settings themselves: writing back what was read would undo what another thread sets meanwhile.
    tried = object.__new__(type(shared.opts))
    tried.__dict__.update(vars(shared.opts))
    tried.__dict__["data"] = {OPTION: ""}
    try:
        setattr(tried, OPTION, "")
    except (AssertionError, RuntimeError) as error:
        return f"This web UI's settings are closed: {error}."
    return ""
