"""Where noisy latents come from."""
