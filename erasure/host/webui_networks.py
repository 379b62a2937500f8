"""Which file a web UI takes for a name in a prompt: asked of its own Lora extension, which is not in ``modules``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def networks_of(network: Any) -> Any:
    """Return the module of the web UI that knows its LoRA files, None if there is none."""
    networks = getattr(sys.modules.get(type(network).__module__), "networks", None)
    return networks if hasattr(networks, "available_networks") else None


def file_named(networks: Any, name: str) -> Path | None:
    """Return the file that the web UI takes for a name, which may be an alias; None if there is none."""
    found = _look_up(networks, name)
    if found is None:
        networks.list_available_networks()  # as it does itself then
        found = _look_up(networks, name)
    path = None if found is None else Path(found.filename)
    return path if path is not None and path.is_file() else None


def _look_up(networks: Any, name: str) -> Any:
    plain: Mapping[str, Any] = networks.available_networks
    aliases: Mapping[str, Any] = networks.available_network_aliases
    ambiguous = name.lower() in networks.forbidden_network_aliases
    return plain.get(name) if ambiguous else aliases.get(name)


def same_file(one: Path, other: Path) -> bool:
    """Return whether both are one file, by links as well."""
    try:
        return one.samefile(other)
    except OSError:
        return one == other
