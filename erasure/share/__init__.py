"""A LoRA made ready to be passed on: a folder with the file, what is known of it, and pictures; and its upload."""
