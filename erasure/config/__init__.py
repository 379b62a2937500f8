"""What an erasure is asked to do: settings with their checks, methods, presets and templates. Needs no torch."""
