"""Values in place of those that belong somewhere: of the wrong type, size or depth, and texts that nothing can hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            " ",
            "\0",
            "a\0b",
            "\ud800",
            "x\udfffy",
            "\u202e",
            "\n",
            "../..",
            "/etc/passwd",
            "C:\\x",
            "~",
            "{}",
            "[{}]",
        ]
    ),
    st.sampled_from(["nan", "1e400", "Infinity", "-1", "0x10", "1" * 400, "ä" * 300, "\U0001f600" * 70, "a," * 500]),
    st.integers(1, 200_000).map(lambda length: "x" * length),
)
NUMBERS = st.one_of(
    st.integers(-3, 20),
    st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**30, 10**400, -1, 0]),
    st.floats(),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e308, 5e-324, -0.0]),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)


def _nested(depth: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


STRANGE = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=4),
    st.dictionaries(TEXTS, PLAIN, max_size=4),
    st.lists(st.lists(PLAIN, max_size=3), max_size=3),
    st.builds(_nested, st.sampled_from([3, 40, 400]), st.sampled_from(["list", "dict"])),
    st.builds(lambda item, count: [item] * count, st.sampled_from(["church", 1, None, "", {}]), st.integers(1, 3000)),
)


def json_bytes(value: Any) -> bytes:
    """Write JSON as careless programs do: with NaN, Infinity, huge integers, and halves of surrogate pairs escaped."""
    return json.dumps(value, default=str).encode("ascii")


# What is no JSON, or JSON as no program writes it.
BROKEN_JSON = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            *(
                b"",
                b" ",
                b"[]",
                b"{}",
                b"null",
                b"0",
                b'"text"',
                b"{",
                b'{"a"',
                b"[1,]",
                b"{'a': 1}",
                b"nan",
                b"\xff\xfe{}",
            ),
            *(b'{"a": 1e400}', b'{"a": Infinity}', b'{"a": -1e999}', b'{"a": "\\ud800"}', b'{"a": "\\u0000"}'),
            *(b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'.encode("utf-16"), b'{"a": "\xed\xa0\x80"}', b'{"a": 1, "a": {}}'),
        ]
    ),
    st.builds(lambda mark, count: mark * count, st.sampled_from([b"[", b'{"a":', b'[{"b":[']), st.integers(1, 300_000)),
    st.integers(1, 900_000).map(lambda digits: b'{"steps": ' + b"9" * digits + b"}"),
    st.integers(1, 900_000).map(lambda digits: b'{"steps": 0.' + b"9" * digits + b"e5}"),
    st.integers(1, 60_000).map(lambda count: json.dumps({f"k{i}": i for i in range(count)}).encode()),
)


@st.composite
def changed(draw: st.DrawFn, document: Any, changes: int = 2) -> Any:
    """The document with some of its values replaced, left out or multiplied, wherever they are."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, changes))):
        holder, way = document, []
        while isinstance(holder, (dict, list)) and holder:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            way.append((holder, draw(st.sampled_from(keys))))
            holder = holder[way[-1][1]]
            if draw(st.booleans()):
                break
        if not way:
            return draw(STRANGE)
        inside, key = way[-1]
        if isinstance(inside, dict) and draw(st.integers(0, 3)) == 0:
            del inside[key]
        else:
            inside[key] = draw(STRANGE)
    return document
