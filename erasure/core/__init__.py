"""From a checkpoint file to trained LoRA weights; knows no user interface and no host."""
