"""Embeddings are remembered on the CPU, and no more of them than there is room for."""

from __future__ import annotations

import gc

import torch
from torch import nn

from erasure.lora.adapter import (
    ADAPTER,
    inject_lora_on,
    layer_weights,
    lora_layers,
    lora_weight,
    remove_lora,
    without_lora,
)
from erasure.lora.layer_choice import base_layers
from erasure.model.conditioning import Conditioning
from erasure.model.embedding import Embedder
from erasure.model.learnt_words import LearntWord, token_vectors
from erasure.model.parts import ModelParts
from tests import tiny_xl
from tests.test_lora import randomise

ONE = 77 * 32 * 4  # bytes of a prompt of the tiny model
WORDS = ["a church", "dog"]


def _encoded(parts: ModelParts) -> list[int]:
    calls: list[int] = []
    parts.text_encoder.register_forward_pre_hook(
        lambda _, args, given: calls.append(len(args[0] if args else given["input_ids"])), with_kwargs=True
    )
    return calls


def test_a_known_prompt_is_not_encoded_again(tiny_models: ModelParts) -> None:
    embedder, calls = Embedder(tiny_models), _encoded(tiny_models)
    first = embedder(["church", "dog", "church"])
    again = embedder(["dog", "church"])
    assert calls == [2]
    assert torch.equal(first.states[[1, 0]], again.states)
    assert torch.equal(first.states[0], first.states[2])


def test_the_least_recently_used_prompts_are_forgotten(tiny_models: ModelParts) -> None:
    embedder, calls = Embedder(tiny_models, most=3 * ONE), _encoded(tiny_models)
    embedder(["a", "b", "c"])
    embedder(["a"])
    embedder(["d"])
    assert calls == [3, 1]
    embedder(["a", "c", "d"])
    assert calls == [3, 1]
    embedder(["b"])
    assert calls == [3, 1, 1]


def test_memory_stays_below_its_bound_and_every_prompt_is_still_answered(tiny_models: ModelParts) -> None:
    words = [f"word {i}" for i in range(150)]
    embedder, roomy = Embedder(tiny_models, most=10 * ONE), Embedder(tiny_models)
    assert torch.equal(embedder(words).states, roomy(words).states)
    assert embedder.remembered_bytes == 10 * ONE
    held = [embedded.states for embedded in embedder._known.values()]
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) == 10 * ONE, "no view of a whole batch"
    assert {tensor.dtype for tensor in held} == {torch.float32}


# --- with a LoRA on the text encoders


def _put_on(parts: ModelParts, seed: int, scale: float = 1.0) -> None:
    """A LoRA with other weights for every seed, on all text encoders."""
    for reader in parts.texts:
        inject_lora_on(reader.encoder, [name for name in base_layers(reader.encoder) if "fc1" in name], 2, 2.0, seed)
        randomise(reader.encoder, seed)
        for layer in lora_layers(reader.encoder).values():
            layer.set_scale(ADAPTER, scale)


def _fresh(parts: ModelParts) -> Conditioning:
    """What the model is told, by an embedder that remembers nothing."""
    return Embedder(parts)(WORDS)


def _same(one: Conditioning, other: Conditioning) -> bool:
    return len(one.tensors) == len(other.tensors) and all(map(torch.equal, one.tensors, other.tensors))


def test_a_lora_changes_what_the_tuned_model_is_told_and_not_the_frozen_one(tiny_models: ModelParts) -> None:
    embedder = Embedder(tiny_models)
    before = embedder(WORDS)
    assert before.frozen_states is None
    _put_on(tiny_models, 1)
    after = embedder(WORDS)
    assert _same(after.as_frozen, before)
    assert float((after.states - before.states).abs().max()) > 0.01
    assert _same(Embedder(tiny_models, most=0)(WORDS), after)


def test_nothing_is_remembered_of_another_lora(tiny_models: ModelParts) -> None:
    embedder, (encoder,) = Embedder(tiny_models), [reader.encoder for reader in tiny_models.texts]
    plain = embedder(WORDS)
    _put_on(tiny_models, 1)
    first, calls = embedder(WORDS), _encoded(tiny_models)
    assert _same(embedder(WORDS), first)
    assert calls == [], "nothing changed, so nothing is read again"
    randomise(encoder, 2)  # in place, as an optimizer changes it
    second = embedder(WORDS)
    assert _same(second, _fresh(tiny_models))
    with lora_weight(encoder, 0.5):
        half = embedder(WORDS)
        assert _same(half, _fresh(tiny_models))
    assert _same(embedder(WORDS), second)
    with without_lora(encoder):
        assert torch.equal(embedder(WORDS).states, plain.states)
    assert _same(embedder(WORDS), second)
    remove_lora(encoder)
    assert _same(embedder(WORDS), plain)
    assert not _same(first, second)
    assert not _same(half, second)


def test_a_new_weight_is_not_taken_for_an_old_one_that_was_in_the_same_place(tiny_models: ModelParts) -> None:
    _put_on(tiny_models, 1)
    embedder, layer = Embedder(tiny_models), next(iter(lora_layers(tiny_models.text_encoder).values()))
    before, old = embedder(WORDS), layer_weights(layer)[1]
    place, version, zeros = id(old), old._version, torch.zeros(old.shape)
    del old, layer.lora_B[ADAPTER].weight
    gc.collect()
    made = [nn.Parameter(zeros)]
    while id(made[-1]) != place and len(made) < 10_000:
        made.append(nn.Parameter(zeros))
    new = layer.lora_B[ADAPTER].weight = made[-1]
    with torch.no_grad():
        for _ in range(version):
            new.add_(0.1)
    after = embedder(WORDS)
    assert _same(after, _fresh(tiny_models))
    assert not _same(after, before)


def test_what_a_text_means_is_asked_of_the_frozen_model(tiny_models: ModelParts) -> None:
    embedder = Embedder(tiny_models)
    before = embedder.pooled(WORDS)
    _put_on(tiny_models, 1)
    assert torch.equal(embedder.pooled(WORDS), before)


def test_an_empty_prompt_of_sdxl_stays_zeros_for_both_models() -> None:
    parts = tiny_xl.build_tiny_xl()
    plain = Embedder(parts)(WORDS)
    _put_on(parts, 1)
    told = Embedder(parts)([*WORDS, ""])
    assert len(told.tensors) == 4
    assert all(not tensor[-1].any() for tensor in told.tensors)
    assert _same(told[: len(WORDS)].as_frozen, plain)
    assert told.pooled is not None
    assert plain.pooled is not None
    assert float((told.pooled[0] - plain.pooled[0]).abs().max()) > 0.01
    assert float((told.states[0, :, : tiny_xl.WIDTH] - plain.states[0, :, : tiny_xl.WIDTH]).abs().max()) > 0.01


def test_both_models_are_told_a_learnt_word(tiny_models: ModelParts) -> None:
    vectors = token_vectors(tiny_models, "fuel pump", 2)
    plain = LearntWord(tiny_models, vectors)(["a {}"])
    assert plain.frozen_states is None
    _put_on(tiny_models, 1)
    word = LearntWord(tiny_models, vectors)
    told, known = word(["a {}"]), Embedder(tiny_models)(["a fuel pump"])
    assert told.frozen_states is not None
    assert torch.equal(told.frozen_states, plain.states)
    torch.testing.assert_close(told.states, known.states, rtol=1e-4, atol=1e-5)
    for states in (told.states, told.frozen_states):
        (way,) = torch.autograd.grad(states.square().mean(), word.vectors, retain_graph=True)
        assert way.abs().sum() > 0
