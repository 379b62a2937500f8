"""Families of models: what is particular to each, in a file of its own, and which there are."""
