"""Methods to compare with, on the same models, with the same kind of LoRA file.

:mod:`erasure.methods.settings` says what makes each of them, as settings of the one trainer; what has no update to
make, UCE, is a solver of its own. Written from the papers that are named there.
"""
