"""The settings."""

from __future__ import annotations

from typing import Any


class OptionInfo:
    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Any = None,
        section: Any = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: Any = None,
        restrict_api: bool = False,
        category_id: Any = None,
    ) -> None:
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.section = section
        self.comment_after = comment_after
        self.restrict_api = restrict_api
        self.do_not_save = False

    def info(self, info: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({info})</span>"
        return self

    def needs_restart(self) -> OptionInfo:
        return self.info("requires restart")


class Options:
    """The settings and their values; an option that was not added raises AttributeError."""

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: Any) -> None:
        self.data_labels = data_labels
        self.data = {key: info.default for key, info in data_labels.items()}

    def __getattr__(self, item: str) -> Any:
        labels = self.__dict__.get("data_labels", {})
        if item in self.__dict__.get("data", {}):
            return self.__dict__["data"][item]
        if item in labels:
            return labels[item].default
        raise AttributeError(item)

    def add_option(self, key: str, info: OptionInfo) -> None:
        """Add an option; a value from the settings file stays."""
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default
