"""Combining: several erasures as one LoRA file, exactly or at a lower rank, and trained on together."""
