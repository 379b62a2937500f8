"""Text encoders in OpenCLIP's layout give the same states by transformers' names."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from erasure.model.open_clip import clip_names
from tests.open_clip import OpenClipText

WIDTH, LAYERS, HEADS, PROJECTION, WORDS, TOKENS = 32, 3, 4, 24, 100, 7


@pytest.fixture
def original() -> OpenClipText:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return OpenClipText(
            width=WIDTH, layers=LAYERS, heads=HEADS, projection=PROJECTION, words=WORDS, tokens=TOKENS
        ).eval()


def named(original: OpenClipText, *, projection: bool = False) -> dict[str, torch.Tensor]:
    return clip_names({**original.state_dict(), "diffusion_model.out.2.bias": torch.ones(4)}, projection=projection)


@torch.no_grad()
def test_it_gives_the_states_and_the_pooled_text_of_the_original(original: OpenClipText) -> None:
    config = CLIPTextConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=TOKENS,
        projection_dim=PROJECTION,
        hidden_act="gelu",
        eos_token_id=WORDS - 1,
    )
    model = CLIPTextModelWithProjection(config).eval()
    known = {name.removeprefix("text_model."): name for name in model.state_dict()}
    weights = named(original, projection=True)
    found = {known[name.removeprefix("text_model.")]: tensor for name, tensor in weights.items()}
    missing, surplus = model.load_state_dict(found, strict=False)
    assert (surplus, [name for name in missing if "position_ids" not in name]) == ([], [])
    ids = torch.tensor([[98, 5, 8, WORDS - 1, 0, 0, 0]])
    read = model(ids, output_hidden_states=True)
    torch.testing.assert_close(read.last_hidden_state, original.states(ids))
    torch.testing.assert_close(read.text_embeds, original.states(ids)[:, 3] @ original.text_projection)


def test_what_is_no_part_of_it_is_left_out(original: OpenClipText) -> None:
    without, projected = named(original), named(original, projection=True)
    assert set(projected) - set(without) == {"text_projection.weight"}
    assert not any("logit_scale" in name or "diffusion" in name for name in projected)
    assert len(without) == 4 + 16 * LAYERS


def test_the_last_layer_of_a_full_size_encoder_is_not_left_out() -> None:
    """The library drops it by the names of SD 2's files; whether it is run is for the configuration to say."""
    state = {
        "transformer.resblocks.23.ln_1.weight": torch.ones(2),
        "ln_final.weight": torch.ones(2),
    }
    assert "text_model.encoder.layers.23.layer_norm1.weight" in clip_names(state)


def test_a_file_without_its_final_norm_is_an_error() -> None:
    with pytest.raises(KeyError):
        clip_names({"token_embedding.weight": torch.ones(2, 2)})
