"""Metrics of erasing and preserving. Some need optional extras, which are imported only when used.

:mod:`recognition` (ESR-k, PSR-k with any classifier), :mod:`clip` (CLIP score, delta(c)), :mod:`distance` (LPIPS),
:mod:`nudity` (NER), :mod:`fid` (FID), :mod:`spectrum` (how far the predicted noise for each word moved).
"""
