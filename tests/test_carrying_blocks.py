from __future__ import annotations

import pytest
import torch
from torch import Tensor

from erasure.config.values import config_from_dict
from erasure.lora.adapter import UP, inject_lora, lora_layers, lora_state
from erasure.lora.layer_choice import text_values
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.carrying_blocks import LEAST_SHARE, block_of, block_shares, carrying_blocks
from erasure.training.closed_start import ClosedStart
from tests.spaces import space_of

PROMPTS, ANCHORS = ["church", "a photo of a church"], ["zebra", "a photo of a zebra"]


@pytest.fixture
def edited(all_layers_models: ModelParts) -> tuple[ClosedStart, dict[str, Tensor]]:
    """An edit of church, and its weights in all blocks."""
    inject_lora(all_layers_models.unet, "xattn", 4, 4.0, 0)
    config = config_from_dict({"erase": ["church"], "anchor": ["zebra"], "rank": 4})
    start = ClosedStart(Model(all_layers_models), space_of("church", anchor="zebra"), config)
    return start, start.weights()


def _shares(models: ModelParts, edit: dict[str, Tensor], anchors: list[str] = ANCHORS) -> dict[str, float]:
    return block_shares(Model(models), edit, PROMPTS, anchors, 3)


def _faded(edit: dict[str, Tensor], block: str, factor: float) -> dict[str, Tensor]:
    return {key: factor * w if key.endswith(UP) and block_of(key) == block else w for key, w in edit.items()}


def test_a_block_carries_the_concept_if_its_share_is_not_far_below_the_largest() -> None:
    shares = {
        "down_blocks.1": 0.4,
        "mid_block": 0.4 * LEAST_SHARE,
        "up_blocks.1": 0.39 * LEAST_SHARE,
        "up_blocks.2": -1,
    }
    assert carrying_blocks(shares) == {"down_blocks.1", "mid_block"}


def test_if_no_block_does_all_are_edited() -> None:
    assert carrying_blocks({"mid_block": -0.1, "up_blocks.1": 0.0}) == {"mid_block", "up_blocks.1"}


def test_a_layer_of_attention_lies_in_a_block() -> None:
    assert block_of("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v") == "down_blocks.1"
    assert block_of("mid_block.attentions.0.transformer_blocks.3.attn2.to_v.lora_up.weight") == "mid_block"


def test_the_edit_goes_on_its_way_to_the_anchor_and_on_no_other(
    all_layers_models: ModelParts, edited: tuple[ClosedStart, dict[str, Tensor]]
) -> None:
    _, edit = edited
    shares = _shares(all_layers_models, edit)
    assert set(shares) == {block_of(name) for name in text_values(lora_layers(all_layers_models.unet))}
    assert sum(shares.values()) > 0.1
    assert sum(_shares(all_layers_models, edit, ["bus", "a photo of a bus"]).values()) < sum(shares.values())
    assert all(torch.equal(edit[key], weight) for key, weight in lora_state(all_layers_models.unet).items())


def test_what_is_edited_less_has_a_smaller_share(
    all_layers_models: ModelParts, edited: tuple[ClosedStart, dict[str, Tensor]]
) -> None:
    _, edit = edited
    shares = _shares(all_layers_models, edit)
    largest = max(shares, key=lambda block: shares[block])
    faded = _shares(all_layers_models, _faded(edit, largest, 0.01))
    assert faded[largest] < 0.1 * shares[largest]
    assert all(faded[block] == pytest.approx(share) for block, share in shares.items() if block != largest)


def test_blocks_that_do_not_carry_the_concept_are_left_as_they_were(
    all_layers_models: ModelParts, edited: tuple[ClosedStart, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, edit = edited
    blocks = {block_of(name) for name in text_values(lora_layers(all_layers_models.unet))}
    idle = max(blocks)

    def shares(*given: object) -> dict[str, float]:
        return {block: 0.0 if block == idle else 1.0 for block in blocks}

    monkeypatch.setattr("erasure.training.closed_start.block_shares", shares)
    start.leave_idle_blocks()
    assert {block_of(stage) for stage, _ in start.edits()} == blocks - {idle}
    for key, weight in start.weights().items():
        if key.endswith(UP) and edit[key].any():
            assert bool(weight.any()) == (block_of(key) != idle)
