"""Names of weights without what wrappers around a model add to them while it is trained or drawn with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Words between dots that torch's DataParallel, compile, FSDP and checkpointing, DeepSpeed and AUTOMATIC1111's hijack
# of the text encoder add. No model of ours has them in its own names.
_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "wrapped")
)


def plain_names(names: Iterable[str], cores: Sequence[str]) -> dict[str, str]:
    """Return the name in the file of every weight, by its name without wrappers.

    ``cores``: how names of the supported models begin (``model.diffusion_model.``). What precedes the first such
    beginning is an outer wrapper, and is taken from all names that have it. Of two weights that would get one name, the
    one that had it from the start keeps it, and the other its own.
    """
    stored = list(names)
    bare = {name: ".".join(word for word in name.split(".") if word not in _WRAPPERS) or name for name in stored}
    outer = _outer(bare.values(), cores)
    found: dict[str, str] = {}
    for name in sorted(stored, key=lambda name: bare[name] != name):
        plain = bare[name].removeprefix(outer)
        found[name if plain in found else plain] = name
    return found


def _outer(names: Iterable[str], cores: Sequence[str]) -> str:
    outer = ""
    for name in names:
        for core in cores:
            if name.startswith(core):
                return ""
            before, inside, _ = name.partition("." + core)
            if inside and not outer:
                outer = before + "."
    return outer
