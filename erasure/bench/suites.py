"""The suites by name."""

from __future__ import annotations

from erasure.bench.suite import Suite, SuiteOptions
from erasure.errors import ConfigError


def suite(name: str, options: SuiteOptions) -> Suite:
    """Make the suite of this name. Raises: ConfigError if there is none."""
    if name == "emoji":
        from erasure.bench.emoji import emoji_suite

        return emoji_suite(options)
    if name == "imagenette":
        from erasure.bench.imagenette import imagenette_suite

        return imagenette_suite(options)
    raise ConfigError([f"there is no suite {name!r}; choose from {', '.join(SUITES)}"])


SUITES = ("emoji", "imagenette")
