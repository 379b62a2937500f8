"""The model that is erased from: how its file is read, loaded, asked for predictions and drawn with."""
