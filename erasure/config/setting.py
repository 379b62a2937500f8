"""The description of a setting: its help line, its group and its allowed values."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, get_args

GROUPS = ("concepts", "concept space", "adversary", "loss", "latents", "training", "lora", "judging", "output")
_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """The description of one setting.

    ``type`` is tuple (of texts), bool, int, float or str. ``low`` and ``high`` are inclusive; ``usual`` is a hint for
    people. ``choices`` is empty unless the value is one of a few. ``decides_space``: changing it may change the concept
    space.
    """

    name: str
    type: type
    default: Any
    help: str
    group: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    usual: str = ""
    decides_space: bool = False


def setting(default: Any, help: str, group: str, *, choices: Any = None, **more: Any) -> Any:
    """Return a dataclass field with its description; ``choices`` is a Literal, ``more`` as in :class:`Setting`."""
    assert group in GROUPS
    about = {"help": help, "group": group, "choices": get_args(choices) if choices is not None else (), **more}
    return field(default=default, metadata={_KEY: about})


def setting_of(field: Field[Any]) -> Setting | None:
    """Return the description of a dataclass field, or None if the field is not a setting."""
    about = field.metadata.get(_KEY)
    return None if about is None else Setting(field.name, type(field.default), field.default, **about)
