"""One erasure from checkpoint to LoRA file: the run, its events, its folder and its pictures."""
