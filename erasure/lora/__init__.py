"""LoRA files and the adapter on the U-Net and the text encoders."""
