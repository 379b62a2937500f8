"""The defence that a config names."""

from __future__ import annotations

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.model.model import Model
from erasure.training.defence.defence import Defence
from erasure.training.defence.embeddings import HostileEmbeddings
from erasure.training.defence.words import HostileWords


def choose_defence(model: Model, space: ConceptSpace, config: EraseConfig) -> Defence | None:
    """Return it, None for ``robust`` off."""
    if config.robust == "words":
        return HostileWords(model, space, config)
    return HostileEmbeddings(model, space, config) if config.robust == "embeddings" else None
