"""A job takes the weights that its host draws with, and keeps to them when it is resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from erasure.jobs.manager import JobManager
from erasure.model.opening import Ema, Opening
from erasure.run.beginning import resume
from erasure.run.folder import RunFolder
from tests.fake_host import FakeHost
from tests.jobs.asked import request
from tests.jobs.scripted_run import PATIENCE, ScriptedRun

UNET, VAE = "model.diffusion_model.", "first_stage_model."


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    """A host whose checkpoint has averaged weights beside plain ones, and no VAE."""
    shutil.copytree(tiny_checkpoint.parent, tmp_path / "models")
    path = tmp_path / "models" / tiny_checkpoint.name
    with safe_open(str(tiny_checkpoint), framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(VAE)}  # noqa: SIM118
    ema = {"model_ema." + n.removeprefix("model.").replace(".", ""): t + 1 for n, t in state.items() if UNET in n}
    save_file({**state, **ema}, path)
    return FakeHost(tmp_path, path)


@pytest.fixture
def vae(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    with safe_open(str(tiny_checkpoint), framework="pt") as file:
        state = {n.removeprefix(VAE): file.get_tensor(n) for n in file.keys() if n.startswith(VAE)}  # noqa: SIM118
    save_file(state, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def done(host: FakeHost, manager: JobManager) -> tuple[RunFolder, str]:
    job = manager.wait(manager.submit(request(host)), timeout=PATIENCE)
    assert job.state == "done"
    folder = RunFolder(host.data_folder() / "runs" / job.id)
    return folder, " ".join(event["text"] for event in folder.events() if event["event"] == "note")


def test_the_host_decides_and_the_log_says_it(host: FakeHost, manager: JobManager, vae: Path) -> None:
    folder, notes = done(host, manager)
    assert (folder.origin().ema, folder.origin().vae) == ("plain", "")
    assert "the plain ones are used as web UIs do" in notes
    assert "no VAE that could decode" in notes
    manager.delete(folder.path.name)
    host.lora_folder().joinpath("gone.safetensors").unlink()
    host.opens = Opening("averaged", spare_vae=vae)
    folder, notes = done(host, manager)
    assert (folder.origin().ema, folder.origin().vae) == ("averaged", str(vae))
    assert "the averaged ones are used" in notes
    assert "pictures are drawn with the VAE mine.safetensors" in notes


@pytest.mark.parametrize(
    ("recorded", "taken"), [({"ema": "averaged"}, "averaged"), ({"ema": "plain"}, "plain"), ({}, "averaged")]
)
def test_a_resumed_run_keeps_the_weights_it_began_with(
    recorded: dict[str, Ema], taken: str, host: FakeHost, manager: JobManager, vae: Path, run: ScriptedRun
) -> None:
    """Runs of earlier versions do not say it: they took the averaged weights wherever there were some."""
    host.opens = Opening(spare_vae=vae)
    folder, _ = done(host, manager)
    file = folder.path / "run.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    del values["ema"]
    file.write_text(json.dumps({**values, **recorded}), encoding="utf-8")
    (host.lora_folder() / "gone.safetensors").unlink()

    def notes() -> str:
        with resume(folder) as resumed:
            return " ".join(str(event) for event in resumed)

    told = notes()
    assert f"the {taken} ones are used" in told
    assert "drawn with the VAE mine.safetensors" in told
    (host.lora_folder() / "gone.safetensors").unlink()
    vae.unlink()  # a VAE that is gone is no reason to lose a run
    assert "no VAE that could decode" in notes()
