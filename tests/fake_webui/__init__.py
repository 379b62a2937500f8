"""Not to be imported from here: this folder goes on sys.path (see README.md)."""
