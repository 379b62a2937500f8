"""Files and requests that nobody would think of, made by hypothesis from fixed seeds.

The tests make some of them; ``python -m tests.hostile`` makes as many as it is told, and says how they ended.
"""
