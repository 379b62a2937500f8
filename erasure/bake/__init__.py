"""Baking: a checkpoint with the change of LoRAs in its own weights."""
