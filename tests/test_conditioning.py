"""What a prompt tells the U-Net: batches that are put together, taken apart, mixed and moved."""

from __future__ import annotations

import pytest
import torch

from erasure.model.conditioning import Conditioning


def _batch(rows: int, seed: int = 0) -> Conditioning:
    return Conditioning(torch.randn(rows, 5, 3, generator=torch.Generator().manual_seed(seed)))


def test_rows_are_taken_and_put_together_again() -> None:
    batch = _batch(5)
    assert len(batch) == 5
    assert len(batch[2]) == 1
    for rows in (list(batch), batch.split(2), [batch[0], batch[1:4], batch[-1]]):
        assert torch.equal(Conditioning.cat(rows).states, batch.states)
    assert torch.equal(batch[[3, 1]].states, batch.states[[3, 1]])
    assert torch.equal(batch[torch.tensor([4, 4])].states, batch.states[[4, 4]])
    with pytest.raises(IndexError, match="prompt 5 of a batch of 5"):
        batch[5]


def test_one_prompt_is_repeated_without_a_copy() -> None:
    one = _batch(1)
    many = one.expand(4)
    assert len(many) == 4
    assert torch.equal(many[3].states, one.states)
    assert many.states.data_ptr() == one.states.data_ptr()


def test_a_mixture_is_the_weighted_sum_bit_for_bit_and_so_is_its_gradient() -> None:
    batch = Conditioning(torch.randn(20, 77, 96, generator=torch.Generator().manual_seed(0)))
    weights = torch.rand(20, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mixture = batch.mix(weights)
    wanted = torch.einsum("k,knd->nd", weights, batch.states)
    assert len(mixture) == 1
    assert torch.equal(mixture.states[0], wanted)
    way = torch.randn(77, 96)
    found, expected = (torch.autograd.grad(x, weights, way)[0] for x in (mixture.states[0], wanted))
    assert torch.equal(found, expected)


def test_a_gradient_ends_at_the_leaf() -> None:
    source = torch.ones(2, 5, 3, requires_grad=True)
    leaf = Conditioning(source * 2).leaf()
    gradient = leaf.gradient(leaf.states.square().sum())
    torch.testing.assert_close(gradient.states, torch.full((2, 5, 3), 4.0))
    assert source.grad is None
    assert torch.equal(leaf.detach().moved(gradient).states, torch.full((2, 5, 3), 6.0))


# --- what two models are told


def _of_both(rows: int, seed: int = 0) -> Conditioning:
    """As with a LoRA on the text encoders of a model with pooled texts."""
    random = torch.Generator().manual_seed(seed)
    tuned, frozen = (
        Conditioning(torch.randn(rows, 5, 3, generator=random), torch.randn(rows, 4, generator=random))
        for _ in range(2)
    )
    return tuned.beside(frozen)


def test_what_the_frozen_model_is_told_goes_along_with_its_row() -> None:
    batch, weights = _of_both(4), torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert batch.frozen_states is not None
    assert batch.frozen_pooled is not None
    assert batch.nbytes == 2 * (4 * 5 * 3 + 4 * 4) * 4
    frozen = batch.as_frozen
    assert torch.equal(frozen.states, batch.frozen_states)
    assert frozen.pooled is batch.frozen_pooled
    assert frozen.frozen_states is frozen.frozen_pooled is None
    for change in (
        lambda each: each[[3, 1]],
        lambda each: Conditioning.cat([each[2], each[:2]]),
        lambda each: each.mix(weights),
        lambda each: each.moved(each),
        lambda each: each[1].expand(3),
        lambda each: each.leaf().detach(),
    ):
        assert all(map(torch.equal, change(batch).as_frozen.tensors, change(frozen).tensors))
    assert torch.equal(batch.mix(weights).states[0], torch.einsum("k,k...->...", weights, batch.states))


def test_of_a_plain_batch_both_models_are_told_the_same() -> None:
    batch = _batch(3)
    assert batch.as_frozen.states is batch.states
    beside = batch.beside(_batch(3, seed=1))
    assert beside.states is batch.states
    assert not torch.equal(beside.as_frozen.states, batch.states)
    assert beside.as_frozen.as_frozen.states is beside.frozen_states


def test_a_gradient_is_zero_in_what_the_other_model_is_told() -> None:
    leaf = _of_both(2).leaf()
    assert leaf.frozen_states is not None
    gradient = leaf.gradient(leaf.frozen_states.square().sum())
    assert gradient.frozen_states is not None
    assert torch.equal(gradient.frozen_states, 2 * leaf.frozen_states)
    assert all(tensor is not None and not tensor.any() for tensor in (gradient.states, gradient.pooled))
    way = leaf.detach().moved(gradient)
    assert torch.equal(way.states, leaf.states)
    assert way.frozen_states is not None
    assert torch.equal(way.frozen_states, 3 * leaf.frozen_states)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_of_both(2), _of_both(2).as_frozen),
        (_batch(2).beside(_batch(2, seed=1)), _batch(2)),
        # As many fields, but others: they must not be taken for each other.
        (_batch(2).beside(_batch(2, seed=1)), Conditioning(_batch(2).states, torch.ones(2, 4))),
    ],
)
def test_batches_for_one_model_and_for_two_are_not_mixed(one: Conditioning, other: Conditioning) -> None:
    for both in ([one, other], [other, one]):
        with pytest.raises(ValueError, match="different fields cannot be put together: states"):
            Conditioning.cat(both)
        with pytest.raises(ValueError, match="different fields"):
            both[0].moved(both[1])
