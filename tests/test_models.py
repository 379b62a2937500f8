from __future__ import annotations


def test_tiny(tiny_models, tiny_checkpoint, tiny_diffusers_folder):
    assert tiny_models.sample_size == 8
    assert tiny_models.vae_scale_factor == 8
