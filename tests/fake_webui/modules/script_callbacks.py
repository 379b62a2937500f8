"""What extensions register; a callback that fails is reported, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

callback_map: dict[str, list[Callable[..., Any]]] = {
    "app_started": [],
    "ui_tabs": [],
    "ui_settings": [],
    "on_reload": [],
    "infotext_pasted": [],
}
failures: list[Exception] = []


def on_app_started(callback: Callable[..., Any]) -> None:
    callback_map["app_started"].append(callback)


def on_before_reload(callback: Callable[..., Any]) -> None:
    callback_map["on_reload"].append(callback)


def on_ui_tabs(callback: Callable[..., Any]) -> None:
    callback_map["ui_tabs"].append(callback)


def on_ui_settings(callback: Callable[..., Any]) -> None:
    callback_map["ui_settings"].append(callback)


def on_infotext_pasted(callback: Callable[..., Any]) -> None:
    callback_map["infotext_pasted"].append(callback)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    for callback in callback_map["infotext_pasted"]:
        _try(callback, infotext, params)


def app_started_callback(demo: Any, app: Any) -> None:
    for callback in callback_map["app_started"]:
        _try(callback, demo, app)


def app_reload_callback() -> None:
    for callback in callback_map["on_reload"]:
        _try(callback)


def ui_tabs_callback() -> list[Any]:
    return [tab for callback in callback_map["ui_tabs"] for tab in _try(callback) or []]


def ui_settings_callback() -> None:
    for callback in callback_map["ui_settings"]:
        _try(callback)


def clear_callbacks() -> None:
    """Forget all callbacks, as before the scripts run again."""
    for callbacks in callback_map.values():
        callbacks.clear()


def _try(callback: Callable[..., Any], *args: Any) -> Any:
    try:
        return callback(*args)
    except Exception as error:
        failures.append(error)
        return None
