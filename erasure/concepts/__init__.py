"""The concept space: what lies near a target, what means the same to the model, and where candidates come from."""
