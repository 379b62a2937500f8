"""What a device cannot do is said before anything is loaded; what it has no need of is not asked of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from erasure.cli import main
from erasure.config.settings import Precision
from erasure.config.values import erase_config
from erasure.errors import ConfigError
from erasure.jobs.readiness import readiness
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.device import default_device, device_problem, precision_problem
from erasure.model.model import Model, open_model
from erasure.run.beginning import erase
from erasure.run.folder import RunFolder
from erasure.run.task import Task
from erasure.training import closed_form
from tests.fake_host import FakeHost


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("this device has no autocast")


def test_fp32_never_enters_autocast(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 2.0, 0)
    monkeypatch.setattr(torch, "autocast", _refuse)
    monkeypatch.setattr(torch.amp, "autocast", _refuse)
    z, t = torch.zeros(1, *tiny_model.latent_shape), torch.tensor([500])
    loss = tiny_model.eps(z, t, tiny_model.embed(["church"])).square().mean()
    assert all(gradient is not None for gradient in torch.autograd.grad(loss, lora_parameters(tiny_model.unet)))


@pytest.mark.parametrize("name", ["cuda:3", "gpu", "meta", "cuda:-1", "", "xpu:7", "no such"])
def test_a_device_that_is_not_there_is_named_in_one_line_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    problem = device_problem(name)
    assert problem == f"there is no device {name!r} here; there is cpu"


def test_the_cpu_is_always_there() -> None:
    assert device_problem("cpu") == device_problem("cpu:0") == ""
    assert device_problem(default_device()) == ""


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--erase", "church", "--out", "x.safetensors", "--checkpoint", "c"],
        ["train", "--erase", "church", "--dry-run", "--checkpoint", "c"],
        ["train", "--resume", "r"],
        ["concepts", "--erase", "church", "--checkpoint", "c"],
        ["preview", "--checkpoint", "c", "--lora", "l", "--prompt", "p", "--out", "x.png"],
        ["judge", "--checkpoint", "c", "--lora", "l"],
        ["spectrum", "--checkpoint", "c", "--lora", "l"],
        ["bench"],
        ["app"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_refuses_an_unknown_device_first(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--device", "gpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --device: there is no device 'gpu' here; there is ")
    assert not list(tmp_path.iterdir())


def test_fp16_on_a_cpu_is_refused_before_the_checkpoint_is_read(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert "use fp32 or bf16" in precision_problem("cpu", "fp16")
    config = erase_config(erase="church", precision="fp16")
    task = Task(tmp_path / "none.safetensors", tmp_path / "out.safetensors", RunFolder(tmp_path / "run"), config)
    with pytest.raises(ConfigError, match="precision: fp16"):
        erase(task)
    assert not (tmp_path / "run").exists()
    host = FakeHost(tmp_path, tiny_checkpoint)
    assert any("precision: fp16" in problem for problem in readiness(host, tiny_checkpoint, "gone", config))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_a_device_cannot_compute_is_said_before_loading(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, precision: Precision
) -> None:
    monkeypatch.setattr("erasure.model.device._tiny_update", _refuse)
    monkeypatch.setattr("erasure.model.model.load_parts", _loaded)
    with pytest.raises(ConfigError, match=f"{precision}.*use fp32"):
        open_model(inspect_checkpoint(tiny_checkpoint), precision=precision)


def _loaded(*_: object, **__: object) -> None:
    raise AssertionError("the checkpoint was loaded")


def test_bf16_on_a_cpu_can_be_trained() -> None:
    assert precision_problem("cpu", "bf16") == precision_problem("cpu", "fp32") == ""


def test_a_page_says_that_the_device_is_gone(tmp_path: Path, tiny_checkpoint: Path) -> None:
    host = FakeHost(tmp_path, tiny_checkpoint)
    host.on = "cuda:77"
    problems = readiness(host, tiny_checkpoint, "gone", erase_config(erase="church"))
    assert [problem for problem in problems if problem.startswith("device: there is no device 'cuda:77'")]


def test_closed_forms_go_to_the_cpu_where_a_device_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS and DirectML have none; here it is the CPU's that is taken away for tensors that were not copied to it."""
    moved: list[torch.Tensor] = []
    monkeypatch.setattr(closed_form, "_has_float64", lambda device: False)
    to_cpu: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        moved.append(tensor)
        return to_cpu(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    assert closed_form.exact(torch.ones(2)).dtype == torch.float64
    assert len(moved) == 1


def test_whether_a_device_has_float64_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert closed_form._has_float64(torch.device("cpu"))

    def none(tensor: torch.Tensor) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch.Tensor, "double", none)
    assert not closed_form._has_float64.__wrapped__(torch.device("cpu"))
