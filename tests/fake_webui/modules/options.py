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


class OptionHTML(OptionInfo):
    """A text in the place of a setting, without a value."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.do_not_save = True


def options_section(section_identifier: Any, options_dict: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    for info in options_dict.values():
        info.section = section_identifier
    return options_dict


class Options:
    """The settings and their values; an option that was not added raises AttributeError."""

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: Any) -> None:
        self.__dict__.update(
            data_labels=data_labels,
            data={key: info.default for key, info in data_labels.items()},
            restricted_opts=restricted_opts,
        )

    def __setattr__(self, key: str, value: Any) -> None:
        """Set a setting's value, or refuse to with the errors that the real one raises."""
        from modules.shared import cmd_opts

        if key not in self.data and key not in self.data_labels:
            super().__setattr__(key, value)
            return
        assert not cmd_opts.freeze_settings, "changing settings is disabled"
        if self.data_labels[key].do_not_save:
            return
        if cmd_opts.hide_ui_dir_config and key in self.restricted_opts:
            raise RuntimeError(f"not possible to set '{key}' because it is restricted with --hide_ui_dir_config")
        self.data[key] = value

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        option = self.data_labels[key]
        if option.do_not_save or (is_api and option.restrict_api):
            return False
        setattr(self, key, value)
        return True

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
