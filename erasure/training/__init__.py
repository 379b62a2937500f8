"""How a LoRA is trained: losses, the trainer, the closed-form solver, and what a training will cost."""
