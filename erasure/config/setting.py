"""One setting's description: its help line, its group and what it may be."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, get_args

GROUPS = ("concepts", "concept space", "adversary", "loss", "latents", "training", "lora", "output")
_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """``type`` is one of tuple (of texts), bool, int, float and str; ``low`` and ``high`` are inclusive, ``usual`` is
    shown to people; ``choices`` is empty unless it is a choice; ``decides_space``: another value may give another
    concept space."""

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
    """A dataclass field with its description; ``choices`` is a Literal, ``more`` as in :class:`Setting`."""
    assert group in GROUPS
    about = {"help": help, "group": group, "choices": get_args(choices) if choices is not None else (), **more}
    return field(default=default, metadata={_KEY: about})


def setting_of(field: Field[Any]) -> Setting | None:
    """The description of a dataclass field; None for a field that is no setting."""
    about = field.metadata.get(_KEY)
    return None if about is None else Setting(field.name, type(field.default), field.default, **about)
