"""What prompts turn on by tags, ``<lora:name:1>``: networks by name, and their other names."""

from __future__ import annotations

import re
from typing import Any

extra_network_registry: dict[str, ExtraNetwork] = {}
extra_network_aliases: dict[str, ExtraNetwork] = {}


def register_extra_network(extra_network: ExtraNetwork) -> None:
    extra_network_registry[extra_network.name] = extra_network


def register_extra_network_alias(extra_network: ExtraNetwork, alias: str) -> None:
    extra_network_aliases[alias] = extra_network


class ExtraNetworkParams:
    """The parts of one tag."""

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items = items or []
        pairs = [(item, item.split("=", 2) if isinstance(item, str) else [item]) for item in self.items]
        self.positional = [item for item, parts in pairs if len(parts) != 2]
        self.named = {parts[0]: parts[1] for _, parts in pairs if len(parts) == 2}


class ExtraNetwork:
    def __init__(self, name: str) -> None:
        self.name = name

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        raise NotImplementedError


def activate(p: Any, extra_network_data: dict[str, list[ExtraNetworkParams]]) -> None:
    """Turn on what the data asks for, then all others, and those that failed, without anything."""
    asked: dict[ExtraNetwork, list[ExtraNetworkParams]] = {}
    for name, params in extra_network_data.items():
        network = extra_network_registry.get(name) or extra_network_aliases.get(name)
        if network is not None:
            asked.setdefault(network, []).extend(params)
    done = [network for network, params in asked.items() if _activated(network, p, params)]
    for network in extra_network_registry.values():
        if network not in done:
            _activated(network, p, [])


def parse_prompts(prompts: list[str]) -> tuple[list[str], dict[str, list[ExtraNetworkParams]]]:
    """Return the prompts without tags, and the tags of the first."""
    tag = re.compile(r"<(\w+):([^>]+)>")
    data: dict[str, list[ExtraNetworkParams]] = {}
    for name, parts in tag.findall(prompts[0]):
        data.setdefault(name, []).append(ExtraNetworkParams(parts.split(":")))
    return [tag.sub("", prompt) for prompt in prompts], data


def _activated(network: ExtraNetwork, p: Any, params: list[ExtraNetworkParams]) -> bool:
    try:
        network.activate(p, params)
    except Exception:  # the real one prints it
        return False
    return True
