"""Opens a hostile file as the program would, everywhere it can be given, and checks how that ends."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from erasure.cli import main
from erasure.combine.combining import combine
from erasure.combine.task import combine_task
from erasure.concepts.vocabulary import read_words
from erasure.config.presets import preset, presets
from erasure.config.values import config_from_dict, config_from_file
from erasure.errors import ConfigError, EraseError
from erasure.jobs.readiness import readiness
from erasure.lora.explain import explain_lora
from erasure.lora.file import read_lora
from erasure.model.drawing import run_to_end
from erasure.model.loading import load_parts
from tests.fake_host import FakeHost
from tests.hostile.files import HostileFile
from tests.hostile.limits import Taken, limits
from tests.hostile.samples import Samples

_LONGEST_LINE = 5000  # of a terminal; every message is one line of 2,000 characters at most


def open_hostile(file: HostileFile, folder: Path, samples: Samples) -> tuple[str, Taken]:
    """Return how it ended, the name of the error or "accepted", and what it took. Raises: AssertionError."""
    path = file.write(folder, samples)
    with limits() as taken:
        try:
            _open(file, path)
        except EraseError as error:
            ended = type(error).__name__
            _check_message(str(error), isinstance(error, ConfigError))
        else:
            ended = "accepted"
    if ended != "accepted":
        with limits() as again:
            _check_command(file, path, samples)
            if file.opened == "checkpoint":
                for problem in readiness(FakeHost(folder, path), path, "a-name", None):
                    _check_message(problem, False)
        taken = max(taken, again, key=lambda each: each.seconds)
    return ended, taken


def _open(file: HostileFile, path: Path) -> Any:
    if file.opened == "checkpoint":
        return load_parts(path)
    if file.opened == "lora":
        shown = str(explain_lora(path)), read_lora(path)
        run_to_end(combine(combine_task([(path, 0.5)], path.with_name("sum.safetensors"), overwrite=True)))
        return shown
    if file.opened == "settings":
        return config_from_dict(config_from_file(path))
    if file.opened == "words":
        return read_words(path)
    presets(path.parent)  # skips what it cannot read
    return config_from_dict({"erase": ["church"], **preset(path.stem, path.parent).settings})


def _check_command(file: HostileFile, path: Path, samples: Samples) -> None:
    """Give the file to the command line, which must end with one line."""
    own = ["--checkpoint", str(samples.original), "--device", "cpu", "--erase", "church"]
    arguments = {
        "checkpoint": ["train", "--dry-run", "--checkpoint", str(path), "--device", "cpu", "--erase", "church"],
        "lora": ["inspect", str(path)],
        "settings": ["train", "--dry-run", *own[:4], "--config", str(path)],
        "words": ["concepts", *own, "--vocabulary", "file", "--vocabulary-file", str(path)],
        "preset": ["train", "--dry-run", *own, "--preset", path.stem],
    }[file.opened]
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        code = main(arguments)
    if file.opened == "lora" and code == 0:
        return  # the explanation says what is wrong with it
    assert code in (1, 2), f"exit {code}: {out.getvalue()[-300:]}"
    lines = [line for line in told.getvalue().splitlines() if line.startswith("error: ")]
    assert lines, told.getvalue()[-300:]
    assert "Traceback" not in told.getvalue()
    assert code == 2 or len(lines) == 1, lines
    told.getvalue().encode("utf-8")


def _check_message(message: str, several: bool) -> None:
    lines = message.splitlines()
    assert lines
    assert several or len(lines) == 1, lines[:3]
    assert all(0 < len(line) < _LONGEST_LINE for line in lines)
    message.encode("utf-8")
