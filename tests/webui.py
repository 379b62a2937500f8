"""A fresh stand-in for the web UI for each test."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FAKE = Path(__file__).parent / "fake_webui"
_OURS = tuple(f"erasure.host.webui{name}" for name in ("", "_always_on", "_always_setting", "_model", "_watch"))
_OF_LORA = ("networks", "extra_networks_lora")


@dataclass
class WebUI:
    """The stand-in's modules as attributes, ``webui.sd_models``; ``root`` is its folder."""

    root: Path
    _imported: dict[str, ModuleType] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"modules.{name}")

    @property
    def models(self) -> Path:
        return self.root / "models" / "Stable-diffusion"

    def forge(self) -> Any:
        return importlib.import_module("forge").Forge()

    def loras(self, alias: bool = True) -> Any:
        """Turn on the web UI's own Lora extension, as at every start, and return what it knows."""
        importlib.import_module("extra_networks_lora").before_ui(alias)
        return importlib.import_module("networks")

    def host(self) -> Any:
        return importlib.import_module("erasure.host.webui").host()


def _forget() -> None:
    for name in [*sys.modules]:
        if name in ("modules", "modules_forge", "forge", "launch", *_OURS, *_OF_LORA) or name.startswith("modules."):
            del sys.modules[name]
    host = sys.modules.get("erasure.host")
    for name in _OURS:
        if host is not None and hasattr(host, name.rpartition(".")[2]):
            delattr(host, name.rpartition(".")[2])


def start_webui(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    """Yield a stand-in with two checkpoints without weights, ``a.safetensors`` and ``sub/b.safetensors``."""
    monkeypatch.setenv("FAKE_WEBUI_ROOT", str(root))
    monkeypatch.syspath_prepend(str(FAKE))
    _forget()
    webui = WebUI(root)
    for name in ("a.safetensors", "sub/b.safetensors"):
        path = webui.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    webui.sd_models.list_models()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield webui
    for number, handler in handlers.items():
        signal.signal(number, handler)
    _forget()
