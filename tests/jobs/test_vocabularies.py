from __future__ import annotations

from pathlib import Path

import pytest

from erasure.concepts.vocabulary import read_words
from erasure.errors import ConceptError, RunError
from erasure.jobs.vocabularies import MOST_BYTES, keep_vocabulary, vocabulary_names

TEXT = "cat\r\nein Hündchen\n\n# a remark\ndog\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_is_kept_as_text_that_can_be_read(tmp_path: Path, encoding: str) -> None:
    path = keep_vocabulary(tmp_path / "new", "my words.txt", TEXT.encode(encoding))
    assert path == tmp_path / "new" / "my words.txt"
    assert read_words(path) == ("cat", "ein Hündchen", "dog")
    assert vocabulary_names(path.parent) == ["my words.txt"]


def test_a_list_that_is_there_is_used_again_and_never_overwritten(tmp_path: Path) -> None:
    first = keep_vocabulary(tmp_path, "words.txt", b"cat")
    assert keep_vocabulary(tmp_path, "words.txt", b"cat") == first
    second = keep_vocabulary(tmp_path, "words.txt", b"dog")
    assert second.name == "words-2.txt"
    assert keep_vocabulary(tmp_path, "words.txt", b"dog") == second
    assert first.read_text() == "cat"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd.txt"),
        ("C:\\Users\\me\\list.csv", "list.txt"),
        (".hidden", "hidden.txt"),
        ("..", "words.txt"),
        ("a<b>:c.txt", "a-b-c.txt"),
        ("", "words.txt"),
        ("x" * 300, "x" * 80 + ".txt"),
    ],
)
def test_no_name_leaves_the_folder(tmp_path: Path, name: str, kept: str) -> None:
    assert keep_vocabulary(tmp_path / "in", name, b"cat") == tmp_path / "in" / kept
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n# nothing\n", "is empty"),
        (b"cat\xff\n", "not UTF-8 text"),
        (b"\xff\xfea", "not UTF-8 text"),
        (b"cat\x00dog", "not a text file"),
        (b"\x7fELF\x02", "not a text file"),
        (b"a" * (MOST_BYTES + 1), "larger than 8 MB"),
        (b"\n".join(b"%d" % n for n in range(200_001)), "shorten it"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused_by_name(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(ConceptError, match=says) as refused:
        keep_vocabulary(tmp_path, "list.txt", content)
    assert "list.txt" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"list\.txt cannot be kept"):
        keep_vocabulary(tmp_path / "file", "list.txt", b"cat")
