"""Where candidates to preserve come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizerFast

from emoji_sd.concepts import CONCEPTS
from erasure.concepts.naming import names_target
from erasure.concepts.vocabulary import STYLES, WORDS, load_vocabulary
from erasure.config.values import erase_config
from erasure.errors import ConceptError
from tests.tiny import CLIP


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizerFast:
    return CLIPTokenizerFast.from_pretrained(CLIP)


def _from_file(path: Path) -> tuple[str, ...]:
    return load_vocabulary(erase_config(erase=("x",), vocabulary="file", vocabulary_file=str(path)), None)


def _refusal(path: Path) -> str:
    with pytest.raises(ConceptError) as caught:
        _from_file(path)
    return str(caught.value)


def test_built_in_list_has_about_3000_plain_words_without_repeats() -> None:
    words = load_vocabulary(erase_config(erase=("x",)), None)
    assert 2700 <= len(words) <= 3300
    assert len({word.lower() for word in words}) == len(words)
    assert all(word == word.strip() and word.islower() for word in words)
    assert {"truck", "church", "castle", "watercolor", "joy", "night", "glass"} <= set(words)
    assert not {"the", "and", "with", "churches", "usa", "youtube", "london"} & set(words)


def test_built_in_list_has_every_concept_of_the_miniature_model() -> None:
    words = set(load_vocabulary(erase_config(erase=("x",)), None))
    assert not [text for c in CONCEPTS for text in (c.name, *c.synonyms) if text not in words]


@pytest.mark.parametrize("path", [WORDS, STYLES])
def test_built_in_lists_are_utf8_with_plain_line_ends(path: Path) -> None:
    text = path.read_bytes().decode("utf-8")
    assert "\r" not in text
    assert text.endswith("\n")


def test_built_in_styles_are_techniques_movements_and_artists_without_repeats() -> None:
    styles = load_vocabulary(erase_config(erase=("x",), vocabulary="styles"), None)
    assert len(styles) > 250
    assert len({style.lower() for style in styles}) == len(styles)
    assert {"watercolor", "pixel art", "photograph", "Impressionism", "Claude Monet"} <= set(styles)


def test_an_artist_of_the_list_is_no_candidate_when_he_is_erased() -> None:
    styles = load_vocabulary(erase_config(erase=("x",), vocabulary="styles"), None)
    assert [style for style in styles if names_target(style, "Van Gogh")] == ["Vincent van Gogh"]


def test_tokenizer_gives_its_whole_words_without_fragments(tokenizer: CLIPTokenizerFast) -> None:
    words = load_vocabulary(erase_config(erase=("x",), vocabulary="tokens"), tokenizer)
    assert len(words) > 10_000
    assert {"church", "dog", "trumpet", "king"} <= set(words)
    assert all(len(tokenizer(word).input_ids) == 3 for word in words[::500]), "one token between start and end"
    assert not [w for w in words if len(w) < 3 or not w.isalpha() or not w.isascii()]
    assert not {"ation", "ing", "soooo", "hrs", "<|endoftext|>"} & set(words)


def test_file_gives_its_lines_in_order_without_comments_blanks_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeff# my list\r\nold town\r\n\r\n  café \nold town\n#x\nNo. #1\n".encode())
    assert _from_file(path) == ("old town", "café", "No. #1")


def test_missing_file_is_named(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "absent.txt")
    assert "absent.txt" in message
    assert "there is no" in message


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in _refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# only a remark\n", b"\xef\xbb\xbf"])
def test_file_without_a_prompt_is_called_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bare.txt"
    path.write_bytes(content)
    assert "bare.txt is empty" in _refusal(path)


@pytest.mark.parametrize("content", ["café\n".encode("latin-1"), "café\n".encode("utf-16")])
def test_file_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes(content)
    assert "save it as UTF-8" in _refusal(path)


def test_binary_file_is_no_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"abc\0\0\0\ndef")
    assert "not a text file" in _refusal(path)
