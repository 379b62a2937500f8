"""Makes ``erasure/data/words.txt``: common English words for things, looks and moods, the most common first.

``python tools/make_word_list.py --merges MERGES --wordnet DICT --out erasure/data/words.txt``, where MERGES is CLIP's
``bpe_simple_vocab_16e6.txt.gz`` (or its ``merges.txt``) and DICT is the ``dict`` folder of WordNet 3.1.
``erasure/data/WORDS.md`` says which words are kept, and why.
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

# The lexicographer files of WordNet, lexnames(5WN), whose nouns can be seen in a picture: animal, artifact, body,
# event, food, location, object, person, phenomenon, plant, shape, substance.
VISUAL = {5, 6, 8, 11, 13, 15, 17, 18, 19, 20, 25, 27}
# How often words of a length must occur in WordNet's tagged texts: many short ones are abbreviations or fragments.
LEAST_TAGGED = {3: 3, 4: 1}
# A noun that never occurs in the tagged texts must have at most this rank in captions.
LAST_RANK = 8_000


@dataclass(frozen=True)
class Sense:
    """One sense of a word in WordNet: its part of speech, lexicographer file, number, tagged uses, and synset."""

    pos: str  # n, v, a, r
    file: int
    number: int
    tagged: int
    offset: str


def whole_words(merges: Path) -> list[str]:
    """Return the words that are one token, in the order of merges: tokens that were merged early are frequent."""
    opened = gzip.open if merges.suffix == ".gz" else open
    with opened(merges, "rt", encoding="utf-8") as file:
        # CLIP uses this many lines after the first; the rest of the file is unused.
        pairs = [line.split() for line in file.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    found = ["".join(pair) for pair in pairs if len(pair) == 2]
    return [token[:-4] for token in found if token.endswith("</w>") and re.fullmatch("[a-z]{3,}</w>", token)]


def read_senses(folder: Path) -> dict[str, list[Sense]]:
    """Read the senses by lemma from ``index.sense``, senseidx(5WN)."""
    kinds = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    senses = defaultdict(list)
    for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
        key, offset, number, tagged = line.split()
        lemma, rest = key.split("%")
        kind, file = rest.split(":")[:2]
        senses[lemma].append(Sense(kinds[kind], int(file), int(number), int(tagged), offset))
    return senses


def read_spellings(folder: Path) -> dict[str, list[str]]:
    """Read the spellings by noun synset from ``data.noun``, wndb(5WN), which writes proper names with capitals."""
    spellings = {}
    for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split("|")[0].split()
            spellings[fields[0]] = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return spellings


def chosen(words: list[str], folder: Path) -> list[str]:
    """Choose the words to keep, in the order given."""
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
    """Tell whether a word is common, mainly a noun, and its first sense no proper name but something visible."""
    nouns = sorted((sense for sense in senses if sense.pos == "n"), key=lambda sense: sense.number)
    if not nouns or word not in spellings[nouns[0].offset] or nouns[0].file not in VISUAL:
        return False
    tagged = {pos: sum(sense.tagged for sense in senses if sense.pos == pos) for pos in "nvar"}
    if 2 * tagged["n"] < max(tagged.values()) or tagged["n"] < LEAST_TAGGED.get(len(word), 0):
        return False
    # A noun that never occurs in the tagged texts is often not what a caption means by the word.
    return tagged["n"] > 0 or (rank < LAST_RANK and not word.endswith("ing"))


def _stems(word: str) -> tuple[str, ...]:
    return word[:-1], word[:-2], word[:-3] + "y", word[:-3] + "f", word[:-3] + "fe"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the built-in word list.")
    parser.add_argument("--merges", type=Path, required=True, help="CLIP's bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--wordnet", type=Path, required=True, help="the dict folder of WordNet 3.1")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the word list to write")
    arguments = parser.parse_args()
    words = chosen(whole_words(arguments.merges), arguments.wordnet)
    # The concepts of emoji-SD are always among the candidates.
    words += [text for concept in CONCEPTS for text in (concept.name, *concept.synonyms)]
    arguments.out.write_text("".join(f"{word}\n" for word in dict.fromkeys(words)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
