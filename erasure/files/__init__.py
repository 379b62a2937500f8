"""The LoRA file: writing, reading, checking."""
