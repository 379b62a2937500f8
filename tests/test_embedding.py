"""Embeddings are remembered on the CPU, and no more of them than there is room for."""

from __future__ import annotations

import torch

from erasure.model.embedding import Embedder
from erasure.model.parts import ModelParts

ONE = 77 * 32 * 4  # bytes of a prompt of the tiny model


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
