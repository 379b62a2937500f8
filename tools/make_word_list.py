"""Make ``erasure/data/words.txt``: common English words for things, looks and moods, most common first.

``python tools/make_word_list.py --merges MERGES --wordnet DICT --out erasure/data/words.txt`` where MERGES is
CLIP's ``bpe_simple_vocab_16e6.txt.gz`` (or its ``merges.txt``) and DICT the ``dict`` folder of WordNet 3.1.
``erasure/data/WORDS.md`` says what is kept and why.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from emoji_sd.concepts import CONCEPTS
from erasure.concepts.naming import plurals
from tools.word_choices import ADJECTIVES, DROPPED, NOUNS

# WordNet's lexicographer files, lexnames(5WN), whose nouns can be seen in a picture: animal, artifact, body,
# event, food, location, object, person, phenomenon, plant, shape, substance.
VISUAL = {5, 6, 8, 11, 13, 15, 17, 18, 19, 20, 25, 27}
# Short words must occur this often in WordNet's tagged texts, by length: many are abbreviations or fragments.
LEAST_TAGGED = {3: 3, 4: 1}
# A noun without any tagged occurrence must be this common in captions.
LAST_RANK = 8_000


@dataclass(frozen=True)
class Sense:
    pos: str  # n, v, a, r
    file: int
    number: int
    tagged: int
    offset: str


def whole_words(merges: Path) -> list[str]:
    """Words that are one token, in merge order: what was merged early is frequent."""
    opened = gzip.open if merges.suffix == ".gz" else open
    with opened(merges, "rt", encoding="utf-8") as file:
        # CLIP uses this many lines after the first; the rest of the file is unused.
        pairs = [line.split() for line in file.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    found = ["".join(pair) for pair in pairs if len(pair) == 2]
    return [token[:-4] for token in found if token.endswith("</w>") and re.fullmatch("[a-z]{3,}</w>", token)]


def read_senses(folder: Path) -> dict[str, list[Sense]]:
    """Senses by lemma from ``index.sense``, senseidx(5WN)."""
    kinds = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    senses = defaultdict(list)
    for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
        key, offset, number, tagged = line.split()
        lemma, rest = key.split("%")
        kind, file = rest.split(":")[:2]
        senses[lemma].append(Sense(kinds[kind], int(file), int(number), int(tagged), offset))
    return senses


def read_spellings(folder: Path) -> dict[str, list[str]]:
    """The spellings of each noun synset from ``data.noun``, wndb(5WN); proper names have capitals there."""
    spellings = {}
    for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split("|")[0].split()
            spellings[fields[0]] = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return spellings


def chosen(words: list[str], folder: Path) -> list[str]:
    """The words to keep, in the order given."""
    senses, spellings = read_senses(folder), read_spellings(folder)
    kept = []
    for rank, word in enumerate(words):
        if word in DROPPED or word not in senses:
            continue
        if word in NOUNS or word in ADJECTIVES or _is_thing(word, rank, senses[word], spellings):
            kept.append(word)
    known = set(kept)
    return [word for word in kept if not any(word in plurals(stem) for stem in _stems(word) if stem in known)]


def _is_thing(word: str, rank: int, senses: list[Sense], spellings: dict[str, list[str]]) -> bool:
    """A common word, a noun before all, whose first sense is no proper name and can be seen in a picture."""
    nouns = sorted((sense for sense in senses if sense.pos == "n"), key=lambda sense: sense.number)
    if not nouns or word not in spellings[nouns[0].offset] or nouns[0].file not in VISUAL:
        return False
    tagged = {pos: sum(sense.tagged for sense in senses if sense.pos == pos) for pos in "nvar"}
    if 2 * tagged["n"] < max(tagged.values()) or tagged["n"] < LEAST_TAGGED.get(len(word), 0):
        return False
    # Nouns that never occur in the tagged texts are often not what the caption meant.
    return tagged["n"] > 0 or (rank < LAST_RANK and not word.endswith("ing"))


def _stems(word: str) -> tuple[str, ...]:
    return word[:-1], word[:-2], word[:-3] + "y", word[:-3] + "f", word[:-3] + "fe"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the built-in word list.")
    parser.add_argument("--merges", type=Path, required=True, help="CLIP's bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--wordnet", type=Path, required=True, help="the dict folder of WordNet 3.1")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    words = chosen(whole_words(arguments.merges), arguments.wordnet)
    # What emoji-SD draws, so that its concepts are always among the candidates.
    words += [text for concept in CONCEPTS for text in (concept.name, *concept.synonyms)]
    arguments.out.write_text("".join(f"{word}\n" for word in dict.fromkeys(words)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
