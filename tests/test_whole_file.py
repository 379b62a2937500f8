"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from erasure.whole_file import whole_file, write_text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_text(path, "old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_mid_writing_leaves_the_old_file_alone_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_text(path, "old")

    def break_off() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("ne")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        break_off()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "é\r\n\n")
    assert (tmp_path / "text").read_bytes() == "é\r\n\n".encode()
