"""How the concept to preserve is found."""
