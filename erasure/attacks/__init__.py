"""Attacks on an erasure: ways to get the concept back, and how often each succeeds.

:mod:`words` (other words, spellings and prompts), :mod:`search` (words that are searched for), :mod:`inversion` (learnt
words), :mod:`finetune` (training on pictures of the concept); :mod:`siege` makes them one after the other.
"""
