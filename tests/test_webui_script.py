"""The script that the web UI runs: the tab, the settings and the API, on "Reload UI" once more, and when it fails."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from erasure.host import loaded_code
from tests.webui import WebUI, start_webui

SCRIPT = Path(__file__).parents[1] / "scripts" / "adversarial_erase.py"


class Blocks:
    """As gradio's, it collects what is made inside."""

    now: Blocks | None = None

    def __init__(self, **arguments: Any) -> None:
        self.texts: list[str] = []
        self.blocked_paths: list[str] = []

    def __enter__(self) -> Blocks:
        Blocks.now = self
        return self

    def __exit__(self, *error: object) -> None:
        Blocks.now = None


def html(value: str) -> None:
    assert Blocks.now is not None
    Blocks.now.texts.append(value)


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    gradio = ModuleType("gradio")
    vars(gradio).update(Blocks=Blocks, HTML=html, Dropdown=object(), Textbox=object())
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    tab, routes = ModuleType("erasure.ui.tab"), ModuleType("erasure.api.routes")
    vars(tab).update(build_tab=lambda host, manager: html("the tab"))
    mounted: list[Any] = []
    vars(routes).update(mount_api=lambda *arguments: mounted.append(arguments), mounted=mounted, PREFIX="/api")
    monkeypatch.setitem(sys.modules, "erasure.ui.tab", tab)
    monkeypatch.setitem(sys.modules, "erasure.api.routes", routes)
    yield from start_webui(tmp_path / "webui", monkeypatch)


def run_script(webui: WebUI) -> dict[str, Any]:
    """As the web UI does at the start and on "Reload UI": callbacks of before are gone, the script is a new module."""
    webui.script_callbacks.clear_callbacks()
    return runpy.run_path(str(SCRIPT))


def test_the_tab_is_there(webui: WebUI) -> None:
    run_script(webui)
    [(blocks, title, elem_id)] = webui.script_callbacks.ui_tabs_callback()
    assert (blocks.texts, title, elem_id) == (["the tab"], "Adversarial Erase", "adversarial_erase")
    assert not webui.script_callbacks.failures


def test_reload_ui_keeps_host_and_manager(webui: WebUI) -> None:
    pytest.importorskip("starlette")
    mounted = sys.modules["erasure.api.routes"].mounted
    for app in ("first app", "second app"):
        run_script(webui)
        webui.script_callbacks.ui_tabs_callback()
        webui.script_callbacks.app_started_callback(Blocks(), SimpleNamespace(name=app))
        webui.script_callbacks.app_reload_callback()
    assert not webui.script_callbacks.failures
    (first, manager, host, _), (second, same_manager, same_host, _) = mounted
    assert (first.name, second.name) == ("first app", "second app")
    assert same_manager is manager
    assert same_host is host
    assert manager.snapshots() == []
    manager.close()


def test_reload_ui_after_an_update_asks_for_a_restart(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    run_script(webui)
    monkeypatch.setattr(loaded_code, "_LOADED", "of the files that were there before the update")
    run_script(webui)
    [(blocks, title, _)] = webui.script_callbacks.ui_tabs_callback()
    assert title == "Adversarial Erase"
    assert "updated" in blocks.texts[0]
    assert "Reload UI is not enough" in blocks.texts[0]


def test_an_update_is_told_by_names_and_content_of_code_alone(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "part").mkdir(parents=True)
    file = folder / "part" / "one.py"
    file.write_text("a = 1")
    before = loaded_code.fingerprint(folder)
    (folder / "part" / "one.pyc").write_text("compiled")
    os.utime(file, (1, 1))
    assert loaded_code.fingerprint(folder) == before
    file.write_text("a = 2")
    changed = loaded_code.fingerprint(folder)
    file.rename(folder / "part" / "two.py")
    assert len({before, changed, loaded_code.fingerprint(folder)}) == 3


def test_jobs_are_closed_before_the_web_ui_ends_itself(webui: WebUI) -> None:
    pytest.importorskip("starlette")
    from erasure.errors import JobConflict

    run_script(webui)
    webui.script_callbacks.app_started_callback(Blocks(), SimpleNamespace())
    [(_, manager, _, _)] = sys.modules["erasure.api.routes"].mounted
    webui.restart.stop_program()
    assert webui.restart.ended == 1
    with pytest.raises(JobConflict, match="the program is ending"):
        manager.resume("any")


def test_the_api_asks_for_the_web_uis_own_logins(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette")
    from erasure.api import guard

    asked: list[Any] = []

    def make_guard(*given: Any) -> str:
        asked.append(given)
        return "the guard"

    monkeypatch.setattr(guard, "make_guard", make_guard)
    webui.shared.cmd_opts.api_auth = "me:secret"
    run_script(webui)
    app = SimpleNamespace()
    webui.script_callbacks.app_started_callback(None, app)
    assert not webui.script_callbacks.failures
    assert asked == [(app, "me:secret")]
    assert sys.modules["erasure.api.routes"].mounted[0][3] == "the guard"


def test_runs_are_kept_from_gradio_once_the_page_is_there(webui: WebUI) -> None:
    run_script(webui)
    demo = Blocks()
    webui.script_callbacks.app_started_callback(demo, SimpleNamespace())
    assert demo.blocked_paths == [str(webui.root / "adversarial-erase")]


def test_the_api_is_there_without_a_page(webui: WebUI) -> None:
    pytest.importorskip("starlette")
    run_script(webui)
    webui.script_callbacks.app_started_callback(None, SimpleNamespace())
    assert len(sys.modules["erasure.api.routes"].mounted) == 1
    assert not webui.script_callbacks.failures


def test_the_settings_are_there_and_keep_what_was_chosen(webui: WebUI) -> None:
    webui.shared.opts.data["adversarial_erase_device"] = "cpu"
    run_script(webui)
    webui.script_callbacks.ui_settings_callback()
    assert not webui.script_callbacks.failures
    assert webui.shared.opts.adversarial_erase_device == "cpu"
    assert webui.shared.opts.adversarial_erase_data == ""
    sections = {info.section for key, info in webui.shared.opts.data_labels.items() if key.startswith("adversarial")}
    assert sections == {("adversarial_erase", "Adversarial Erase")}
    assert webui.shared.opts.data_labels["adversarial_erase_data"].restrict_api


def test_missing_packages_give_one_line_with_the_command(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    from erasure.host import requirements

    def version(name: str) -> str:
        if name == "transformers":
            return "4.30.2"
        raise PackageNotFoundError(name)

    unmet = requirements.unmet
    monkeypatch.setattr(requirements, "unmet", lambda: unmet(version))
    run_script(webui)
    [(blocks, title, _)] = webui.script_callbacks.ui_tabs_callback()
    assert title == "Adversarial Erase"
    [line] = blocks.texts
    assert "diffusers is not installed, peft is not installed" in line
    assert "-m pip install &quot;diffusers&gt;=0.30,&lt;0.32&quot;" in line
    webui.script_callbacks.app_started_callback(Blocks(), SimpleNamespace())
    assert not sys.modules["erasure.api.routes"].mounted
    assert not webui.script_callbacks.failures


def test_a_failing_import_gives_one_line_and_the_web_ui_starts(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "erasure.host.webui", None)
    run_script(webui)
    [(blocks, _, _)] = webui.script_callbacks.ui_tabs_callback()
    assert len(blocks.texts) == 1
    assert "erasure.host.webui cannot be imported" in blocks.texts[0]


def test_on_sd_next_the_tab_says_in_one_line_that_it_is_not_supported(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What it has in common with the web UIs it began as: the names of callbacks, and some others by other meanings.
    (tmp_path / "next" / "modules").mkdir(parents=True)
    (tmp_path / "next" / "installer.py").touch()
    for name in ("call_queue", "devices", "paths_internal", "progress", "sd_models", "shared"):
        monkeypatch.setitem(sys.modules, f"modules.{name}", ModuleType(f"modules.{name}"))
    monkeypatch.setattr(webui.script_callbacks, "__file__", str(tmp_path / "next" / "modules" / "script_callbacks.py"))
    run_script(webui)
    [(blocks, title, _)] = webui.script_callbacks.ui_tabs_callback()
    assert title == "Adversarial Erase"
    [line] = blocks.texts
    assert "Adversarial Erase does not support SD.Next" in line
    webui.script_callbacks.ui_settings_callback()
    webui.script_callbacks.app_started_callback(Blocks(), SimpleNamespace())
    assert not sys.modules["erasure.api.routes"].mounted
    assert not webui.script_callbacks.failures


@pytest.mark.parametrize(
    ("module", "name"), [("progress", "create_task_id"), ("sd_models", "send_model_to_device"), ("shared", "state")]
)
def test_a_web_ui_that_lacks_what_is_used_of_it_is_named_before_anything_runs(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.delattr(getattr(webui, module), name)
    run_script(webui)
    [(blocks, _, _)] = webui.script_callbacks.ui_tabs_callback()
    [line] = blocks.texts
    assert f"does not support this web UI (modules.{module} has no {name})" in line


def test_a_missing_module_of_the_web_ui_is_no_package_to_install(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    import modules

    webui.sd_models  # noqa: B018  what imports them all
    monkeypatch.delattr(modules, "paths_internal")
    monkeypatch.setitem(sys.modules, "modules.paths_internal", None)
    run_script(webui)
    [(blocks, _, _)] = webui.script_callbacks.ui_tabs_callback()
    [line] = blocks.texts
    assert "does not support this web UI" in line
    assert "pip install" not in line


def test_a_tab_that_cannot_be_made_gives_one_line(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: object, manager: object) -> None:
        raise TypeError("no <b>such</b> argument")

    monkeypatch.setattr(sys.modules["erasure.ui.tab"], "build_tab", fail)
    run_script(webui)
    [(blocks, _, _)] = webui.script_callbacks.ui_tabs_callback()
    assert "TypeError: no &lt;b&gt;such&lt;/b&gt; argument" in blocks.texts[0]
