"""The erase side's adversary: which prompt brings an erased concept back?"""
