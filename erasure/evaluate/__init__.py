"""Metrics of erasing and preserving. Heavy ones need optional extras, which are imported when they are used.

:mod:`recognition` (ESR-k, PSR-k with any classifier), :mod:`clip` (CLIP score, delta(c)), :mod:`distance` (LPIPS),
:mod:`nudity` (NER), :mod:`fid`, :mod:`spectrum` (how far the predicted noise of every word moved).
"""
