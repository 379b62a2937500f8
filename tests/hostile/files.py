"""Hostile files of every kind that people can bring: checkpoints in three layouts, LoRAs, settings, words."""

from __future__ import annotations

import json
import os
import pickletools
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from hypothesis import strategies as st

from tests.hostile.values import BROKEN_JSON, PLAIN, STRANGE, TEXTS, changed, json_bytes

if TYPE_CHECKING:
    from tests.hostile.samples import Samples

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")

Opened = Literal["checkpoint", "lora", "settings", "words", "preset"]


@dataclass(frozen=True)
class HostileFile:
    """``write`` makes it in an empty folder and returns its path; ``opened`` says as what it is given to us."""

    kind: str
    what: str
    opened: Opened
    write: Callable[[Path, Samples], Path] = field(repr=False)


# --- bytes


def _spoiled(content: bytes, cuts: list[tuple[float, bytes]], length: float) -> bytes:
    """Overwrite places, given as shares of the length, and cut the end off."""
    spoiled = bytearray(content[: max(1, int(len(content) * length))])
    for share, piece in cuts:
        place = int(share * len(spoiled))
        spoiled[place : place + len(piece)] = piece
    return bytes(spoiled)


# Most of a weights file is numbers, so damage is done near its beginning and its end, where it can matter.
PLACES = st.one_of(st.floats(0, 0.02), st.floats(0, 1), st.floats(0.98, 1))
CUTS = st.lists(st.tuples(PLACES, st.binary(min_size=1, max_size=12)), max_size=8)
LENGTHS = st.one_of(st.just(1.0), st.floats(0, 1))


@st.composite
def damaged(draw: st.DrawFn) -> HostileFile:
    """A sound file with bytes overwritten, or cut off."""
    of = draw(st.sampled_from(["original", "zipped", "stream", "lora"]))
    cuts, length = draw(CUTS), draw(LENGTHS)

    def write(folder: Path, samples: Samples) -> Path:
        sound: Path = getattr(samples, of)
        path = folder / sound.name
        path.write_bytes(_spoiled(sound.read_bytes(), cuts, length))
        _beside(folder, samples, path)
        return path

    return HostileFile("damaged bytes", f"{of}, {cuts}, {length:.3f}", "lora" if of == "lora" else "checkpoint", write)


def _beside(folder: Path, samples: Samples, path: Path) -> None:
    """Put the yaml and the text folder of the sound checkpoint beside another one."""
    shutil.copy(samples.original.with_suffix(".yaml"), path.with_suffix(".yaml"))
    if not (folder / "tiny-text").exists():
        (folder / "tiny-text").symlink_to(samples.original.parent / "tiny-text")


# --- safetensors


@st.composite
def safetensors(draw: st.DrawFn) -> HostileFile:
    """A header that is no header, in a checkpoint or a LoRA."""
    of = draw(st.sampled_from(["original", "lora"]))
    form = draw(st.sampled_from(["changed", "changed", "made up", "text", "many", "wide"]))
    count, lie, data = draw(st.integers(1, 900_000)), draw(st.sampled_from([0, 0, 1, -1, 2**40, 2**63])), draw(CUTS)
    seed = draw(st.integers(0, 10_000))
    entry = st.fixed_dictionaries(
        {"dtype": st.one_of(st.sampled_from(["F32", "F16", "F8_E4M3", "I4"]), PLAIN), "shape": STRANGE},
        optional={"data_offsets": STRANGE, "more": STRANGE},
    )
    made = draw(st.dictionaries(TEXTS, st.one_of(entry, STRANGE), max_size=5))
    text = draw(BROKEN_JSON)
    small = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}}
    document = draw(changed(small, 3))

    def header(sound: bytes) -> bytes:
        entries = json.loads(sound)
        if form == "changed" and isinstance(document, dict):
            names = sorted(entries)
            name = names[seed % len(names)]
            entries[name] = document.get("a", document)
            return json_bytes(entries)
        if form == "many":
            one = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
            return b"{" + b",".join(one % number for number in range(count)) + b"}"
        if form == "wide":
            return json_bytes({"a": {"dtype": "F32", "shape": [1] * count, "data_offsets": [0, 4]}})
        return text if form == "text" else json_bytes(made)

    def write(folder: Path, samples: Samples) -> Path:
        sound: Path = getattr(samples, of)
        content = sound.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        new = header(content[8 : 8 + length])
        path = folder / sound.name
        path.write_bytes(
            struct.pack("<Q", min(max(0, len(new) + lie), 2**64 - 1)) + new + _spoiled(content[8 + length :], data, 1)
        )
        _beside(folder, samples, path)
        return path

    what = f"{of} {form} {count} {lie} {seed} {made} {text[:60]!r}"
    return HostileFile("safetensors header", what, "lora" if of == "lora" else "checkpoint", write)


# --- pickles

OPCODES = {op.name: op for op in pickletools.opcodes}
# Pieces of programs that take much for little: what they repeat, and what must stand around it.
FLOODS: dict[str, tuple[bytes, bytes, bytes]] = {
    "memory of a large index": (b"\x80\x02}", b"r\xff\xff\xff\x7f", b"."),
    "many indices": (b"\x80\x04}", b"\x94", b"."),
    "globals": (b"\x80\x02](", b"ctorch\nA\n", b"e."),
    "globals with a storage": (b"\x80\x02](", b"ctorch\nFloatStorage\n", b"e."),
    "tuples in tuples": (b"\x80\x02}N", b"\x85", b"K\x01s."),
    "tuples that double": (b"\x80\x02}N", b"2\x86", b"K\x01s."),
    "tuples that double, as a storage": (b"\x80\x02}N", b"2\x86", b"Q."),
    "lists that double": (b"\x80\x02}K\x01]N", b"a]q\x00h\x00a", b"s."),
    "dicts": (b"\x80\x02](", b"}", b"e."),
    "dicts in dicts": (b"\x80\x02", b"}K\x01", b"Ns."),
    "marks": (b"\x80\x02", b"(", b"."),
    "persistent ids": (b"\x80\x02](", b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nK\x01NK\x01tQ(", b"e."),
    "long numbers": (b"\x80\x02](", b"\x8b\xff\x00\x00\x00" + b"\x7f" * 255, b"e."),
    "numbers as text": (b"(", b"I" + b"9" * 4000 + b"\n", b"l."),
    "calls": (b"\x80\x02", b"ccollections\nOrderedDict\n)R", b"."),
    "a text that never ends": (b"\x80\x02S'", b"aaaaaaaaaaaaaaaa", b"'\n."),
    "frames": (b"\x80\x04", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"N."),
    "sets": (b"\x80\x04](", b"\x8f", b"e."),
    "buffers": (b"\x80\x05](", b"\x96\x08\x00\x00\x00\x00\x00\x00\x00aaaaaaaa", b"e."),
}
ARGUMENTS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"\xff\xff\xff\xff",
            b"\xff" * 8,
            b"\x00" * 8,
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"os\nsystem\n",
            b"9" * 5000,
        ]
    ),
)


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, bytes]:
    """A pickle: a flood, any instructions in any order, or a sound one with some in between."""
    form = draw(st.sampled_from(["flood", "flood", "any", "claims"]))
    if form == "flood":
        name = draw(st.sampled_from(sorted(FLOODS)))
        before, piece, after = FLOODS[name]
        count = draw(st.one_of(st.integers(1, 40), st.integers(1, 30_000_000 // len(piece))))
        return f"{name} x {count}", before + piece * count + after
    if form == "claims":
        op = draw(st.sampled_from([b"X", b"B", b"T", b"\x8b"])) + struct.pack("<I", draw(st.integers(2**20, 2**31 - 1)))
        long = draw(st.sampled_from([b"\x8d", b"\x8e", b"\x96"])) + struct.pack("<Q", draw(st.integers(2**20, 2**63)))
        start = draw(st.sampled_from([b"\x80\x02", b"\x80\x04}", b""]))
        return "claims a length", start + draw(st.sampled_from([op, long])) + draw(st.binary(max_size=40)) + b"."
    steps = draw(st.lists(st.tuples(st.sampled_from(sorted(OPCODES)), ARGUMENTS), max_size=30))
    program = b"".join(
        OPCODES[name].code.encode("latin-1") + (piece if OPCODES[name].arg else b"") for name, piece in steps
    )
    return f"any: {steps}", draw(st.sampled_from([b"\x80\x02", b"\x80\x02}", b"(", b""])) + program + b"."


@st.composite
def pickles(draw: st.DrawFn) -> HostileFile:
    """A hostile pickle, in a zip archive or at any place of the older format."""
    what, program = draw(programs())
    place = draw(st.sampled_from(["zip", "deflated", "stream", "version", "machine", "keys"]))
    suffix = draw(st.sampled_from([".ckpt", ".pt", ".bin"]))

    def write(folder: Path, samples: Samples) -> Path:
        path = folder / f"model{suffix}"
        if place in ("zip", "deflated"):
            kind = zipfile.ZIP_DEFLATED if place == "deflated" else zipfile.ZIP_STORED
            with zipfile.ZipFile(path, "w", kind) as archive:
                archive.writestr("archive/data.pkl", program)
                archive.writestr("archive/data/0", b"\0" * 16)
            return path
        whole = samples.stream.read_bytes()
        magic = whole[: whole.index(b".") + 1]
        parts = {
            "version": b"\x80\x02M\xe9\x03.",
            "machine": b"\x80\x02}.",
            "stream": b"\x80\x02}.",
            "keys": b"\x80\x02].",
        }
        path.write_bytes(magic + b"".join({**parts, place: program}.values()))
        return path

    return HostileFile("pickle", f"{place}: {what}", "checkpoint", write)


@st.composite
def zips(draw: st.DrawFn) -> HostileFile:
    """A zip archive that is none of torch's: a bomb, too many records, or a list of records that lies."""
    form = draw(st.sampled_from(["bomb", "records", "list", "names", "compression"]))
    size, cuts = (
        draw(st.integers(1, 1_500)),
        draw(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)))),
    )
    count = draw(st.integers(1, 150_000))
    names = draw(st.lists(TEXTS.map(lambda text: text.replace("\ud800", "").replace("\udfff", "")[:3000]), max_size=5))
    method = draw(st.sampled_from([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED]))
    program = b"\x80\x02}X\x01\x00\x00\x00aK\x01s."

    def write(folder: Path, samples: Samples) -> Path:
        path = folder / "model.ckpt"
        kind = method if form == "compression" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", kind) as archive:
            if form == "bomb":
                with archive.open(zipfile.ZipInfo("archive/data.pkl"), "w") as record:
                    record.write(b"")
                info = zipfile.ZipInfo("bomb/data.pkl")
                info.compress_type = zipfile.ZIP_DEFLATED
                del archive.filelist[:], archive.NameToInfo["archive/data.pkl"]
                with archive.open(info, "w", force_zip64=True) as record:
                    for _ in range(size):
                        record.write(bytes(1_000_000))
            elif form == "records":
                archive.writestr("archive/data.pkl", program)
                for number in range(count):
                    archive.filelist.append(zipfile.ZipInfo(f"archive/data/{number}"))
                    archive.filelist[-1].header_offset = archive.filelist[-1].CRC = 0
            else:
                archive.writestr("archive/data.pkl", program + bytes(2_000_000 if form == "compression" else 0))
                for name in dict.fromkeys(names):
                    archive.writestr(f"archive/data/{name}", b"12345678")
        if form == "list":
            content = path.read_bytes()
            cut = content.index(b"PK\1\2")
            path.write_bytes(content[:cut] + _spoiled(content[cut:], cuts, 1))
        return path

    return HostileFile("zip", f"{form} {size} {count} {cuts} {names}", "checkpoint", write)


# --- configurations


@st.composite
def yaml_files(draw: st.DrawFn) -> HostileFile:
    """A sound checkpoint with a hostile yaml beside it."""
    form = draw(st.sampled_from(["changed", "changed", "changed", "aliases", "text", "deep", "merge"]))
    count, text = draw(st.integers(2, 60)), draw(st.one_of(st.binary(max_size=80), BROKEN_JSON))
    piece = draw(
        st.sampled_from(
            ["1:" * 20_000 + "1", "9" * 20_000, "!!python/object/apply:os.system [ls]", "!!binary " + "A" * 9000,
             "!!set {a}", "2001-99-99", "&a [*a]", "&a {<<: *a}", "? [1]\n: 2", ".inf", "-.nan", "!!int x",
             "!!float {}", "1e400"]
        )
    )  # fmt: skip
    part = draw(st.sampled_from(["image_size", "timesteps", "linear_end", "scale_factor", "parameterization"]))
    choose, value = draw(st.integers(0, 100)), draw(STRANGE)
    replaced = draw(st.booleans())

    def write(folder: Path, samples: Samples) -> Path:
        path = folder / "model.safetensors"
        path.symlink_to(samples.original)
        sound = samples.original.with_suffix(".yaml").read_text(encoding="utf-8")
        document = yaml.safe_load(sound)
        _beside(folder, samples, path)
        levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, count))
        merged = "\n".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n  k{i}: 1" for i in range(1, count))
        if form == "changed" and replaced:
            ways = list(_ways(document))
            holder, key = ways[choose % len(ways)]
            holder[key] = value
            content = yaml.safe_dump(document, allow_unicode=False).encode("ascii", "replace")
        elif form == "changed":
            document["model"]["params"][part] = "PIECE"
            content = yaml.safe_dump(document).replace("PIECE", piece).encode()
        else:
            content = {
                "aliases": f"a0: &a0 [x]\n{levels}\nmodel: *a{count - 1}\n".encode(),
                "merge": f"a0: &a0 {{b: 1}}\n{merged}\nmodel: *a{count - 1}\n".encode(),
                "deep": b"a: " + b"[" * (count * 2000) + b"]" * (count * 2000),
                "text": text,
            }[form]
        path.with_suffix(".yaml").write_bytes(content)
        return path

    return HostileFile("yaml", f"{form} {count} {part} {piece[:40]} {choose} {value!r:.60}", "checkpoint", write)


def _ways(document: Any) -> list[tuple[Any, Any]]:
    """Return every place of a document, as (holder, key)."""
    found: list[tuple[Any, Any]] = []
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        found.append((document, key))
        if isinstance(value, (dict, list)):
            found += _ways(value)
    return found


PARTS = ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")
COUNTS = (
    "layers_per_block",
    "num_hidden_layers",
    "transformer_layers_per_block",
    "num_labels",
    "sample_size",
    "id2label",
)


@st.composite
def folders(draw: st.DrawFn) -> HostileFile:
    """A folder in the diffusers layout with one file that is hostile."""
    name = draw(st.sampled_from(["model_index.json", *PARTS, *PARTS]))
    form = draw(st.sampled_from(["changed", "changed", "changed", "text", "pieces", "counts"]))
    seed, value, text, many = draw(st.integers(0, 1000)), draw(STRANGE), draw(BROKEN_JSON), draw(st.integers(1, 60_000))

    def write(folder: Path, samples: Samples) -> Path:
        path = _copied(samples.folder, folder / "model")
        file = path / name
        document = json.loads(file.read_text(encoding="utf-8"))
        if form == "pieces":
            (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
            file = path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
            document = {"weight_map": value if seed % 2 else {f"w{i}": f"p{i}.safetensors" for i in range(many)}}
        elif form == "counts":
            document[COUNTS[seed % len(COUNTS)]] = many if seed % 3 else [many] * 4
        elif form == "changed":
            ways = _ways(document)
            holder, key = ways[seed % len(ways)]
            holder[key] = value
        file.write_bytes(text if form == "text" else json_bytes(document))
        return path

    return HostileFile("diffusers folder", f"{name} {form} {seed} {value!r:.60} {text[:40]!r}", "checkpoint", write)


def _copied(source: Path, target: Path) -> Path:
    """Copy a folder, its weights as links: they are only read."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            there.symlink_to(path)
        elif path.is_file():
            shutil.copy(path, there)
    return target


@st.composite
def tokenizers(draw: st.DrawFn) -> HostileFile:
    """A folder in the diffusers layout whose tokenizer is broken."""
    name = draw(st.sampled_from([*TOKENIZER_FILES, "tokenizer.json", "added_tokens.json", "chat_template.jinja"]))
    form = draw(st.sampled_from(["changed", "text", "bytes", "large", "fifo"]))
    seed, value, text, many = (
        draw(st.integers(0, 1000)),
        draw(STRANGE),
        draw(BROKEN_JSON),
        draw(st.integers(1, 12_000_000)),
    )
    cuts, length = draw(CUTS), draw(LENGTHS)

    def write(folder: Path, samples: Samples) -> Path:
        path = _copied(samples.folder, folder / "model")
        file = path / "tokenizer" / name
        content = file.read_bytes() if file.exists() else b'{"version": "1.0", "model": {"type": "BPE"}}'
        if form == "fifo":
            file.unlink(missing_ok=True)
            os.mkfifo(file)
            return path
        if form == "changed" and name.endswith(".json"):
            document = json.loads(content)
            key = sorted(document)[seed % len(document)]
            document[key] = value
            content = json_bytes(document)
        elif form == "text":
            content = text
        elif form == "large":
            content = (
                b"#version\n" + b"a b\n" * (many // 4) if name.endswith("txt") else b'{"a": "' + b"a" * many + b'"}'
            )
        else:
            content = _spoiled(content, cuts, length)
        file.write_bytes(content)
        return path

    return HostileFile("tokenizer", f"{name} {form} {seed} {value!r:.60} {many}", "checkpoint", write)


# --- things that are no files


@st.composite
def special(draw: st.DrawFn) -> HostileFile:
    """A FIFO, a device, a folder, a link without end or a name without end, in place of any file."""
    form = draw(st.sampled_from(["fifo", "zero", "full", "folder", "loop", "gone", "long", "self", "null"]))
    place = draw(
        st.sampled_from(
            ["model.safetensors", "model.ckpt", "folder/model_index.json", "folder/unet/config.json", "beside.yaml",
             "folder/vae/diffusion_pytorch_model.safetensors", "folder/tokenizer/vocab.json", "config.json",
             "words.txt", "lora.safetensors", "presets/mine.json"]
        )
    )  # fmt: skip
    opened: dict[str, Opened] = {
        "config.json": "settings", "words.txt": "words", "lora.safetensors": "lora", "presets/mine.json": "preset",
    }  # fmt: skip
    length = draw(st.integers(200, 5000))

    def write(folder: Path, samples: Samples) -> Path:
        path = folder / place
        result = path
        if place.startswith("folder/"):
            result = _copied(samples.folder, folder / "folder")
        elif place == "beside.yaml":
            result = folder / "beside.safetensors"
            result.symlink_to(samples.original)
            _beside(folder, samples, result)
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "long":
            return path.with_name("x" * length + path.suffix)
        path.unlink(missing_ok=True)
        if form == "fifo":
            os.mkfifo(path)
        elif form == "folder":
            path.mkdir()
        else:
            links = {
                "zero": "/dev/zero",
                "full": "/dev/full",
                "null": "/dev/null",
                "gone": "nowhere",
                "loop": path.name,
            }
            path.symlink_to(links.get(form, "/proc/self/mem"))
        return result

    return HostileFile("no file", f"{form} as {place}", opened.get(place, "checkpoint"), write)


# --- settings and words

SETTINGS = {
    "erase": ["church"], "anchor": [""], "preserve": ["tower"], "templates": ["{}", "a house[ by {}]"], "steps": 20,
    "learning_rate": 0.001, "rank": 4, "adversary": "gumbel", "method": "adversarial", "hard": True, "seed": 1,
    "vocabulary": "words", "vocabulary_file": "", "layers": "xattn", "alpha": 4.0, "resolution": 64,
}  # fmt: skip


@st.composite
def settings_files(draw: st.DrawFn) -> HostileFile:
    """A file for ``--config``, or a preset."""
    opened: Opened = draw(st.sampled_from(["settings", "settings", "preset"]))
    content = draw(st.one_of(BROKEN_JSON, changed(SETTINGS, 3).map(json_bytes)))
    if opened == "preset":
        preset = {"description": "mine", "settings": SETTINGS}
        content = draw(st.one_of(BROKEN_JSON, changed(preset, 3).map(json_bytes)))

    def write(folder: Path, samples: Samples) -> Path:
        path = folder / ("presets/mine.json" if opened == "preset" else "config.json")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return HostileFile("settings", f"{opened} {content[:200]!r}", opened, write)


@st.composite
def word_files(draw: st.DrawFn) -> HostileFile:
    """A vocabulary of one's own."""
    text, cuts, count = draw(TEXTS), draw(CUTS), draw(st.integers(1, 400_000))
    form = draw(st.sampled_from(["lines", "one line", "bytes"]))

    def write(folder: Path, samples: Samples) -> Path:
        line = text[:1000].encode("utf-8", "surrogatepass")
        content = {
            "lines": b"\n".join(b"%s%d" % (line[:40], number) for number in range(count)),
            "one line": line * (1 + 30_000_000 // max(1, len(line))),
            "bytes": _spoiled(b"church\ntower\n# a note\n", cuts, 1),
        }[form]
        path = folder / "words.txt"
        path.write_bytes(content)
        return path

    return HostileFile("words", f"{form} {text[:40]!r} {count}", "words", write)


FILES: dict[str, st.SearchStrategy[HostileFile]] = {
    "damaged bytes": damaged(),
    "safetensors header": safetensors(),
    "pickle": pickles(),
    "zip": zips(),
    "yaml": yaml_files(),
    "diffusers folder": folders(),
    "tokenizer": tokenizers(),
    "no file": special(),
    "settings": settings_files(),
    "words": word_files(),
}
