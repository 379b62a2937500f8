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
