"""The LoRA files that the web UI's own Lora extension knows, and those that are on: (file's name, te, unet)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modules import shared

available_networks: dict[str, NetworkOnDisk] = {}
available_network_aliases: dict[str, NetworkOnDisk] = {}
forbidden_network_aliases: dict[str, int] = {}
loaded_networks: list[tuple[str, float, float]] = []
strict = False  # as Forge: an unknown name is an error, and nothing is turned on or off


class NetworkOnDisk:
    def __init__(self, name: str, filename: str) -> None:
        self.name = name
        self.filename = filename
        self.alias = _stated_name(filename) or name


def list_available_networks() -> None:
    available_networks.clear()
    available_network_aliases.clear()
    forbidden_network_aliases.clear()
    for path in sorted(Path(shared.cmd_opts.lora_dir).rglob("*.safetensors")):
        entry = NetworkOnDisk(path.stem, str(path))
        available_networks[entry.name] = entry
        if entry.alias in available_network_aliases:
            forbidden_network_aliases[entry.alias.lower()] = 1
        available_network_aliases[entry.name] = entry
        available_network_aliases[entry.alias] = entry


def load_networks(names: list[str], te_multipliers: list[float], unet_multipliers: list[float]) -> None:
    found: list[Any] = [available_network_aliases.get(name) for name in names]
    if None in found:
        list_available_networks()
        found = [available_network_aliases.get(name) for name in names]
    if strict and None in found:
        raise AttributeError("'NoneType' object has no attribute 'filename'")
    loaded_networks[:] = [
        (Path(entry.filename).name, te, unet)
        for entry, te, unet in zip(found, te_multipliers, unet_multipliers, strict=True)
        if entry is not None
    ]


def _stated_name(filename: str) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(filename, framework="np") as file:
            return str((file.metadata() or {}).get("ss_output_name", ""))
    except (SafetensorError, OSError):
        return ""
