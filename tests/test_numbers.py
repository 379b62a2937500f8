"""Numbers on the command line that no command can use."""

from __future__ import annotations

import pytest

from erasure.cli import main

PREVIEW = ["preview", "--checkpoint", "c", "--lora", "l", "--prompt", "a bell", "--out", "o.png"]
ATTACK = ["attack", "--checkpoint", "c", "--lora", "l"]


@pytest.mark.parametrize(
    ("command", "flag", "value", "says"),
    [
        (PREVIEW, "--steps", "0", "0 is outside 1 to 1000"),
        (PREVIEW, "--steps", "1001", "1001 is outside 1 to 1000"),
        (PREVIEW, "--steps", "many", "'many' is not a whole number"),
        (PREVIEW, "--pixels", "4", "4 is neither 0 nor a multiple of 8 from 64 on"),
        (PREVIEW, "--pixels", "-8", "-8 is outside 0 to 4096"),
        (PREVIEW, "--pixels", "100", "100 is neither 0 nor"),
        (PREVIEW, "--seed", str(2**64), "is outside 0 to"),
        (PREVIEW, "--guidance", "nan", "'nan' is not a number"),
        (ATTACK, "--seed", "-1", "-1 is outside 0 to"),
        (["bench"], "--picture-steps", "2000", "2000 is outside 1 to 1000"),
        (["app"], "--port", "70000", "70000 is outside 0 to 65535"),
    ],
)
def test_a_number_out_of_range_ends_the_command_at_once(
    command: list[str], flag: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, f"{flag}={value}"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {flag}: " in said
    assert says in said


def test_memory_that_runs_out_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def runs_out(arguments: object) -> int:
        raise error("CUDA out of memory. Tried to allocate 20.00 MiB")

    error = type("OutOfMemoryError", (RuntimeError,), {})
    monkeypatch.setattr("erasure.cli.presets.run", runs_out)
    assert main(["presets"]) == 1
    assert capsys.readouterr().err.startswith("error: the device ran out of memory; close other programs")
    error = RuntimeError
    with pytest.raises(RuntimeError, match="Tried to allocate"):
        main(["presets"])
