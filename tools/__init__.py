"""Scripts that write files of this repository, or make environments for its tests."""
