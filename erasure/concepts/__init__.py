"""The concept space: candidates near a target, their vocabulary, and synonyms, named or measured."""
