"""ESR-k and PSR-k without a classifier: which of several prompts explains a picture best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from emoji_sd import MODEL
from emoji_sd.captions import measured_caption
from erasure.bench.cell import Bench, Cell
from erasure.bench.ranks import other_prompts
from erasure.bench.suite import SuiteOptions
from erasure.bench.suites import suite
from erasure.bench.variant import variant
from erasure.bench.work import work
from erasure.judge.judge import Judge
from erasure.judge.scores import Denoised
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.drawing import run_to_end
from erasure.model.model import Model, open_model
from tests.test_bench import bench  # noqa: F401
from tests.test_judge import SMALL

pytestmark = pytest.mark.usefixtures("quick_pictures")


def test_the_rank_is_the_number_of_prompts_that_leave_less_error() -> None:
    errors = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.2, 0.1], [math.nan] * 3])
    assert Denoised(errors, torch.zeros(4, 3)).ranks() == [0, 2, 1, 2]  # what is no picture shows nothing


def test_ranks_do_not_depend_on_the_order_of_other_prompts_and_take_a_row_for_each(tiny_model: Model) -> None:
    judge = Judge(tiny_model, SMALL)
    latents = torch.randn((3, *tiny_model.latent_shape), generator=torch.Generator().manual_seed(3))
    own, others = ["church", "dog", "bell"], [["truck", "bus"], ["tower", "house"], ["bus", "dog"]]
    found = judge.ranks(latents, own, others)
    assert tiny_model.rows.all.total == 3 * 3 * len(SMALL.timesteps)
    assert judge.ranks(latents, own, [rest[::-1] for rest in others]) == found


@pytest.mark.slow
def test_emoji_sd_tells_what_its_own_pictures_show() -> None:
    concepts = ("church", "truck", "dog", "fish")
    judge = Judge(open_model(inspect_checkpoint(MODEL)))
    prompts = [measured_caption(name, "flat") for name in concepts]
    others = [[other for other in prompts if other != own] for own in prompts]
    latents = run_to_end(judge.draw(prompts, [1, 2, 3, 4]))
    assert judge.ranks(latents, prompts, others) == [0, 0, 0, 0]
    # What was drawn of another prompt is not taken for the first.
    assert all(rank > 0 for rank in judge.ranks(latents.roll(1, 0), prompts, others))


@pytest.mark.parametrize("limit", [0, 2])
def test_what_a_picture_is_compared_with_differs_in_the_label_alone(limit: int) -> None:
    whole, few = suite("emoji", SuiteOptions()), suite("emoji", SuiteOptions(limit=limit))
    found = other_prompts(few.set("single-church"), whole.set("single-church"))
    assert all(len(others) == 24 for group in found.values() for others in group.values())
    for prompt, others in found["ESR"].items():
        style = prompt.partition(" in ")[2]
        assert all(other.endswith(style) and "church" not in other for other in others)
    for prompt, others in other_prompts(few.set("style-flat"), whole.set("style-flat"))["ESR"].items():
        concept = prompt.removesuffix("flat style")
        assert sorted(others) == sorted(f"{concept}{style} style" for style in ("3d", "pixel", "blueprint"))


@pytest.mark.slow
def test_a_bench_ranks_before_and_after_and_what_was_before_only_once(
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = SuiteOptions(limit=2, steps=2, batch=4, metrics=("ranks",))
    asked: list[int] = []

    def ranks(judge: Judge, latents: Tensor, prompts: Sequence[str], others: Sequence[Sequence[str]]) -> list[int]:
        asked.append(len(prompts))
        return [int(len(asked) > 3)] * len(latents)  # all first before, in three groups, and none after

    monkeypatch.setattr(Judge, "ranks", ranks)
    cells = [Cell(replace(bench, options=options), "single-church", variant(name), 0) for name in ("uce", "time")]
    rows = [run_to_end(work(cell)) for cell in cells]
    for row in rows:
        assert [row["before"][f"judged {name}"] for name in ("ESR-1", "PSR-1", "outside-1")] == [0.0, 100.0, 100.0]
        assert [row["after"][f"judged {name}"] for name in ("ESR-1", "PSR-1", "outside-1")] == [100.0, 0.0, 0.0]
    assert asked == [2] * 9  # three groups before, and after each of the two
    run_to_end(work(cells[0]))
    assert len(asked) == 9  # what was found is kept
    other = replace(bench, options=options, settings={**bench.settings, "templates": ("a house[ in {}]",)})
    run_to_end(work(replace(cells[0], bench=other)))
    assert len(asked) == 15  # but not of what is judged otherwise
