"""The tab's gradio components, by what they are for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Components:
    """All components of one tab, by name.

    ``settings``: one control per setting of the config, in its order. ``main``: controls that are no setting.
    ``blocks``: HTML. ``calls``: hidden buttons that the page's script presses. ``message``: the hidden box for what the
    page sends with a call."""

    settings: dict[str, Any] = field(default_factory=dict)
    main: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)
    message: Any = None
