"""Settings of an erasure, their checks, methods, presets and templates. Needs no torch."""
