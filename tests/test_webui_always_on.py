"""LoRAs that are always on in a web UI, against a stand-in: whatever a prompt or a request says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from erasure.errors import RunError
from erasure.host.always_on import AlwaysOn, Rule
from erasure.host.base import TextToImage
from tests.loras import random_lora
from tests.webui import WebUI, start_webui

OPTION = "adversarial_erase_always"
KEPT, NOT_KEPT = "Always on", "Not kept on"
CHURCH = ("church.safetensors", 1.0, 1.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LoRA files: one for the tiny model, one with another name in it, one that says it is for SDXL."""
    folder = tmp_path_factory.mktemp("loras")
    random_lora(folder / "plain.safetensors")
    random_lora(folder / "named.safetensors", None, {"ss_output_name": "the church"})
    random_lora(folder / "xl.safetensors", None, {"ss_base_model_version": "sdxl_base_v1-0"})
    return folder


@pytest.fixture
def webui(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    for webui in start_webui(tmp_path / "webui", monkeypatch):
        lora_folder(webui).mkdir(parents=True)
        for name in ("church", "truck"):
            shutil.copy(files / "plain.safetensors", lora_folder(webui) / f"{name}.safetensors")
        webui.loras()
        yield webui


def lora_folder(webui: WebUI) -> Path:
    return webui.root / "models" / "Lora"


@pytest.fixture
def kept(webui: WebUI) -> WebUI:
    """A web UI that keeps church on."""
    set_rules(webui, "church")
    return webui


def set_rules(webui: WebUI, text: str) -> None:
    webui.host()  # it watches from now on
    webui.shared.opts.data[OPTION] = text


def draw(webui: WebUI, prompt: str = "a church", **options: Any) -> Any:
    """Draw a picture as a tab does. Return what was asked for, with the networks that were on in ``on``."""
    p = webui.processing.StableDiffusionProcessingTxt2Img(prompt=prompt, seed=1, steps=1, **options)
    p.pictures = webui.processing.process_images(p).images
    p.on = sorted(webui.loras_on())
    return p


@pytest.fixture(autouse=True)
def _what_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(WebUI, "loras_on", lambda self: list(sys.modules["networks"].loaded_networks), raising=False)


def test_nothing_is_on_before_anybody_asks_for_it(webui: WebUI) -> None:
    set_rules(webui, "")
    p = draw(webui)
    assert (p.on, p.extra_generation_params, p.comments) == ([], {}, {})
    assert draw(webui, "a church <lora:church:-1>").on == [("church.safetensors", -1.0, -1.0)]
    assert webui.host().always_on() == AlwaysOn()


def test_it_is_on_and_said_in_the_infotext(kept: WebUI) -> None:
    p = draw(kept)
    assert p.on == [CHURCH]
    assert p.extra_generation_params == {KEPT: "<lora:church:1>"}
    assert p.comments == {}
    assert p.pictures[0].tobytes() == draw(kept, "a church<lora:church:1>").pictures[0].tobytes()


@pytest.mark.parametrize(
    "tag",
    [
        "<lora:church:-1>",
        "<lora:church:0>",
        "<lora:church:1:0>",
        "<lora:church:1:unet=-1>",
        "<lora:church:1:1:8>",
        "<lora:church:1:dyn=1>",
        "<lyco:church:-1>",
        "<lora:church:-1><lyco:church:-1><lora:church:0.5>",
        "<lora:church:2>",
        "<lora:church:abc>",
    ],
)
def test_no_tag_turns_it_off_and_that_is_said(kept: WebUI, tag: str) -> None:
    p = draw(kept, f"a church {tag}")
    assert p.on == [CHURCH]
    assert all("church is always on here, at weight 1" in comment for comment in p.comments)
    assert p.comments


def test_a_tag_that_says_the_same_is_not_worth_a_word(kept: WebUI) -> None:
    for tag in ("<lora:church:1>", "<lora:church>", "<lora:church:te=1:unet=1.0>"):
        p = draw(kept, f"a church {tag}")
        assert (p.on, p.comments) == ([CHURCH], {})


def test_other_names_of_the_same_file_are_the_same(kept: WebUI, files: Path) -> None:
    folder = lora_folder(kept)
    shutil.copy(files / "named.safetensors", folder / "church.safetensors")
    kept.loras().list_available_networks()
    (folder / "link.safetensors").symlink_to(folder / "church.safetensors")
    os.link(folder / "church.safetensors", folder / "hard.safetensors")
    for name in ("the church", "link", "hard"):
        assert draw(kept, f"a church <lora:{name}:-1>").on == [CHURCH]


def test_other_loras_keep_their_weights(kept: WebUI) -> None:
    p = draw(kept, "a church <lora:truck:0.7:0.3> <lora:church:0>")
    assert p.on == [CHURCH, ("truck.safetensors", 0.7, 0.3)]
    kept.shared.opts.data[OPTION] = "church\ntruck:0.5"
    p = draw(kept, "a church <lora:truck:0.7>")
    assert p.on == [CHURCH, ("truck.safetensors", 0.5, 0.5)]
    assert p.extra_generation_params[KEPT] == "<lora:church:1> <lora:truck:0.5>"


@pytest.mark.parametrize("tag", ["<lora:church:abc>", "<lora:a=b>", "<lora:truck:x>", "<lora::>", "<lora:nope:1>"])
@pytest.mark.parametrize("forge", [False, True])
def test_a_tag_that_breaks_the_web_uis_own_reading_leaves_it_on(kept: WebUI, forge: bool, tag: str) -> None:
    if forge:  # there an unknown name is an error, too
        kept.forge()
        kept.loras().strict = True
    assert draw(kept, "a church").on == [CHURCH]
    assert draw(kept, f"a church {tag}").on == [CHURCH]


def test_a_request_without_any_networks_has_it_alone(kept: WebUI) -> None:
    draw(kept, "<lora:truck:1>")
    p = draw(kept, "<lora:truck:1>", disable_extra_networks=True, n_iter=2, enable_hr=True)
    assert p.on == [CHURCH]
    kept.shared.opts.data[OPTION] = ""
    assert draw(kept, "<lora:truck:1>", disable_extra_networks=True).disable_extra_networks


def test_hires_fix_has_it_in_both_passes_whatever_its_own_prompt_says(kept: WebUI) -> None:
    prompts = {"prompt": "a church <lora:church:-1>", "hr_prompt": "a church at night <lora:church:0>"}
    p = draw(kept, **prompts, enable_hr=True)
    assert p.extra_generation_params == {KEPT: "<lora:church:1>"}
    assert len(p.comments) == 2
    clean = draw(kept, "a church ", enable_hr=True, hr_prompt="a church at night")
    assert p.pictures[0].tobytes() == clean.pictures[0].tobytes()


def test_all_pictures_of_several_batches_have_it(kept: WebUI) -> None:
    p = draw(kept, "a church <lora:church:0>", n_iter=3)
    assert [one.tobytes() for one in p.pictures] == [
        one.tobytes() for one in draw(kept, "a church ", n_iter=3).pictures
    ]


def test_reload_ui_leaves_it_on(kept: WebUI) -> None:
    kept.loras()  # another network of the same name
    assert draw(kept, "a church <lora:church:-1>").on == [CHURCH]
    kept.loras()
    assert draw(kept, "a church").on == [CHURCH]


def test_pictures_that_the_extension_draws_in_the_web_ui_have_it(kept: WebUI) -> None:
    wanted = kept.host().draw(TextToImage("a church", steps=1, size=8))
    off = kept.host().draw(TextToImage("a church<lora:church:-1>", steps=1, size=8))
    assert off.tobytes() == wanted.tobytes()


def test_the_states_of_an_empty_prompt_are_left_alone(kept: WebUI) -> None:
    p = kept.processing.StableDiffusionProcessingTxt2Img()
    kept.extra_networks.activate(p, {})
    assert kept.loras_on() == []


def test_what_is_remembered_of_a_prompt_is_forgotten_when_the_list_changes(kept: WebUI) -> None:
    cache: list[Any] = ["a church", "its states"]
    p = kept.processing.StableDiffusionProcessingTxt2Img(prompt="a church", steps=1)
    p.cached_c = cache
    kept.processing.process_images(p)
    assert cache[0] is None
    cache[0] = "a church"
    kept.processing.process_images(p)
    assert cache[0] == "a church"


# --- for one checkpoint


def test_a_rule_for_a_checkpoint_holds_for_it_alone_and_for_a_refiner(webui: WebUI) -> None:
    set_rules(webui, "church @ sub/b.safetensors")
    assert draw(webui).on == []
    shared: dict[str, Any] = {"extra_generation_params": {}}
    webui.shared.opts.data["sd_model_checkpoint"] = "sub/b.safetensors"
    p = draw(webui, **shared)
    assert p.on == [CHURCH]
    # A grid of several checkpoints draws all of them with one set of parameters.
    webui.shared.opts.data["sd_model_checkpoint"] = "a.safetensors"
    assert draw(webui, **shared).extra_generation_params == {}
    p = webui.processing.StableDiffusionProcessingTxt2Img(prompt="a church", steps=1)
    p.refiner_checkpoint_info = webui.sd_models.checkpoint_aliases["sub/b.safetensors"]
    webui.processing.process_images(p)
    assert webui.loras_on() == [CHURCH]


# --- what goes wrong


def test_a_missing_file_is_loud_and_leaves_the_rest(kept: WebUI, capsys: pytest.CaptureFixture[str]) -> None:
    (lora_folder(kept) / "church.safetensors").unlink()
    p = draw(kept, "a truck <lora:truck:0.5>")
    assert p.on == [("truck.safetensors", 0.5, 0.5)]
    said = "there is no LoRA church in the Lora folder"
    assert p.extra_generation_params == {NOT_KEPT: said}
    assert p.comments == {f"Always on: {said}": 1}
    draw(kept)
    assert capsys.readouterr().err.count(said) == 1  # not for every picture
    shutil.copy(lora_folder(kept) / "truck.safetensors", lora_folder(kept) / "church.safetensors")
    assert draw(kept).on == [CHURCH]


def test_an_unreadable_file_is_loud_and_leaves_the_rest(kept: WebUI) -> None:
    (lora_folder(kept) / "church.safetensors").write_bytes(b"junk")
    p = draw(kept, "a truck <lora:truck:0.5>")
    assert p.on == [("truck.safetensors", 0.5, 0.5)]
    assert "church.safetensors cannot be read" in p.extra_generation_params[NOT_KEPT]


def test_a_file_for_another_kind_of_model_is_said(kept: WebUI, files: Path, tiny_checkpoint: Path) -> None:
    shutil.copy(files / "xl.safetensors", lora_folder(kept) / "church.safetensors")
    (kept.models / "a.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    p = draw(kept)
    assert "made for Stable Diffusion XL" in p.extra_generation_params[NOT_KEPT]


def test_a_setting_that_cannot_be_read_is_loud_and_its_other_lines_hold(kept: WebUI) -> None:
    kept.shared.opts.data[OPTION] = "church\ntruck:x"
    p = draw(kept)
    assert p.on == [CHURCH]
    assert "'x' in 'truck:x' is not a weight" in p.extra_generation_params[NOT_KEPT]
    assert kept.host().always_on().problems


def test_without_the_web_uis_lora_extension_a_picture_is_drawn_and_that_is_said(kept: WebUI) -> None:
    kept.extra_networks.extra_network_registry.clear()
    p = draw(kept)
    assert "Lora extension is off" in p.extra_generation_params[NOT_KEPT]


def test_an_error_of_ours_ends_no_picture(kept: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("erasure.host.webui_always_on.in_force", lambda *given: 1 / 0)
    p = draw(kept)
    assert len(p.pictures) == 1
    assert "could not be looked up" in p.extra_generation_params[NOT_KEPT]


# --- where the list is kept


def add_settings(webui: WebUI) -> Any:
    from erasure.host import webui as adapter

    pytest.importorskip("gradio")
    adapter.add_settings()
    return webui.shared.opts


def test_the_list_is_a_setting_that_no_request_can_change(kept: WebUI) -> None:
    opts = add_settings(kept)
    assert opts.data_labels[OPTION].restrict_api
    assert not opts.set(OPTION, "", is_api=True)
    assert draw(kept).on == [CHURCH]
    assert "house rule" in opts.data_labels[OPTION].comment_after


def test_looking_at_the_list_changes_no_setting(kept: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    opts = add_settings(kept)
    before = dict(opts.data)
    assert kept.host().always_on() == AlwaysOn((Rule("church"),))
    assert opts.data == before

    def refuse(*given: Any) -> None:
        raise AssertionError("frozen for a reason of its own")

    monkeypatch.setattr(type(opts), "__setattr__", refuse)
    assert "for a reason of its own" in kept.host().always_on().fixed


def test_setting_the_list_saves_it_and_nothing_else(webui: WebUI) -> None:
    opts = add_settings(webui)
    file = webui.root / "config.json"
    host = webui.host()
    host.set_always_on([Rule("church", 0.5), Rule("truck", 1, "a.safetensors")])
    assert json.loads(file.read_text()) == {OPTION: "church:0.5\ntruck:1 @ a.safetensors"}
    assert host.always_on().rules == (Rule("church", 0.5), Rule("truck", 1, "a.safetensors"))
    file.write_text(json.dumps({"other": [1, "é"], OPTION: "x"}))
    opts.data["other"] = "what a picture overrides for itself"
    host.set_always_on([])
    assert json.loads(file.read_text()) == {"other": [1, "é"], OPTION: ""}
    file.write_text("{")
    with pytest.raises(RunError, match=r"config\.json"):
        host.set_always_on([Rule("church")])
    assert file.read_text() == "{"
    assert host.always_on().rules == ()


@pytest.mark.parametrize("flag", ["freeze_settings", "hide_ui_dir_config"])
def test_where_settings_are_closed_the_list_is_too(kept: WebUI, flag: str) -> None:
    add_settings(kept)
    setattr(kept.shared.cmd_opts, flag, True)
    assert "settings are closed" in kept.host().always_on().fixed
    with pytest.raises(RunError, match="settings are closed"):
        kept.host().set_always_on([])
    assert draw(kept).on == [CHURCH]


def test_the_command_line_comes_before_the_settings_and_cannot_be_changed(webui: WebUI) -> None:
    set_rules(webui, "church")
    webui.shared.cmd_opts.adversarial_erase_always = ["truck:0.5"]
    opts = add_settings(webui)
    assert "truck:0.5" in opts.data_labels[OPTION].default
    assert opts.data_labels[OPTION].do_not_save
    assert draw(webui).on == [("truck.safetensors", 0.5, 0.5)]
    with pytest.raises(RunError, match="--adversarial-erase-always"):
        webui.host().set_always_on([])
    opts.set(OPTION, "")
    assert draw(webui).on == [("truck.safetensors", 0.5, 0.5)]


# --- pasting an infotext


def pasted(webui: WebUI, **params: str) -> dict[str, str]:
    webui.host().keeper.pasted("", params)
    return params


def test_pasting_where_it_is_always_on_changes_nothing(kept: WebUI) -> None:
    params = {"Prompt": "a church <lora:church:-1>", KEPT: "<lora:church:1>"}
    assert pasted(kept, **params) == params


def test_pasting_elsewhere_takes_another_name_of_the_file_out(webui: WebUI) -> None:
    set_rules(webui, "")
    (lora_folder(webui) / "link.safetensors").symlink_to(lora_folder(webui) / "church.safetensors")
    found = pasted(webui, Prompt="a church <lora:link:-1> <lora:truck:1>", **{KEPT: "<lora:church:1>"})
    assert found["Prompt"] == "a church <lora:truck:1> <lora:church:1>"


def test_pasting_elsewhere_puts_it_into_the_prompt_in_place_of_what_had_no_effect(webui: WebUI) -> None:
    set_rules(webui, "truck")
    params = {"Prompt": "a church <lora:church:-1>, red", "Hires prompt": "a church", KEPT: "<lora:church:1>"}
    found = pasted(webui, **params)
    assert found["Prompt"] == "a church, red <lora:church:1>"
    assert found["Hires prompt"] == "a church <lora:church:1>"
    set_rules(webui, "church:0.5")
    assert pasted(webui, Prompt="x", **{KEPT: "<lora:church:1>"})["Prompt"] == "x <lora:church:1>"


@pytest.mark.parametrize("text", ["", "<lora:church:x>", "nonsense", "<lora:(((:1>"])
def test_pasting_what_anybody_wrote_harms_nothing(webui: WebUI, text: str) -> None:
    set_rules(webui, "")
    assert pasted(webui, Prompt="x", **{KEPT: text})["Prompt"] in ("x", "x <lora:(((:1>")


def test_the_script_asks_for_pasted_infotexts_and_for_the_settings_without_a_page(kept: WebUI) -> None:
    import runpy

    pytest.importorskip("starlette")
    pytest.importorskip("gradio")
    runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "adversarial_erase.py"))
    params = {"Prompt": "x", KEPT: "<lora:truck:1>"}
    kept.script_callbacks.infotext_pasted_callback("", params)
    assert params["Prompt"] == "x <lora:truck:1>"
    kept.script_callbacks.app_started_callback(
        None, SimpleNamespace(mount=lambda *given: None, router=SimpleNamespace(routes=[]))
    )
    assert OPTION in kept.shared.opts.data_labels
    assert not kept.script_callbacks.failures
