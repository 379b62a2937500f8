"""Combining of LoRAs that change text encoders, as a sum, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from erasure.cli import main
from erasure.combine.combining import combine
from erasure.combine.pictures import check_fit, comparison
from erasure.combine.task import combine_task
from erasure.errors import LoraFileError
from erasure.families.family import Family
from erasure.families.sd1 import SD1
from erasure.families.sdxl import SDXL
from erasure.lora.combine import merge_loras
from erasure.lora.explain import explain_lora
from erasure.lora.file import LoraFile, read_lora
from erasure.lora.metadata import CONFIG_KEY
from erasure.lora.model_adapter import Modules, inject_lora_file, model_lora_layers, remove_model_lora
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.drawing import run_to_end
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from tests import tiny, tiny_xl
from tests.text_loras import of_text, text_lora

FC1 = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def changed(path: str) -> bool:
    return of_text(path) or path.endswith("attn2.to_v")


def pair(folder: Path, modules: Modules, family: Family, **options: Any) -> list[tuple[Path, float]]:
    """Two LoRAs: one that changes values of cross-attention, too, and one for some layers of text encoders alone."""
    both = text_lora(folder / "both.safetensors", modules, family, changed, **options)
    text = text_lora(folder / "text.safetensors", modules, family, lambda path: ".mlp." in path, seed=1, **options)
    return [(both, 0.8), (text, -0.5)]


def told(parts: ModelParts, file: LoraFile, prompt: str = "a church") -> list[Tensor]:
    """What the U-Net is told of a prompt with a LoRA on the model."""
    inject_lora_file(parts.modules, file, 1.0)
    try:
        return list(Model(parts).embed([prompt]).tensors)
    finally:
        remove_model_lora(parts.modules)


def difference(file: LoraFile, module: str) -> Tensor:
    if f"{module}.lora_up.weight" not in file.state:
        return torch.zeros(())
    down, up, scale = file.weights(module)
    return scale * up.double().flatten(1) @ down.double().flatten(1)


@pytest.mark.parametrize(("build", "family"), [(tiny.build_tiny_models, SD1), (tiny_xl.build_tiny_xl, SDXL)])
def test_the_sum_changes_all_layers_that_the_files_change(tmp_path: Path, build: Any, family: Family) -> None:
    parts = build()
    loras = pair(tmp_path, parts.modules, family)
    files = [(read_lora(path), weight) for path, weight in loras]
    made = run_to_end(combine(combine_task(loras, tmp_path / "sum.safetensors")))
    whole = read_lora(made.out)
    assert set(whole.modules) == {module for file, _ in files for module in file.modules}
    for module in whole.modules:
        wanted = sum(weight * difference(file, module) for file, weight in files)
        torch.testing.assert_close(difference(whole, module), wanted, rtol=0, atol=1e-6)
    for one, other in zip(told(parts, whole), told(parts, merge_loras(files)), strict=False):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_compressed_sum_says_what_it_leaves_out_of_layers_of_text_encoders(
    tmp_path: Path, tiny_models: ModelParts
) -> None:
    loras = pair(tmp_path, tiny_models.modules, SD1)
    made = run_to_end(combine(combine_task(loras, tmp_path / "small.safetensors", rank=3)))
    exact = sum(weight * difference(read_lora(path), FC1) for path, weight in loras)
    assert isinstance(exact, Tensor)
    values = torch.linalg.svdvals(exact)
    [layer] = [layer for layer in made.layers if layer.name == FC1]
    assert (layer.rank, made.rank) == (3, 3)
    assert layer.left_out == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-4)
    error = (difference(read_lora(made.out), FC1) - exact).norm() / exact.norm()
    assert float(error) == pytest.approx(layer.left_out, rel=1e-3)
    assert "most in te_text_model_encoder_layers_" in made.lines[1]


def test_the_choice_of_layers_is_of_the_u_net_alone(tmp_path: Path, tiny_models: ModelParts) -> None:
    loras = pair(tmp_path, tiny_models.modules, SD1)
    assert combine_task(loras, tmp_path / "sum.safetensors").layers == "xattn_v"
    keys = text_lora(tmp_path / "keys.safetensors", tiny_models.modules, SD1, lambda path: path.endswith("attn2.to_k"))
    assert combine_task([*loras, (keys, 1.0)], tmp_path / "sum.safetensors").layers == "xattn_kv"


def test_files_that_change_nothing_but_text_encoders_are_summed(
    tmp_path: Path, tiny_models: ModelParts, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {CONFIG_KEY: json.dumps({"erase": ["church"]})}
    one, other = (
        text_lora(tmp_path / f"{seed}.safetensors", tiny_models.modules, SD1, seed=seed, metadata=told)
        for seed in (1, 2)
    )
    out = tmp_path / "sum.safetensors"
    assert main(["combine", str(one), str(other), "--out", str(out)]) == 0
    assert "12 layers, the exact sum, of rank 4." in capsys.readouterr().out
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "layers: 12 (all in text encoders), rank 4" in shown
    assert "erases: 'church'" in shown


def test_inspect_counts_the_layers_of_text_encoders(tmp_path: Path, tiny_models: ModelParts) -> None:
    [both, _], [text, _] = pair(tmp_path, tiny_models.modules, SD1)
    unet = text_lora(tmp_path / "unet.safetensors", tiny_models.modules, SD1, lambda path: path.endswith("attn2.to_v"))
    reports = [explain_lora(path) for path in (both, text, unet)]
    assert [(report.layers, report.text_layers) for report in reports] == [(22, 12), (4, 4), (10, 0)]
    assert "layers: 22 (12 of them in text encoders), rank 2" in str(reports[0])
    assert "layers: 10, rank 2" in str(reports[2])
    assert reports[0].to_dict()["text_layers"] == 12


def test_files_must_fit_the_text_encoders_of_a_checkpoint(
    tmp_path: Path, tiny_models: ModelParts, tiny_checkpoint: Path
) -> None:
    info = inspect_checkpoint(tiny_checkpoint)
    check_fit(combine_task(pair(tmp_path, tiny_models.modules, SD1), tmp_path / "sum.safetensors"), info)
    wide = {f"{FC1}.lora_down.weight": torch.ones(1, 33), f"{FC1}.lora_up.weight": torch.ones(64, 1)}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(LoraFileError, match=rf"{FC1}: lora_down.weight has the wrong shape \(1, 33\)"):
        check_fit(combine_task([(tmp_path / "wide.safetensors", 1.0)], tmp_path / "sum.safetensors"), info)


def test_pictures_are_drawn_of_what_the_text_encoders_say_with_the_loras(
    tmp_path: Path, tiny_models: ModelParts, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Model, Tensor, int]] = []

    def drawing(
        model: Model, prompts: Sequence[str], seeds: Sequence[int]
    ) -> Generator[float, None, list[Image.Image]]:
        seen.append((model, model.embed(prompts).states, len(model_lora_layers(model.parts.modules))))
        yield 1.0
        return [Image.new("RGB", (8, 8)) for _ in seeds]

    monkeypatch.setattr("erasure.combine.pictures.drawing_steps", drawing)
    loras = pair(tmp_path, tiny_models.modules, SD1)
    task = combine_task(loras, tmp_path / "sum.safetensors", rank=1)
    run_to_end(combine(task))
    run_to_end(comparison(task, inspect_checkpoint(tiny_checkpoint), "cpu"))
    assert [count for _, _, count in seen] == [0, 22, 22]
    before, exact, compressed = (states for _, states, _ in seen)
    files = [(read_lora(path), weight) for path, weight in loras]
    for states, lora in ((exact, merge_loras(files)), (compressed, read_lora(task.out))):
        torch.testing.assert_close(states[:1], told(tiny_models, lora, "a photo")[0])
    assert not torch.allclose(before, exact, atol=1e-2)
    assert not torch.allclose(exact, compressed, atol=1e-2)
    torch.testing.assert_close(seen[0][0].embed(["a photo"]).states, before[:1])  # with no LoRA on it any more
