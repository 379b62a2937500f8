"""An error as one line that says what happened and what to do, and its traceback for who wants to know more."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from erasure.errors import EraseError, RunError

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def describe(error: BaseException) -> str:
    """Return one line that says what happened and what to do. Errors of this package say both themselves."""
    if isinstance(error, EraseError):
        return str(error)
    text = " ".join(str(error).split())[:300] or "no details"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({text}); free some space, then resume"
    memory = isinstance(error, RuntimeError) and any(words in text.lower() for words in _OUT_OF_MEMORY)
    if memory or isinstance(error, MemoryError):
        return (
            "there was not enough memory; close other programs, or use precision bf16 or fp16, "
            "gradient_checkpointing or a smaller resolution"
        )
    if isinstance(error, OSError):
        return f"a file could not be read or written ({text}); solve that, then resume"
    if isinstance(error, ImportError):
        return f"a library is missing or does not fit ({text}); install the requirements again and restart"
    return f"something unexpected happened: {type(error).__name__}: {text}"


@contextmanager
def described() -> Iterator[None]:
    """Turn what a library or the disk raises inside the block into an error that :func:`describe` words.

    Raises: EraseError.
    """
    try:
        yield
    except EraseError:
        raise
    except Exception as error:
        raise RunError(describe(error)) from error


def traceback_of(error: BaseException) -> str:
    """Return the traceback, "" for errors of this package. Frees what its frames hold: models, pictures, tensors."""
    text = "" if isinstance(error, EraseError) else "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    return text[-20_000:]
