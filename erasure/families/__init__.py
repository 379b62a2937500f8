"""Families of models: a file for each with what is particular to it, and the list of them."""
