"""Reads the YAML of a configuration within bounds: a few aliases can stand for more values than any memory holds."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VALUES = 10_000
_DEEPEST = 32


def parse_yaml(text: str | bytes) -> Any:
    """Return the document of plain YAML; bytes are UTF-8, or UTF-16 with a byte order mark.

    Raises: ValueError or yaml.YAMLError if it is none, or has too many values once its aliases are written out.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()  # its aliases share their nodes: nothing is written out yet
        if node is None:
            return None
        _count(node, {}, 0)
        return loader.construct_document(node)
    except (RecursionError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # Of the library, for tags and keys that go wrong together.
        raise ValueError(f"{type(error).__name__}: {error}") from error
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return how many values the node stands for. ``known``: what was counted before, by identity."""
    if depth > _DEEPEST:  # an alias of what it stands in has no end
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if id(node) not in known:
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in inner for part in pair] if isinstance(node, yaml.MappingNode) else inner
        known[id(node)] = 1 + sum(_count(part, known, depth + 1) for part in parts)
    if known[id(node)] > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES:,} values")
    return known[id(node)]
