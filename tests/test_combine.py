"""Combining: one LoRA that does what several do, how well a smaller one does it, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from erasure.cli import main
from erasure.combine.combining import Combined, combine
from erasure.combine.refine import refine_config
from erasure.combine.task import MOST_RANK, CombineTask, combine_task
from erasure.config.values import erase_config
from erasure.errors import ConfigError, EraseError, LoraFileError, OutputExists, OutputRefused
from erasure.file_hashes import sha256_of_files
from erasure.jobs.checking import check_received
from erasure.lora.explain import explain_lora
from erasure.lora.file import LoraFile, read_lora
from erasure.lora.low_rank import difference_norm, product_norm, truncated
from erasure.lora.metadata import ASKED_KEY, COMBINED_KEY, CONFIG_KEY, VERDICT_KEY
from erasure.lora.parent import Parent
from erasure.lora.parts import UNMEASURED, stated_combination
from erasure.model.drawing import run_to_end
from erasure.run.forecast import forecast_rows
from erasure.run.task import Task
from erasure.share.folder import share_lora
from erasure.share.order import share_order
from erasure.training.joint_start_sizes import start_rows
from erasure.verdict.measurement import measure_task
from tests.drawn import HOSTILE
from tests.loras import random_lora
from tests.test_lora_file import KINDS, metadata_of

CONV, ATTENTION = "lora_unet_conv_in", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"
SIDES: Mapping[str, tuple[int, ...]] = {CONV: (10, 4, 3, 3), ATTENTION: (12, 20)}


def lora(
    path: Path, rank: int = 2, *, seed: int = 0, layers: Sequence[str] = tuple(SIDES), alpha: float | None = None,
    dtype: torch.dtype = torch.float16, scale: float = 0.1, erase: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write a LoRA with random weights for a convolution and an attention layer; ``erase``: what it says of itself."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name in layers:
        out, *read = SIDES[name]
        tensors[f"{name}.lora_down.weight"] = scale * torch.randn(rank, *read, generator=generator)
        tensors[f"{name}.lora_up.weight"] = scale * torch.randn(out, rank, *read[1:] and (1, 1), generator=generator)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    asked = {"erase": list(erase)}
    told = {CONFIG_KEY: json.dumps(erase_config(**asked).to_dict()), ASKED_KEY: json.dumps(asked)} if erase else {}
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, path, {**told, **(metadata or {})})
    return path


def changes(file: LoraFile, module: str) -> Tensor:
    """What a file adds to the weights of a layer, computed in another way than the package does."""
    if f"{module}.lora_up.weight" not in file.state:
        return torch.zeros(SIDES[module][0], torch.Size(SIDES[module][1:]).numel(), dtype=torch.float64)
    down, up, scale = file.weights(module)
    return scale * torch.einsum("or,ri->oi", up.double().flatten(1), down.double().flatten(1))


def summed(loras: Sequence[tuple[Path, float]], module: str) -> Tensor:
    every = [weight * changes(read_lora(path), module) for path, weight in loras]
    return torch.stack(every).sum(dim=0)


def combined(loras: Sequence[tuple[Path, Any]], out: Path, **options: Any) -> Combined:
    making = combine(combine_task(loras, out, **options))
    shares = []
    while True:
        try:
            shares.append(next(making))
        except StopIteration as end:
            assert shares == sorted(shares)
            assert shares[-1] == 1.0
            return end.value  # type: ignore[no-any-return]


# --- factors


def test_truncating_is_the_nearest_change_of_its_rank_whichever_side_is_longer() -> None:
    generator = torch.Generator().manual_seed(0)
    for out, rank, wide in ((30, 5, 40), (40, 5, 30), (6, 20, 9), (9, 20, 6)):
        up, down = torch.randn(out, rank, generator=generator), torch.randn(rank, wide, generator=generator)
        whole = up.double() @ down.double()
        values = torch.linalg.svdvals(whole)
        cut = truncated(up, down, 3)
        assert (cut.up.shape, cut.down.shape) == ((out, 3), (3, wide))
        left_out = float((cut.up @ cut.down - whole).norm())
        assert left_out == pytest.approx(float(values[3:].norm()), rel=1e-9)
        assert cut.left_out == pytest.approx(left_out, rel=1e-9)
        assert cut.norm == pytest.approx(float(whole.norm()), rel=1e-12)
        assert product_norm(up, down) == pytest.approx(cut.norm, rel=1e-9)


def test_small_differences_are_not_lost_in_rounding() -> None:
    up, down = torch.randn(30, 4).double(), torch.randn(4, 50).double()
    assert difference_norm(up, down, up, down) == 0.0
    moved = up + 1e-9 * torch.ones_like(up)
    true = float((1e-9 * torch.ones_like(up) @ down).norm())
    assert difference_norm(up, down, moved, down) == pytest.approx(true, rel=1e-5)


# --- the exact sum


def test_the_exact_sum_adds_ranks_alphas_and_weights_of_every_kind_of_layer(tmp_path: Path) -> None:
    loras = [
        (lora(tmp_path / "a.safetensors", 2, seed=1, alpha=1.0), 1.0),
        (lora(tmp_path / "b.safetensors", 3, seed=2, layers=[ATTENTION]), -0.7),
        (lora(tmp_path / "c.safetensors", 4, seed=3, alpha=0.3, layers=[CONV]), 0.5),
    ]
    made = combined(loras, tmp_path / "sum.safetensors")
    file = read_lora(made.out)
    assert {layer.name: layer.rank for layer in made.layers} == {CONV: 6, ATTENTION: 5}
    assert set(file.alphas.values()) == {6.0}  # several would be too much for some readers
    assert file.weights(CONV)[0].shape == (6, 4, 3, 3)
    assert file.weights(CONV)[1].shape == (10, 6, 1, 1)
    for module in SIDES:
        whole = summed(loras, module)
        error = float((changes(file, module) - whole).norm() / whole.norm())
        assert error < 1e-3
        assert next(layer.norm for layer in made.layers if layer.name == module) == pytest.approx(float(whole.norm()))
    assert (made.precision, made.left_out, made.compressed) == ("fp16", 0.0, False)
    assert 0 < made.rounding < 1e-3
    assert made.lines == [
        "2 layers, the exact sum, of rank 6.",
        f"Rounding to fp16 adds an error of {made.rounding:.2g} of the change.",
    ]


def test_where_nothing_is_scaled_the_numbers_stay_as_they_are(tmp_path: Path) -> None:
    loras = [(lora(tmp_path / f"{i}.safetensors", seed=i, alpha=alpha), 1.0) for i, alpha in enumerate((2.0, 1.0, 0.5))]
    made = combined(loras, tmp_path / "sum.safetensors")
    assert made.rounding == 0.0
    assert made.lines[-1] == "Rounding to fp16 adds nothing."
    for module in SIDES:
        torch.testing.assert_close(changes(read_lora(made.out), module), summed(loras, module), rtol=0, atol=1e-15)


def test_ranks_beyond_a_layers_own_are_written_without_loss_as_its_own(tmp_path: Path) -> None:
    loras = [(lora(tmp_path / f"{i}.safetensors", 2, seed=i, dtype=torch.float32), 1.0) for i in range(30)]
    made = combined(loras, tmp_path / "sum.safetensors")
    assert {layer.name: layer.rank for layer in made.layers} == {CONV: 10, ATTENTION: 12}
    assert "ranks of up to 60, written without loss as 12" in made.lines[0]
    assert made.left_out == 0.0
    for module in SIDES:
        torch.testing.assert_close(changes(read_lora(made.out), module), summed(loras, module), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("inputs", "precision"),
    [
        ((torch.float16, torch.float16), "fp16"),
        ((torch.bfloat16, torch.float16), "fp16"),
        ((torch.float16, torch.float32), "fp32"),
    ],
)
def test_the_numbers_are_those_of_the_files_and_at_least_half_precision(
    tmp_path: Path, inputs: Sequence[torch.dtype], precision: str
) -> None:
    loras = [(lora(tmp_path / f"{i}.safetensors", seed=i, dtype=dtype), 1.0) for i, dtype in enumerate(inputs)]
    made = combined(loras, tmp_path / "sum.safetensors")
    assert made.precision == precision
    stored = {tensor.dtype for name, tensor in load_file(made.out).items() if "weight" in name}
    assert stored == {torch.float16 if precision == "fp16" else torch.float32}


@pytest.mark.parametrize("scale", [3e4, 1e-7])
def test_numbers_that_half_precision_cannot_hold_are_written_in_full(tmp_path: Path, scale: float) -> None:
    path = lora(tmp_path / "a.safetensors", scale=scale, dtype=torch.bfloat16)
    made = combined(
        [(path, 10.0), (lora(tmp_path / "b.safetensors", scale=scale / 1e3, seed=1), 1.0)], tmp_path / "x.safetensors"
    )
    assert made.precision == "fp32"
    assert any("written in fp32" in note for note in made.notes)
    assert made.rounding < 1e-6


# --- compressed


def test_compressing_says_the_error_of_every_layer_as_it_is(tmp_path: Path) -> None:
    loras = [(lora(tmp_path / f"{i}.safetensors", 4, seed=i, dtype=torch.float32), 0.9) for i in range(2)]
    made = combined(loras, tmp_path / "small.safetensors", rank=3)
    file, left_out, whole = read_lora(made.out), 0.0, 0.0
    for layer in made.layers:
        exact = summed(loras, layer.name)
        error = float((changes(file, layer.name) - exact).norm() / exact.norm())
        assert layer.rank == 3
        assert layer.left_out == pytest.approx(error, rel=1e-4)
        assert error == pytest.approx(float(torch.linalg.svdvals(exact)[3:].norm() / exact.norm()), rel=1e-4)
        left_out += error**2 * float(exact.norm()) ** 2
        whole += float(exact.norm()) ** 2
    assert made.left_out == pytest.approx((left_out / whole) ** 0.5, rel=1e-4)
    assert made.lines[0] == "2 layers, ranks of up to 8 compressed to 3."
    assert f"Left out: {made.left_out:.2%} of the change; most in conv_in " in made.lines[1]
    said = stated_combination(file.metadata)
    assert said is not None
    assert said.rank == 3
    assert said.left_out == pytest.approx(made.left_out)
    layers = json.loads(file.metadata[COMBINED_KEY])["layers"]
    assert layers == {layer.name: pytest.approx(layer.left_out, abs=1e-6) for layer in made.layers}


def test_a_rank_that_leaves_nothing_out_says_so(tmp_path: Path) -> None:
    loras = [(lora(tmp_path / f"{i}.safetensors", seed=i), 1.0) for i in range(2)]
    made = combined(loras, tmp_path / "same.safetensors", rank=MOST_RANK)
    assert made.rank == 4
    assert made.lines[1] == "Nothing of the change is left out."


# --- what it says of itself


def test_the_new_file_says_what_it_erases_and_of_what_it_was_made(tmp_path: Path) -> None:
    base = {"ss_sd_model_name": "base.safetensors", "ss_new_sd_model_hash": "ab" * 32, "ss_sd_model_hash": "ab" * 4}
    one = lora(tmp_path / "one.safetensors", erase=["church"], metadata=base)
    two = lora(
        tmp_path / "two,b.safetensors",
        seed=1,
        erase=["car", "bus"],
        metadata={**base, "ss_steps": "90", VERDICT_KEY: "{}"},
    )
    made = combined([(one, 1.0), (two, 0.8)], tmp_path / "sum.safetensors")
    report = explain_lora(made.out)
    assert report.whole
    assert report.problems == ()
    assert report.erases == made.erases == ("church", "car", "bus")
    assert report.verdict is None
    assert report.base == {"checkpoint": "base.safetensors", "sha256": "ab" * 32, "short hash": "ab" * 4}
    assert report.trained.keys() == {"made"}  # nobody trained it
    assert report.combined is not None
    assert [(part.name, part.weight, part.erases, part.sha256) for part in report.combined.parts] == [
        ("one", 1.0, ("church",), sha256_of_files([one])),
        ("two,b", 0.8, ("car", "bus"), sha256_of_files([two])),
    ]
    assert report.config is not None
    assert {key: report.config[key] for key in ("erase", "rank", "alpha", "layers", "save_precision")} == {
        "erase": ["church", "car", "bus"], "rank": 4, "alpha": 4.0, "layers": "full", "save_precision": "fp16",
    }  # fmt: skip
    metadata = read_lora(made.out).metadata
    assert metadata["modelspec.merged_from"] == "one, two;b"
    assert metadata["ss_output_name"] == "sum"
    assert "ss_steps" not in metadata
    assert str(tmp_path) not in json.dumps(metadata)
    parts = "  one (weight 1, erases church)\n  two,b (weight 0.8, erases car, bus)\n"
    assert f"combined from:\n{parts}" in str(report)


def test_inspect_share_judge_and_the_check_of_received_files_take_it(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loras = [
        (
            random_lora(
                tmp_path / f"{name}.safetensors",
                metadata=metadata_of(name, config=erase_config(erase=[name]).to_dict()),
            ),
            0.5,
        )
        for name in ("church", "bell")
    ]
    made = combined(loras, tmp_path / "both.safetensors", rank=2)
    assert main(["inspect", str(made.out)]) == 0
    assert f"measured: {UNMEASURED}" in capsys.readouterr().out
    check = check_received(made.out, tiny_checkpoint)
    assert (check.erases, check.whole, check.measured) == (("church", "bell"), True, (UNMEASURED,))
    assert check.combined.startswith("church (weight 0.5, erases church), bell (weight 0.5, erases bell); compressed")
    assert measure_task(tiny_checkpoint, made.out, {}).config.erase == ("church", "bell")
    share_lora(share_order(made.out, "creativeml-openrail-m"), tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert "nobody has measured what they do together" in card
    assert "combined from these LoRAs, compressed to rank 2" in card
    assert "| church | 0.5 | church |" in card


def test_a_combined_file_can_be_combined_again(tmp_path: Path) -> None:
    one, two = (lora(tmp_path / f"{n}.safetensors", seed=i, erase=[n]) for i, n in enumerate(("church", "car")))
    first = combined([(one, 1.0), (two, 1.0)], tmp_path / "first.safetensors")
    again = combined([(first.out, 1.0), (one, -1.0)], tmp_path / "again.safetensors")
    assert again.erases == ("church", "car")
    assert "first was combined from church, which so counts twice" in again.notes
    torch.testing.assert_close(changes(read_lora(again.out), CONV), summed([(two, 1.0)], CONV), rtol=0, atol=1e-6)


def test_what_a_part_says_of_itself_is_only_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lora(tmp_path / "a.safetensors", metadata={CONFIG_KEY: json.dumps({"erase": [HOSTILE, "\x1b[2J" * 3]})})
    made = combined([(path, 1.0), (lora(tmp_path / "b.safetensors", seed=1), 1.0)], tmp_path / "sum.safetensors")
    assert main(["inspect", str(made.out)]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}", '{"parts": []}', '{"parts": [3]}', '{"parts": [{"name": "a", "weight": "1"}]}', '{"parts": {}}',
     '{"parts": [{"weight": NaN}]}', '{"parts": [{"weight": true}]}'],
)  # fmt: skip
def test_nonsense_about_parts_is_not_believed(tmp_path: Path, said: str) -> None:
    path = lora(tmp_path / "a.safetensors", metadata={COMBINED_KEY: said})
    assert explain_lora(path).combined is None


def test_many_and_long_parts_are_cut(tmp_path: Path) -> None:
    part = {"name": "n" * 10_000, "weight": 1, "erases": ["x" * 10_000] * 500, "sha256": 3}
    path = lora(
        tmp_path / "a.safetensors",
        metadata={COMBINED_KEY: json.dumps({"parts": [part] * 3, "rank": -1, "left_out": []})},
    )
    found = stated_combination(read_lora(path).metadata)
    assert found is not None
    assert (len(found.parts[0].name), len(found.parts[0].erases), found.rank, found.left_out) == (200, 100, 0, 0.0)


# --- what is refused, and what is noted


@pytest.fixture
def pair(tmp_path: Path) -> list[tuple[Path, float]]:
    return [(lora(tmp_path / f"{name}.safetensors", seed=i), 1.0) for i, name in enumerate("ab")]


def test_files_are_named_once_with_weights_that_do_something(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    (tmp_path / "link.safetensors").symlink_to(pair[0][0])
    out = tmp_path / "sum.safetensors"
    for loras, says in (
        ([], "name at least one"),
        ([*pair, pair[0]], "given more than once"),
        ([*pair, (tmp_path / "link.safetensors", 1.0)], "given more than once"),
        ([(pair[0][0], 0), pair[1]], "at weight 0 a.safetensors changes nothing"),
        ([(pair[0][0], float("nan"))], "not a number"),
        ([(pair[0][0], 11)], "not a number from -10 to 10"),
        ([(pair[0][0], True)], "not a number"),
    ):
        with pytest.raises(ConfigError, match=says):
            combine_task(loras, out)
    for rank in (-1, 1.5, True, "8", MOST_RANK + 1):
        with pytest.raises(ConfigError, match="rank: "):
            combine_task(pair, out, rank=rank)
    assert not out.exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no LoRA"])
def test_what_cannot_be_summed_is_refused_by_name(tmp_path: Path, pair: list[tuple[Path, float]], kind: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: torch.ones(shape) for name, shape in KINDS[kind].items()}, path)
    with pytest.raises(LoraFileError, match=r"other\.safetensors is "):
        combine_task([*pair, (path, 1.0)], tmp_path / "sum.safetensors")


def test_files_for_models_of_other_sizes_are_refused_with_the_layer(
    tmp_path: Path, pair: list[tuple[Path, float]]
) -> None:
    other = {f"{ATTENTION}.lora_down.weight": torch.ones(1, 24), f"{ATTENTION}.lora_up.weight": torch.ones(12, 1)}
    save_file(other, tmp_path / "wide.safetensors")
    with pytest.raises(LoraFileError, match=r"a\.safetensors and wide\.safetensors are for models of different sizes"):
        combine_task([*pair, (tmp_path / "wide.safetensors", 1.0)], tmp_path / "sum.safetensors")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["lora_up.weight", "lora_down.weight", "alpha"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float, part: str) -> None:
    path = lora(tmp_path / "a.safetensors", alpha=2.0)
    tensors = load_file(path)
    tensors[f"{CONV}.{part}"].view(-1)[0] = bad
    save_file(tensors, path)
    with pytest.raises(LoraFileError, match="not finite"):
        combine_task([(path, 1.0)], tmp_path / "sum.safetensors")


def test_an_up_with_a_kernel_is_no_lora(tmp_path: Path) -> None:
    tensors = {f"{CONV}.lora_down.weight": torch.ones(2, 4, 3, 3), f"{CONV}.lora_up.weight": torch.ones(10, 2, 3, 3)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(LoraFileError, match="do not match"):
        combine_task([(tmp_path / "a.safetensors", 1.0)], tmp_path / "sum.safetensors")


def test_nothing_is_overwritten_unless_asked_and_a_source_never(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    out = tmp_path / "sum.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(OutputExists):
        combine_task(pair, out)
    with pytest.raises(OutputRefused):
        combine_task(pair, pair[0][0], overwrite=True)
    with pytest.raises(OutputRefused):
        combine_task(pair, tmp_path / "sum.ckpt")
    assert combined(pair, out, overwrite=True).out == out
    assert read_lora(out)


def test_files_that_cancel_each_other_make_no_file(tmp_path: Path) -> None:
    one, other = (lora(tmp_path / f"{name}.safetensors") for name in "ab")
    task = combine_task([(one, 1.0), (other, -1.0)], tmp_path / "sum.safetensors")
    assert "a and b are the same file: it counts twice" in task.notes
    with pytest.raises(LoraFileError, match="change nothing"):
        run_to_end(combine(task))
    assert not task.out.exists()


def test_a_combination_that_is_given_up_leaves_nothing(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    making = combine(combine_task(pair, tmp_path / "sum.safetensors"))
    next(making)
    making.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_different_bases_are_noted_and_none_is_claimed(tmp_path: Path) -> None:
    loras = [
        (
            lora(
                tmp_path / f"{name}.safetensors",
                seed=i,
                metadata={"ss_sd_model_name": name, "ss_new_sd_model_hash": name * 64},
            ),
            1.0,
        )
        for i, name in enumerate("ab")
    ]
    made = combined(loras, tmp_path / "sum.safetensors")
    assert any("made from different bases (a, b)" in note for note in made.notes)
    assert "ss_new_sd_model_hash" not in read_lora(made.out).metadata


# --- refining


def refinable(tmp_path: Path, *names: str, rank: int = 2, **options: Any) -> CombineTask:
    loras = [
        (lora(tmp_path / f"{n}.safetensors", rank, seed=i, layers=[ATTENTION], erase=[n]), 1.0)
        for i, n in enumerate(names)
    ]
    return combine_task(loras, tmp_path / "joint.safetensors", **options)


def test_refining_trains_what_the_joint_file_has_within_the_rows(tmp_path: Path) -> None:
    task = refinable(tmp_path, "church", "car", "bell")
    config = refine_config(task)
    assert (config.erase, config.rank, config.alpha, config.layers) == (("church", "car", "bell"), 6, 6.0, "xattn_v")
    for rows in (100, 600, 3000, 20_000):
        settled = refine_config(task, rows)
        book = forecast_rows(settled)
        total = start_rows(settled, 3).total + book["training"].total + book["looks"].total
        assert 0.8 * rows < total or settled.look_every
        # Joining takes its own, and one update is always made.
        assert total <= rows or settled.steps == 1
    assert refine_config(task, 100).steps == 1
    assert refine_config(task, 20_000).look_every
    assert not refine_config(task, 600).look_every
    assert (
        refine_config(refinable(tmp_path, "church", "car", rank=2, overwrite=True, given={"steps": 77}), 600).steps
        == 77
    )
    assert refine_config(refinable(tmp_path, "church", "car"), 1).steps == 1


def test_no_more_is_trained_than_a_layer_can_hold(tmp_path: Path) -> None:
    assert refine_config(refinable(tmp_path, "church", "car", rank=40)).rank == 12


def test_who_refines_files_made_elsewhere_must_say_what_they_erase(tmp_path: Path) -> None:
    loras = [
        (lora(tmp_path / "ours.safetensors", erase=["church"]), 1.0),
        (lora(tmp_path / "foreign.safetensors", seed=1), 1.0),
    ]
    with pytest.raises(ConfigError, match="erase: foreign cannot be refined without saying what is erased"):
        refine_config(combine_task(loras, tmp_path / "sum.safetensors"))
    named = refine_config(combine_task(loras, tmp_path / "sum.safetensors", erase=["car"]))
    assert named.erase == ("church", "car")
    with pytest.raises(ConfigError, match="method: uce works in one step"):
        refine_config(combine_task(loras, tmp_path / "sum.safetensors", erase=["car"], given={"method": "uce"}))
    for rows in (0, -1, True, 1.5, "many", 10**9):
        with pytest.raises(ConfigError, match="rows: "):
            refine_config(combine_task(loras, tmp_path / "sum.safetensors", erase=["car"]), rows)


# --- the command


def run(*arguments: object) -> int:
    return main(["combine", *map(str, arguments)])


def test_the_command_says_what_came_of_it(
    tmp_path: Path, pair: list[tuple[Path, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sum.safetensors"
    assert run(pair[0][0], f"{pair[1][0]}:0.5", "--out", out) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:2] == [str(out), "2 layers, the exact sum, of rank 4."]
    spelt = [f"{path.parent}/.//{path.name}" for path, _ in pair]  # not as a path would be written back
    assert run(*spelt, "--weight", 0.5, "--rank", 1, "--out", out, "--overwrite", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["file"], values["rank"], len(values["layers"])) == ("sum.safetensors", 1, 2)
    assert [part.weight for part in stated_combination(read_lora(out).metadata).parts] == [0.5, 0.5]  # type: ignore[union-attr]


def test_the_command_ends_with_one_line_for_what_is_wrong(
    tmp_path: Path, pair: list[tuple[Path, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (path for path, _ in pair)
    out = ("--out", tmp_path / "sum.safetensors")
    for code, says, arguments in (
        (2, "--checkpoint: needed to refine", (a, b, "--refine")),
        (2, "--rows: only with --refine", (a, b, "--rows", 3)),
        (2, "weights for 2 files", (a, b, "--weight", 1, "--weight", 2, "--weight", 3)),
        (2, "--weight: does not go with FILE:WEIGHT", (f"{a}:1", b, "--weight", 1)),
        (2, "given more than once", (a, a)),
        (2, "rank: 9999", (a, b, "--rank", 9999)),
        (1, "there is no file", (a, tmp_path / "none.safetensors")),
        (2, "is not a number; write FILE:0.8", (f"{a}:x", b)),
    ):
        assert run(*arguments, *out) == code
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    assert not (tmp_path / "sum.safetensors").exists()


def test_a_checkpoint_of_another_size_is_refused_before_anything_is_written(
    tmp_path: Path, pair: list[tuple[Path, float]], tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sum.safetensors"
    assert run(*(path for path, _ in pair), "--out", out, "--checkpoint", tiny_checkpoint) == 1
    assert "does not fit the model" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_pictures_show_before_the_exact_sum_and_the_compressed_file(tmp_path: Path, tiny_checkpoint: Path) -> None:
    loras = [random_lora(tmp_path / f"{name}.safetensors", {"erase": [name]}) for name in ("church", "bell")]
    out, sheet = tmp_path / "sum.safetensors", tmp_path / "sum-pictures.png"
    assert run(*loras, "--rank", 1, "--out", out, "--checkpoint", tiny_checkpoint, "--device", "cpu") == 0
    with Image.open(sheet) as picture:
        assert picture.width > 6 * 16  # two seeds each
    assert run(*loras, "--out", tmp_path / "other.safetensors") == 0
    out.unlink()
    assert run(*loras, "--out", out, "--checkpoint", tiny_checkpoint) == 2  # the pictures are there


def test_refining_starts_a_run_from_the_files(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Task] = []

    def erase(task: Task) -> Any:
        started.append(task)
        raise EraseError("that was all")

    monkeypatch.setattr("erasure.run.beginning.erase", erase)
    loras = [random_lora(tmp_path / f"{name}.safetensors", {"erase": [name]}) for name in ("church", "bell")]
    settings = tmp_path / "settings.json"
    settings.write_text('{"seed": 5}', encoding="utf-8")
    given = (
        "--refine",
        "--rows",
        300,
        "--config",
        settings,
        "--preserve",
        "dog",
        "--run",
        tmp_path / "run",
        "--device",
        "cpu",
    )
    out = tmp_path / "joint.safetensors"
    assert run(*loras, "--weight", 0.5, "--out", out, "--checkpoint", tiny_checkpoint, *given) == 1
    [task] = started
    assert (task.checkpoint, task.out, task.folder.path) == (tiny_checkpoint, out, tmp_path / "run")
    assert (task.config.erase, task.config.preserve, task.config.seed) == (("church", "bell"), ("dog",), 5)
    assert (task.config.rank, task.config.layers) == (4, "xattn_kv")
    assert task.parents == tuple(Parent(path, 0.5, (path.stem,)) for path in loras)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_pictures")
def test_a_refined_file_says_of_what_it_was_made(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"neighbours": 3, "synonym_threshold": 0.0, "look_every": 0, "judged_words": 0, "sampling_steps": 3}
    loras = [random_lora(tmp_path / f"{name}.safetensors", {"erase": [name], **quick}) for name in ("church", "bell")]
    words, settings = tmp_path / "words.txt", tmp_path / "settings.json"
    words.write_text("truck\nbus\nhouse\ntower\ndog\n", encoding="utf-8")
    settings.write_text(json.dumps({"vocabulary": "file", "vocabulary_file": str(words), "steps": 2}), encoding="utf-8")
    out, folder = tmp_path / "joint.safetensors", tmp_path / "run"
    given = ("--refine", "--config", settings, "--run", folder, "--device", "cpu", "--checkpoint", tiny_checkpoint)
    assert run(loras[0], f"{loras[1]}:0.5", "--out", out, *given) == 0
    assert f"done: {out}" in capsys.readouterr().out
    said = stated_combination(read_lora(out).metadata)
    assert said is not None
    assert said.refined
    assert [(part.name, part.weight, part.erases, part.sha256) for part in said.parts] == [
        ("church", 1.0, ("church",), sha256_of_files([loras[0]])),
        ("bell", 0.5, ("bell",), sha256_of_files([loras[1]])),
    ]
    report = explain_lora(out)
    assert (report.erases, report.ranks, report.trained["updates"]) == (("church", "bell"), (4,), "2")
    assert "combined from (trained on together):" in str(report)
    assert check_received(out, tiny_checkpoint).measured == ()  # nobody asked to judge
