"""Comparing methods: a grid of methods x target sets x seeds on one checkpoint, measured the same way, resumable."""
