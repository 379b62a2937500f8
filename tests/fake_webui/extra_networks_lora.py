"""The web UI's own Lora extension: the network "lora", also called "lyco" in AUTOMATIC1111."""

from __future__ import annotations

from typing import Any

import networks
from modules import extra_networks


class ExtraNetworkLora(extra_networks.ExtraNetwork):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("lora")

    def activate(self, p: Any, params_list: list[extra_networks.ExtraNetworkParams]) -> None:
        names, te, unet = [], [], []
        for params in params_list:
            names.append(params.positional[0])
            first = float(params.positional[1]) if len(params.positional) > 1 else 1.0
            te.append(float(params.named.get("te", first)))
            second = float(params.positional[2]) if len(params.positional) > 2 else te[-1]
            unet.append(float(params.named.get("unet", second)))
        networks.load_networks(names, te, unet)


def before_ui(alias: bool = True) -> None:
    """As at every start and "Reload UI", a new one is registered."""
    network = ExtraNetworkLora()
    extra_networks.register_extra_network(network)
    if alias:
        extra_networks.register_extra_network_alias(network, "lyco")
