"""Uploading to a stand-in for the Hugging Face Hub. Nothing here reaches the real one."""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi

from erasure.cli import main
from erasure.errors import EraseError, OutputExists, RunError
from erasure.host import uploads
from erasure.share.folder import files_in
from erasure.share.upload import UploadPlan, account_of, upload
from tests.fake_hub import TOKEN, FakeHub, fake_hub, hub_with_login
from tests.loras import random_lora

REPO = "zoe/no-church"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The stand-in, with a login."""
    with hub_with_login(monkeypatch) as served:
        yield served


@pytest.fixture
def plan(tmp_path: Path) -> UploadPlan:
    folder = tmp_path / "out"
    (folder / "pictures").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "x.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "pictures" / "a.png").write_bytes(b"picture")
    (folder / "mine.txt").write_text("not to be uploaded")
    return UploadPlan(folder, ("README.md", "pictures/a.png", "x.safetensors"), REPO, public=False)


def sent(plan: UploadPlan, hub: FakeHub, **given: Any) -> str:
    return upload(plan, api=HfApi(endpoint=hub.url), **given)


def test_all_files_arrive_in_a_private_repository_in_one_commit(plan: UploadPlan, hub: FakeHub) -> None:
    said: list[str] = []
    assert sent(plan, hub, progress=said.append) == f"{hub.url}/{REPO}"
    there = hub.files[REPO]
    assert {name: there[name] for name in plan.files} == {
        name: (plan.folder / name).read_bytes() for name in plan.files
    }
    assert "mine.txt" not in there
    assert hub.private[REPO] is True
    assert hub.commits == 1
    assert "uploads x.safetensors (3 of 3)" in said


def test_a_second_call_uploads_what_is_missing(plan: UploadPlan, hub: FakeHub) -> None:
    hub.refuses["/commit/"] = (503, "try later")
    with pytest.raises(RunError):
        sent(plan, hub)
    assert len(hub.puts) == 2
    hub.refuses.clear()
    sent(plan, hub)
    assert len(hub.puts) == 2  # the large files were there
    assert set(plan.files) <= set(hub.files[REPO])
    sent(plan, hub)
    assert hub.commits == 1  # nothing was missing


def test_another_file_of_the_name_is_overwritten_only_if_asked(plan: UploadPlan, hub: FakeHub) -> None:
    sent(plan, hub)
    (plan.folder / "README.md").write_text("changed")
    with pytest.raises(OutputExists, match=r"the name zoe/no-church is taken: it holds another README\.md"):
        sent(plan, hub)
    assert hub.files[REPO]["README.md"] != b"changed"
    sent(plan, hub, overwrite=True)
    assert hub.files[REPO]["README.md"] == b"changed"


def test_what_is_to_be_private_is_not_put_where_everybody_can_see_it(plan: UploadPlan, hub: FakeHub) -> None:
    hub.files[REPO], hub.private[REPO] = {}, False
    with pytest.raises(RunError, match="is there already and public"):
        sent(plan, hub)
    assert hub.files[REPO] == {}


def test_what_is_to_be_public_is_not_put_where_nobody_sees_it(plan: UploadPlan, hub: FakeHub) -> None:
    hub.files[REPO], hub.private[REPO] = {}, True
    with pytest.raises(RunError, match="is there already and private; make it public"):
        sent(replace(plan, public=True), hub)
    assert hub.files[REPO] == {}


@pytest.mark.parametrize(
    ("refuses", "problem"),
    [
        ({"/whoami": (401, f"bad token {TOKEN}")}, "does not accept the login; log in with"),
        ({"/repos/create": (403, f"You don't have the rights ({TOKEN})")}, "no right to write to zoe/no-church"),
        ({"/commit/": (403, "read-only token")}, "no right to write to zoe/no-church"),
        ({"/commit/": (500, "boom")}, "refused it with status 500"),
        ({"/objects/": (403, "too large")}, "no right to write to zoe/no-church"),
        ({"/models/": (404, "gone")}, "there is no zoe/no-church"),
    ],
)
def test_refusals_are_one_line_without_the_token(plan: UploadPlan, hub: FakeHub, refuses: Any, problem: str) -> None:
    hub.refuses.update(refuses)
    with pytest.raises(EraseError) as refused:
        sent(plan, hub)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert refused.value.__cause__ is None


def test_without_a_login_or_a_network_nothing_is_sent(
    plan: UploadPlan, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="cannot be reached"):
        upload(plan, api=HfApi(endpoint="http://127.0.0.1:9"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(RunError, match="there is no login for the Hugging Face Hub; log in with `hf auth login`"):
        sent(plan, hub)
    assert hub.calls == []


def test_what_is_sent_is_counted_and_can_be_ended_in_the_midst(plan: UploadPlan, hub: FakeHub) -> None:
    class Enough(Exception):
        pass

    def end(done: int, size: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        sent(plan, hub, sending=end)
    assert hub.commits == 0
    assert hub.puts == []
    counted: list[tuple[int, int]] = []
    sent(plan, hub, sending=lambda done, size: counted.append((done, size)))
    assert {size for _, size in counted} == {plan.size}
    assert plan.size // 2 < max(done for done, _ in counted) <= plan.size
    assert hub.files[REPO]["x.safetensors"] == (plan.folder / "x.safetensors").read_bytes()
    assert hub.files[REPO]["README.md"] == (plan.folder / "README.md").read_bytes()


def test_only_the_account_that_was_named_uploads(plan: UploadPlan, hub: FakeHub) -> None:
    assert account_of(api=HfApi(endpoint=hub.url)) == "zoe"
    with pytest.raises(RunError, match="the login is now that of zoe, not of ann"):
        sent(replace(plan, account="ann"), hub)
    assert hub.files == {}
    sent(replace(plan, account="zoe"), hub)
    assert hub.commits == 1


def test_only_what_belongs_to_a_shared_folder_is_uploaded(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "pictures").mkdir(parents=True)
    for name in ("README.md", "civitai.json", "mine.safetensors", "pictures/after-00.png", "pictures/x.png", "a.txt"):
        (folder / name).write_text(name)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "pictures" / "after-01.png").symlink_to(secret)
    assert files_in(folder) == ("README.md", "civitai.json", "mine.safetensors", "pictures/after-00.png")
    (folder / "civitai.json").unlink()
    (folder / "civitai.json").symlink_to(secret)
    with pytest.raises(RunError, match=r"the folder of mine lacks civitai\.json; make it again"):
        files_in(folder)


def test_a_dry_run_says_what_would_be_uploaded_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = random_lora(tmp_path / "x.safetensors", {"erase": ["church"]})
    arguments = ["share", str(lora), "--to", str(tmp_path / "out"), "--license", "mit"]
    assert main([*arguments, "--public"]) == 2
    assert main([*arguments, "--upload", "nobody"]) == 2
    assert "--upload: 'nobody' is no OWNER/NAME" in capsys.readouterr().err
    assert main([*arguments, "--upload", REPO, "--dry-run"]) == 0
    assert "would upload 3 files, 0." in capsys.readouterr().out
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"pipe.load_lora_weights('{REPO}', weight_name='x.safetensors')" in text


@pytest.mark.slow
def test_the_command_uploads_with_the_login_of_huggingface_hub(tmp_path: Path) -> None:
    lora = random_lora(tmp_path / "x.safetensors", {"erase": ["church"]})
    with fake_hub() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        environment.pop("HF_TOKEN", None)
        environment["HF_HUB_DISABLE_XET"] = "1"
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "token").write_text(TOKEN)
        command = [sys.executable, "-m", "erasure", "share", str(lora), "--to", str(tmp_path / "out")]
        command += ["--license", "mit", "--upload", REPO]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{hub.url}/{REPO}" in done.stdout
        assert TOKEN not in done.stdout + done.stderr
        assert set(hub.files[REPO]) == {".gitattributes", "README.md", "civitai.json", "x.safetensors"}
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


# --- the switch


@pytest.mark.parametrize("flag", ["--upload", "--adversarial-erase-upload", ""])
def test_the_app_lets_its_page_upload_only_if_asked(
    flag: str,
    tmp_path: Path,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("gradio")
    hosts: list[Any] = []

    def serve(host: Any, manager: Any, **_: Any) -> Any:
        hosts.append(host)
        manager.close()
        return SimpleNamespace(url="http://127.0.0.1:1/", close=lambda: None)

    monkeypatch.setattr("erasure.ui.app.serve", serve)
    for name in ("_wait", "_leave"):
        monkeypatch.setattr(f"erasure.cli.app.{name}", lambda: None)
    arguments = ["app", "--data", str(tmp_path), "--checkpoint", str(tiny_checkpoint)]
    assert main([*arguments, *([flag] if flag else [])]) == 0
    assert hosts[0].uploads() is bool(flag)
    assert ("with this machine's login" in capsys.readouterr().out) is bool(flag)


def test_the_web_ui_has_the_same_flag_and_it_is_off_by_default() -> None:
    parser = argparse.ArgumentParser()
    values = runpy.run_path(str(Path(__file__).parents[1] / "preload.py"))
    values["preload"](parser)
    assert getattr(parser.parse_args([]), uploads.OPTION) is False
    assert getattr(parser.parse_args([uploads.FLAG]), uploads.OPTION) is True
