"""Erase concepts from Stable Diffusion 1.x, 2 and XL with a LoRA, preserving what would be hurt most."""

__version__ = "0.2.0"
