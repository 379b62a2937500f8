"""Files and requests that ask for too much, or are something else than they should be: each kind by its right outcome.

``tests/hostile`` makes others of every kind.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from erasure import bounded_json
from erasure.cli import main
from erasure.concepts.vocabulary import read_words
from erasure.config.checks import MOST_TEXTS
from erasure.config.concept_texts import read_lists
from erasure.config.presets import preset
from erasure.config.values import config_from_dict, config_from_file, settle_values
from erasure.errors import (
    LONGEST,
    BrokenCheckpoint,
    CheckpointError,
    ConceptError,
    ConfigError,
    EraseError,
    RunError,
    shown,
)
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.ldm_yaml import parse_yaml
from erasure.model.part_config import check_part
from erasure.model.pickle_program import MOST_STEPS, BadPickle, BoundedReader, follow
from erasure.model.weights_file import open_weights
from erasure.safetensors_file import DamagedFile, read_header
from tests.hostile.files import FLOODS
from tests.hostile.limits import limits


def short(value: object) -> str:
    """Name a parameter of a test: some are longer than a name can be."""
    return f"{str(value)[:24]!a}"


not_windows = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs")


# --- JSON


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1e400}', "1e400 is too large"),
        ('{"a": -1e400}', "too large"),
        ('{"a": Infinity}', "Infinity is not a number"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 123456789012345678901234567890}', "too large"),
        ('{"a": ' + "9" * 100_000 + "}", "too large"),
        (r'{"a": "\ud800"}', "surrogate"),
        (r'{"\udfff": 1}', "surrogate"),
        (r'{"a": "x\u0000"}', "NUL"),
        ("[" * 40 + "]" * 40, "nested"),
        ("[" * 100_000, "nested"),
        ('{"a":' * 100_000, "nested"),
        ("[" + "1," * 200_000 + "1]", "values"),
        ("{", "Expecting"),
    ],
    ids=short,
)
def test_json_beyond_its_bounds_is_refused(text: str, what: str) -> None:
    with limits(), pytest.raises(ValueError, match=what):
        bounded_json.parse(text)


def test_json_within_its_bounds_is_what_json_reads() -> None:
    text = '{"a": [1, -2.5, true, null, "\\u00e9\\ud83d\\ude00"], "b": {"c": 18446744073709551615}}'
    assert bounded_json.parse(text) == json.loads(text)
    assert bounded_json.parse('{"a": Infinity}', finite=False) == {"a": float("inf")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_json_is_read_in_utf_8_and_utf_16_with_a_mark_or_without(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"é": 1}'.encode(encoding))
    assert bounded_json.read(tmp_path / "a.json") == {"é": 1}


@pytest.mark.parametrize("content", [b'{"a": "\xed\xa0\x80"}', b'\xff\xfe"\x00\x00\xd8"\x00'])
def test_half_a_surrogate_pair_is_refused_however_it_is_encoded(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match="surrogate"):
        bounded_json.read(tmp_path / "a.json")


# --- messages


def test_a_message_is_one_short_line_whatever_it_quotes() -> None:
    error = BrokenCheckpoint(f"the name \x1b[2J\ud800\n{'x' * 100_000} is none. Download it again.")
    message = str(error)
    assert message.startswith("the name ?[2J??xxx")
    assert message.endswith("is none. Download it again.")
    assert len(message) <= LONGEST + 10
    assert shown(["x" * 1000] * 1000) == shown(["x" * 1000] * 999)
    assert len(shown({"a": [["x" * 1000] * 1000] * 1000})) < 400
    assert len(shown(10**5000)) < 200


# --- things that are no files


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a checkpoint": ("model.safetensors", inspect_checkpoint),
    "an older checkpoint": ("model.ckpt", inspect_checkpoint),
    "a LoRA": ("lora.safetensors", read_header),
    "settings": ("config.json", config_from_file),
    "a preset": ("mine.json", lambda path: preset("mine", path.parent)),
    "words": ("words.txt", read_words),
}


@not_windows
@pytest.mark.parametrize("make", [_fifo, _device, Path.mkdir])
@pytest.mark.parametrize("place", READERS)
def test_what_is_no_file_is_not_waited_for(place: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    name, read = READERS[place]
    make(tmp_path / name)
    with limits(), pytest.raises((EraseError, OSError)):
        read(tmp_path / name)


@not_windows
def test_a_fifo_is_named(tmp_path: Path) -> None:
    _fifo(tmp_path / "model.ckpt")
    with pytest.raises(BrokenCheckpoint, match="it is a FIFO, not a file"):
        open_checkpoint(tmp_path / "model.ckpt")


def open_checkpoint(path: Path) -> None:
    inspect_checkpoint(path)


def test_names_that_are_too_long_end_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = str(tmp_path / ("x" * 300))
    tiny = ["--device", "cpu", "--erase", "church"]
    for arguments in (
        ["inspect", long],
        ["train", "--dry-run", "--checkpoint", long, *tiny],
        ["train", "--dry-run", "--checkpoint", f"{long}.safetensors", *tiny],
        ["train", "--dry-run", "--checkpoint", long, "--config", long, *tiny],
        ["train", "--resume", long],
    ):
        assert main(arguments) in (1, 2)
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.count("\n") == 1


# --- safetensors


def header_file(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ('{"dtype": "F32", "shape": [1e400], "data_offsets": [0, 4]}', "not a whole number"),
        ('{"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}', "not a whole number"),
        ('{"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}', "not a whole number"),
        ('{"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}' % ("9" * 5000), "too large"),
        ('{"dtype": "F32", "shape": [99999999999999999999], "data_offsets": [0, 4]}', "damaged header at 'a'"),
        ('{"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}', "damaged header at 'a'"),
        ('{"dtype": "F32", "shape": [%s1], "data_offsets": [0, 4]}' % ("1," * 5000), "damaged header at 'a'"),
        ('{"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}', "damaged header at 'a'"),
        ('{"dtype": "F32", "shape": [1], "data_offsets": {"0": 0, "1": 4}}', "damaged header at 'a'"),
        ("[" * 50_000, "damaged header"),
    ],
    ids=short,
)
def test_numbers_of_a_header_are_whole_and_bounded(entry: str, what: str, tmp_path: Path) -> None:
    path = header_file(tmp_path / "a.safetensors", b'{"a":' + entry.encode() + b"}", b"1234")
    with limits(), pytest.raises(DamagedFile, match=what):
        read_header(path)


def test_a_header_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    entries = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % number for number in range(400_000))
    path = header_file(tmp_path / "a.safetensors", b"{" + entries + b"}")
    with limits() as taken, pytest.raises(BrokenCheckpoint, match="its header would have"):
        open_weights(path)
    assert taken.megabytes < 100


# --- pickles and zips


def zipped(path: Path, program: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", bytes(16), zipfile.ZIP_STORED)
    return path


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_instructions_is_followed_or_refused(flood: str, tmp_path: Path) -> None:
    before, piece, after = FLOODS[flood]
    path = zipped(tmp_path / "model.ckpt", before + piece * 5000 + after)
    with limits() as taken, pytest.raises(CheckpointError):
        inspect_checkpoint(path)
    assert taken.megabytes < 100


@pytest.mark.parametrize("flood", ["tuples in tuples", "globals"])
def test_a_flood_without_end_is_given_up(flood: str) -> None:
    before, piece, after = FLOODS[flood]
    with limits(), pytest.raises(BadPickle, match="more than 10,000 steps"):
        follow(BoundedReader(io.BytesIO(before + piece * 10_001 + after)), steps=10_000)


def test_as_many_steps_as_a_file_may_take_are_soon_made(tmp_path: Path) -> None:
    before, piece, after = FLOODS["dicts"]
    path = zipped(tmp_path / "model.ckpt", before + piece * (MOST_STEPS + 1) + after)
    with limits(), pytest.raises(BrokenCheckpoint, match="more than 1,000,000 steps"):
        inspect_checkpoint(path)


@pytest.mark.parametrize("claim", [b"X\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 7 + b"\x0f", b"\x8b\xff\xff\xff\x7f"])
def test_a_length_that_is_only_claimed_takes_no_memory(claim: bytes, tmp_path: Path) -> None:
    with limits() as taken, pytest.raises(BrokenCheckpoint, match="more memory than any weights file needs"):
        inspect_checkpoint(zipped(tmp_path / "model.ckpt", b"\x80\x04" + claim))
    assert taken.megabytes < 100


def test_numbers_of_thousands_of_digits_do_no_harm(tmp_path: Path) -> None:
    for program in (b"}I" + b"9" * 4000 + b"\nK\x01s.", b"\x80\x02}\x8b\xe8\x03\x00\x00" + b"\x7f" * 1000 + b"K\x01s."):
        assert open_weights(zipped(tmp_path / "model.ckpt", program)).others == {"?"}
    with pytest.raises(BrokenCheckpoint, match="damaged"):
        open_weights(zipped(tmp_path / "model.ckpt", b"}I" + b"9" * 5000 + b"\nK\x01s."))


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as record:
        for _ in range(100):
            record.write(bytes(1_000_000))
    with limits() as taken, pytest.raises(BrokenCheckpoint, match=r"data\.pkl has more than 32,000,000 bytes"):
        inspect_checkpoint(path)
    assert taken.megabytes < 90


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress_are_refused(method: int, tmp_path: Path) -> None:
    with pytest.raises(BrokenCheckpoint, match="compressed in a way that torch does not use"):
        open_weights(zipped(tmp_path / "model.ckpt", b"\x80\x02}.", method))


def test_an_archive_with_a_list_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = entry * 300_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(listed), 4, 0)
    path.write_bytes(b"PK\3\4" + listed + end)
    with limits() as taken, pytest.raises(BrokenCheckpoint, match="more memory than any weights file needs"):
        open_weights(path)
    assert taken.megabytes < 100


# --- yaml


def test_aliases_that_explode_are_counted_not_written_out() -> None:
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
    with limits() as taken, pytest.raises(ValueError, match="more than 10,000 values"):
        parse_yaml(f"a0: &a0 [x]\n{levels}\n")
    assert taken.megabytes < 100
    with pytest.raises(ValueError, match="nested more than"):
        parse_yaml("&a [*a]")
    assert parse_yaml("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_numbers_of_published_configurations_are_allowed() -> None:
    check_part({"vocab_size": 250_002, "num_hidden_layers": 48, "layer_norm_eps": 1e-5, "pad_token_id": None})
    check_part(
        {"layers_per_block": 2, "transformer_layers_per_block": [1, 2, 10], "block_out_channels": [320, 640, 1280]}
    )
    check_part({"trained_betas": [0.1] * 1000, "num_train_timesteps": 1000})


# --- settings


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"erase": [f"c{i}" for i in range(500)]}, "erase: 500 are too many; give at most 100"),
        ({"erase": ["church"], "preserve": ["tower"] * 5000}, "preserve: 5,000 are too many"),
        ({"erase": ["x" * 2000]}, "has 2,000 characters, more than 1,000"),
        ({"erase": ["a\0b"]}, r"erase: \['a\\x00b'\] has a character that is none"),
        ({"erase": ["\ud800"]}, r"erase: \['\\ud800'\] has a character that is none"),
        ({"erase": ["church"], "steps": 10**30}, "is not a whole number"),
        ({"erase": ["church"], "steps": 10**400}, "is not a whole number"),
        ({"erase": ["church"], "alpha": 10**400}, "is not a number"),
        ({"erase": ["church"], "learning_rate": float("inf")}, "not a finite number"),
        ({"erase": ["church"], "steps": float("nan")}, "is not a whole number"),
        ({"erase": ["church"], "method": "x" * 100_000}, "is not one of"),
        ({"erase": {"a": ["b"] * 100_000}}, "is not a text or a list of texts"),
        ({"erase": ["church"], **{f"s{i}": 1 for i in range(5000)}}, "there are 4980 more settings that do not exist"),
        ({"erase": ["church"], "x" * 100_000: 1}, "there is no setting 'xxx"),
    ],
    ids=short,
)
def test_settings_beyond_all_bounds_are_problems_of_one_short_line(asked: dict[str, Any], what: str) -> None:
    with limits(), pytest.raises(ConfigError, match=what) as caught:
        config_from_dict(asked)
    assert len(caught.value.problems) <= 40
    assert all(len(problem) <= LONGEST for problem in caught.value.problems)


@pytest.mark.parametrize(
    "text", ["a" + "\n" * 200_000 + "x", "(a:" + "1" * 200_000 + "x", '"' * 200_000 + "x"], ids=short
)
def test_a_text_of_concepts_that_goes_on_and_on_is_soon_read(text: str) -> None:
    with limits():
        assert read_lists({"erase": [text]}).values["erase"]


def test_of_concepts_that_are_too_long_some_are_named() -> None:
    asked = {"erase": ["church"], "preserve": [f"{number} " + "tower " * 100 for number in range(1000)]}
    with limits():
        *problems, last = settle_values(asked).problems
    assert len(problems) == 20
    assert last == "there are more concepts that are too long"


def test_as_many_concepts_as_allowed_are_taken() -> None:
    assert len(config_from_dict({"erase": [f"c{i}" for i in range(MOST_TEXTS["erase"])]}).erase) == MOST_TEXTS["erase"]


@pytest.mark.parametrize(
    "content",
    [b'{"steps": 1e400}', b'{"steps": Infinity}', b'{"erase": "\\ud800"}', b'{"a":' * 9999, b"\xff"],
    ids=short,
)
def test_a_config_file_that_is_none_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.json").write_bytes(content)
    with limits():
        assert main(["train", "--dry-run", "--checkpoint", "x", "--config", str(tmp_path / "my.json")]) == 2
    told = capsys.readouterr().err
    assert "my.json cannot be read" in told
    assert told.count("\n") == 1


def test_a_vocabulary_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"church\n" * 5_000_000)
    with limits() as taken, pytest.raises(ConceptError, match="larger than"):
        read_words(tmp_path / "words.txt")
    assert taken.megabytes < 100


def test_a_record_of_a_run_that_nests_without_end_is_named(tmp_path: Path) -> None:
    from erasure.run.folder import RunFolder

    (tmp_path / "run.json").write_text('{"a":' * 50_000, encoding="utf-8")
    with limits(), pytest.raises(RunError, match="nested"):
        RunFolder(tmp_path).read()
