"""LoRAs that are always on: the rule, what it means on a host, the HTTP API, the tab and the app."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import ImageChops

from erasure.api.routes import PREFIX
from erasure.cli import main
from erasure.errors import ConfigError, LoraFileError, RunError
from erasure.host.always_on import AlwaysOn, Rule, make_rule, read_rule, read_rules, rules_text, with_rule, without_rule
from erasure.host.base import TextToImage
from erasure.host.kept_on import in_force, kept_on, refuse_broken
from erasure.host.local import LocalHost
from erasure.jobs.manager import JobManager
from erasure.ui import actions
from erasure.ui.keep_on import KEEP_OFF, kept_html
from erasure.ui.run_view import _result
from tests.api_client import client_of
from tests.drawn import HOSTILE, Page, a_result, a_snapshot
from tests.fake_host import FakeHost
from tests.loras import random_lora

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def church(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_lora(tmp_path_factory.mktemp("loras") / "church.safetensors", {"erase": ["church"]})


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path, church: Path) -> FakeHost:
    host = FakeHost(tmp_path, tiny_checkpoint)
    (host.lora_folder() / "sub").mkdir(parents=True)
    shutil.copy(church, host.lora_folder() / "sub" / "church.safetensors")
    return host


@pytest.fixture
def client(host: FakeHost) -> Iterator[TestClient]:
    yield from client_of(host, JobManager(host, start=False))


# --- the rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("church", Rule("church")),
        (" church:0.8 ", Rule("church", 0.8)),
        ("sub/church.safetensors:-1", Rule("church", -1)),
        ("a@b, c:0.5 @ sd @ v1.safetensors [0123abcd]", Rule("a@b, c", 0.5, "sd @ v1.safetensors [0123abcd]")),
    ],
)
def test_a_rule_is_read_and_written(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule
    assert read_rule(str(rule)) == rule


def test_a_name_that_would_be_read_as_another_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="would be read as NAME @ CHECKPOINT"):
        make_rule("me @ home", 1)


@pytest.mark.parametrize("text", ["", ":1", "church:", "church:x", "church:0", "church:nan", "church:1e9", "<church>"])
def test_what_is_no_rule_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_rule(text)
    assert len(refused.value.problems) == 1


def test_a_line_that_makes_no_sense_leaves_the_others_on() -> None:
    listed = read_rules("church\n\n x:y \ntruck:0.5\n")
    assert listed.rules == (Rule("church"), Rule("truck", 0.5))
    assert len(listed.problems) == 1
    assert read_rules(rules_text(listed.rules)).rules == listed.rules
    many = read_rules("church\n" * 60)
    assert len(many.rules) == 50
    assert "10 are left out" in many.problems[0]


def test_one_for_a_checkpoint_comes_before_one_for_all_and_survives_a_new_hash() -> None:
    rules = [Rule("church", 0.5, "a.safetensors"), Rule("church"), Rule("truck"), Rule("truck", 2)]
    assert in_force(rules, ["b.safetensors"]) == (Rule("church"), Rule("truck", 2))
    assert set(in_force(rules, ["a.safetensors [0123456789]"])) == {rules[0], rules[3]}
    hashed = [Rule("church", 1, "a.safetensors [0123456789]")]
    assert in_force(hashed, ["a.safetensors"])
    assert not in_force(hashed, ["a.safetensors [9876543210]"])
    assert not in_force(hashed, [])


def test_a_rule_takes_the_place_of_the_one_for_the_same_lora_and_checkpoint() -> None:
    rules = with_rule(with_rule((Rule("a"), Rule("a", 1, "c")), Rule("b")), Rule("a", 2))
    assert rules == (Rule("a", 1, "c"), Rule("b"), Rule("a", 2))
    assert without_rule(rules, "a", "") == rules[:2]
    with pytest.raises(ConfigError, match="at most 50"):
        with_rule([Rule(str(n)) for n in range(50)], Rule("a"))


# --- what it means on a host


def test_what_is_missing_or_does_not_fit_is_said(host: FakeHost, tmp_path: Path) -> None:
    (host.lora_folder() / "junk.safetensors").write_bytes(b"junk" * 9)
    random_lora(host.lora_folder() / "xl.safetensors", None, {"ss_base_model_version": "sdxl_base_v1-0"})
    host.kept_on = AlwaysOn(
        (Rule("church"), Rule("nope"), Rule("junk"), Rule("xl"), Rule("church", 1, "gone.ckpt")),
    )
    problems = [kept.problem for kept in kept_on(host)]
    assert problems[0] == ""
    for problem, words in zip(
        problems[1:], ("no LoRA nope", "cannot be read", "Stable Diffusion XL", "no such checkpoint"), strict=True
    ):
        assert words in problem
        assert str(tmp_path) not in problem
    assert [kept.in_force for kept in kept_on(host)] == [True, True, True, True, False]
    with pytest.raises(ConfigError) as refused:
        refuse_broken(host, host.kept_on.rules)
    assert len(refused.value.problems) == 4
    random_lora(host.lora_folder() / "other" / "church.safetensors")
    (twice,) = {kept.problem for kept in kept_on(host) if kept.rule == Rule("church")}
    assert (
        "several files of the Lora folder are called church (other/church.safetensors, sub/church.safetensors)" in twice
    )


def test_a_checkpoint_that_is_no_checkpoint_speaks_against_nothing(host: FakeHost, tmp_path: Path) -> None:
    host.kept_on = AlwaysOn((Rule("church"),))
    for content in (b"", b"junk"):
        host.checkpoint = tmp_path / "broken.safetensors"
        host.checkpoint.write_bytes(content)
        assert kept_on(host)[0].problem == ""


# --- over HTTP


def test_the_list_is_read_and_set_over_http(client: TestClient, host: FakeHost) -> None:
    assert client.get(f"{PREFIX}/always-on").json() == {"rules": [], "fixed": "", "problems": []}
    body = {"rules": ["church", {"lora": "church", "weight": 0.5, "checkpoint": host.checkpoint.name}]}
    answer = client.put(f"{PREFIX}/always-on", json=body)
    assert answer.status_code == 200
    assert answer.json()["rules"] == [
        {"lora": "church", "weight": 1.0, "checkpoint": None, "in_force": False, "problem": ""},
        {"lora": "church", "weight": 0.5, "checkpoint": host.checkpoint.name, "in_force": True, "problem": ""},
    ]
    assert host.kept_on.rules == (Rule("church"), Rule("church", 0.5, host.checkpoint.name))
    assert client.get(f"{PREFIX}/always-on").json() == answer.json()
    assert client.put(f"{PREFIX}/always-on", json={"rules": []}).status_code == 200
    assert not host.kept_on.rules


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "rules"),
        ({"rules": {}}, "rules"),
        ({"rules": ["nope"]}, "nope"),
        ({"rules": [{"lora": "church", "weight": 0}]}, "weight"),
        ({"rules": [{"lora": "church", "wait": 1}]}, "weight"),
        ({"rules": [7]}, "7"),
        ({"rules": [f"{n}" for n in range(51)]}, "at most 50"),
        ({"rules": [], "more": 1}, "more"),
    ],
)
def test_a_wrong_list_is_refused_and_changes_nothing(
    client: TestClient, host: FakeHost, body: dict[str, Any], named: str
) -> None:
    host.kept_on = before = AlwaysOn((Rule("church"),))
    answer = client.put(f"{PREFIX}/always-on", json=body)
    assert answer.status_code == 422
    assert named in " ".join(answer.json()["problems"])
    assert host.kept_on == before


def test_a_fixed_list_is_shown_and_refused(client: TestClient, host: FakeHost) -> None:
    host.kept_on = before = AlwaysOn((Rule("church"),), "The host fixed it.")
    assert client.get(f"{PREFIX}/always-on").json()["fixed"] == "The host fixed it."
    answer = client.put(f"{PREFIX}/always-on", json={"rules": []})
    assert (answer.status_code, answer.json()) == (409, {"problems": ["The host fixed it."]})
    assert host.kept_on == before


# --- in the tab


def test_a_lora_is_kept_on_and_turned_off_in_the_tab(host: FakeHost) -> None:
    assert "No LoRA is always on" in kept_html(host)
    shown = actions.keep_on(host, "sub/church", 0.8, "")
    assert host.kept_on.rules == (Rule("church", 0.8),)
    assert "for all checkpoints" in shown
    assert "A house rule" in shown
    assert f'data-ae-action="{KEEP_OFF}"' in shown
    actions.keep_on(host, "church", 1.0, host.checkpoint.name)
    actions.keep_off(host, f"church\t{host.checkpoint.name}")
    assert host.kept_on.rules == (Rule("church", 0.8),)
    assert "No LoRA is always on" in actions.keep_off(host, "church\t")
    assert "cannot be kept on" in actions.keep_on(host, "nope", 1.0, "")
    assert "cannot be kept on" in actions.keep_on(host, "", 1.0, "")


def test_a_fixed_list_has_no_button(host: FakeHost) -> None:
    host.kept_on = AlwaysOn((Rule("church"),), "The host fixed it.")
    shown = kept_html(host)
    assert "The host fixed it." in shown
    assert KEEP_OFF not in shown
    assert "was not changed" in actions.keep_off(host, "church\t")
    assert "cannot be kept on" in actions.keep_on(host, "church", 1.0, "")


def test_the_card_of_a_result_leads_to_it() -> None:
    assert 'data-ae-action="keep" data-ae-value="one"' in _result(a_snapshot("done", id="one", result=a_result()))


@pytest.mark.parametrize("word", HOSTILE)
def test_names_stay_text(host: FakeHost, word: str) -> None:
    host.kept_on = AlwaysOn((Rule(word, 1.0, word),), word, (word,))
    names = {name for name, _ in Page(kept_html(host)).elements}
    assert names <= {"div", "ul", "li", "p", "strong", "span", "svg", "path", "circle"}


def test_nothing_is_drawn_without_a_lora_that_is_always_on(host: FakeHost) -> None:
    manager = JobManager(host, start=False)
    run = a_snapshot("done", result=a_result())
    assert run.result is not None
    shown = actions.try_it(host, manager, run, "a church", 1, 1.0)
    assert host.calls == ["draw", "draw"]
    assert "without" in shown
    assert "Always on" not in shown
    host.kept_on = AlwaysOn((Rule("truck"),))
    assert "Always on, and so in both: truck" in actions.try_it(host, manager, run, "a church", 1, 1.0)
    host.calls.clear()
    host.kept_on = AlwaysOn((Rule(run.result.name, 0.5),))
    shown = actions.try_it(host, manager, run, "a church", 1, 1.0)
    assert host.calls == ["draw"]
    assert f"{run.result.name} is always on here, at weight 0.5" in shown
    assert "<figcaption>without" not in shown


# --- in the app


def test_the_app_draws_every_picture_with_it(tmp_path: Path, tiny_checkpoint: Path) -> None:
    lora = random_lora(tmp_path / "loras" / "church.safetensors")
    other = random_lora(tmp_path / "loras" / "other.safetensors", strength=0.1)
    free = LocalHost(tiny_checkpoint, tmp_path, "cpu")
    bound = LocalHost(tiny_checkpoint, tmp_path, "cpu", always=[Rule("church", 0.5)])

    def draw(host: LocalHost, tags: str = "") -> Any:
        return host.draw(TextToImage(f"a dog {tags}", steps=2))

    def same(one: Any, two: Any) -> bool:
        return ImageChops.difference(one, two).getbbox() is None

    wanted = draw(free, "<lora:church:0.5>")
    assert not same(wanted, draw(free))
    assert same(draw(bound), wanted)
    (tmp_path / "loras" / "alias.safetensors").symlink_to(lora)
    for tag in ("<lora:church:-0.5>", "<lora:church:0>", "<lora:alias:-1>"):
        assert same(draw(bound, tag), wanted)
    assert same(draw(bound, "<lora:other:1>"), draw(free, "<lora:other:1> <lora:church:0.5>"))
    for path in (lora, other):
        path.unlink()
    with pytest.raises(LoraFileError, match="church"):
        draw(bound)
    with pytest.raises(RunError, match="--adversarial-erase-always"):
        bound.set_always_on([])
    elsewhere = LocalHost(tiny_checkpoint, tmp_path, "cpu", always=[Rule("church", 1, "other.safetensors")])
    assert same(draw(elsewhere), draw(free))


@pytest.mark.parametrize(("given", "named"), [("church:x", "not a weight"), ("nope", "no LoRA nope")])
def test_the_app_does_not_start_without_what_it_must_keep_on(
    tmp_path: Path, given: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio")
    assert main(["app", "--data", str(tmp_path), "--adversarial-erase-always", given]) == 2
    assert named in capsys.readouterr().err


def test_the_web_ui_does_not_start_with_a_rule_that_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    module, parser = ModuleType("preload"), argparse.ArgumentParser()
    module.__file__ = str(ROOT / "preload.py")
    exec((ROOT / "preload.py").read_text(encoding="utf-8"), module.__dict__)
    module.preload(parser)
    assert parser.parse_args([]).adversarial_erase_always is None
    given = ["--adversarial-erase-always", "church", "--adversarial-erase-always", "truck:0.5 @ a.ckpt"]
    assert parser.parse_args(given).adversarial_erase_always == ["church", "truck:0.5 @ a.ckpt"]
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--adversarial-erase-always", "church:x"])
    assert ended.value.code == 2
    assert "'x' in 'church:x' is not a weight" in capsys.readouterr().err
