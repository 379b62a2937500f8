"""The model that is erased from: reading its checkpoint, predicting with it, drawing with it."""
