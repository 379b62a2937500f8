from __future__ import annotations

import pytest
import torch

from benchmarks.memory import BY_NAME, prompts_for, random_unet


@pytest.mark.parametrize("name", BY_NAME)
def test_it_measures_the_unet_of_each_family_at_full_size(name: str) -> None:
    family = BY_NAME[name]
    unet = random_unet("bf16", "meta", family)
    assert sum(weight.numel() for weight in unet.parameters()) == family.full.unet
    assert {weight.dtype for weight in unet.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in unet.parameters())
    prompts = prompts_for(unet, family, 2, "meta")
    assert prompts.nbytes == 2 * family.full.prompt_bytes
