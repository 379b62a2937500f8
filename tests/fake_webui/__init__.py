"""Do not import from here: this folder goes on sys.path (see README.md)."""
