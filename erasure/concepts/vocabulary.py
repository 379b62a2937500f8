"""Loads the vocabulary: the built-in words or styles, the tokenizer's words, or a user's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erasure.config.settings import EraseConfig
from erasure.errors import ConceptError
from erasure.regular_file import read_bytes

DATA = Path(__file__).parents[1] / "data"
WORDS, STYLES = DATA / "words.txt", DATA / "styles.txt"
# A longer list would take minutes to embed, and is more likely a mistake.
MOST_PROMPTS = 200_000
MOST_BYTES = 20_000_000
END_OF_WORD = "</w>"
# The most common tokens that end a word but are hardly ever a word themselves.
ENDINGS = frozenset(
    """
    ack ae ages ality als ament ance ances ans ants ard ards arian aries aring arity ars ary ase ased ases
    ated ately ates ath ation ations ative ator ators atory ats ature ave bble bers bing ble bles bly ced
    ces ches cial cing cked cker cking cted ction dden ded dents der ders dge ding dio dles edly eds een
    elly els ence ences ened ener ening ens ent ented ents eous ere ered erer ering erly ern ers ery ese
    ess est ests eted eth eting ette fied fier fies ful gence ger gers ges gled gling hed hing iac ial
    ially ian ians iant iar ibility ible ical ically ician icians ics ided ides idity ience iences iers
    ies iest iety ifer ific ified ifies ify ightly ilities ility ily ina inal ined ines iness ing ingly
    ings ining inst ints ional ions ior iour ious ired ires iring isation ise ised ises ish ished ishing
    ising isms ist istic istics ists ita ital ite ited ites ities ition itional itions itis itive ity ium
    ive ived ively ives ization ized izer izing ked ker kers kes ket kets kies kins kle led ler lers les
    lessly lier lies liest liness ling lings lity llo logies logist logy lous lton mber ment ments mers
    mes ming nal ned ner ners ness nesses ney ning nings ong ons ood ool oon ord ored ories oring ors ort
    ory oud ough ould ounds ous ously oved ped pers pes phy pped pping ption rable ral rence riage rings
    rist rists rity sed sely ses shes shing sion sional sions sive ssed sses ssing ssion ssive sted ster
    sters ston tation tations tball ted tely tem tered tering ters tes ther thers tial tic tical tics tion
    tional tionally tions tis tist tists titude tive tively tle tly tness tor tors tral tre tric tty tude
    tural ture tured tures turing ual ually uated uation uble ude udes ued uing ular ulated ulation ule
    ulent ulous ument umes unch ung ural ure ured ures uring ution utive ved vel ven ver vers ves ville
    ving vious vity xed xes xing yed yer yers ying zed zer zers zes zing zle
    """.split()  # noqa: SIM905
)


def load_vocabulary(config: EraseConfig, tokenizer: Any) -> tuple[str, ...]:
    """Return the vocabulary without repeats, in the order of its source.

    Raises: ConceptError if the file cannot be used.
    """
    if config.vocabulary == "tokens":
        return tokenizer_words(tokenizer)
    if config.vocabulary == "file":
        return read_words(Path(config.vocabulary_file))
    return read_words(STYLES if config.vocabulary == "styles" else WORDS)


def read_words(path: Path) -> tuple[str, ...]:
    """Read a UTF-8 file with one prompt per line; blank lines and lines that start with ``#`` are skipped.

    Raises: ConceptError if the file cannot be used.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConceptError(f"there is no vocabulary file {path}; check vocabulary_file") from error
    except UnicodeDecodeError as error:
        raise ConceptError(
            f"the vocabulary {path.name} is not UTF-8 text (byte {error.start} does not fit); save it as "
            "UTF-8, one prompt per line"
        ) from error
    except OSError as error:
        raise ConceptError(
            f"the vocabulary {path.name} cannot be read: {error.strerror or error}; give a text file"
        ) from error
    return parse_words(text, path.name)


def parse_words(text: str, name: str) -> tuple[str, ...]:
    """Return the prompts in a vocabulary's text; ``name`` is for errors. Raises: ConceptError if there are none."""
    if "\0" in text:
        raise ConceptError(f"the vocabulary {name} is not a text file; give UTF-8 text, one prompt per line")
    lines = [line.strip() for line in text.splitlines()]
    prompts = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prompts:
        raise ConceptError(f"the vocabulary {name} is empty; write one prompt per line")
    if len(prompts) > MOST_PROMPTS:
        raise ConceptError(
            f"the vocabulary {name} has {len(prompts):,} prompts, more than {MOST_PROMPTS:,}; shorten it"
        )
    return prompts


def tokenizer_words(tokenizer: Any) -> tuple[str, ...]:
    """Return the tokenizer's whole words, in the order of its vocabulary, without most of its nonsense.

    These are tokens that end a word and have three or more letters, all ASCII, with at least one vowel or y (others
    are abbreviations) and no letter three times in a row ("soooo"). Endings that the tokenizer splits off ("ing",
    "ation") are left out.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    words = [token[: -len(END_OF_WORD)] for token in tokens if token.endswith(END_OF_WORD)]
    return tuple(word for word in dict.fromkeys(words) if _is_word(word))


def _is_word(word: str) -> bool:
    if word in ENDINGS or len(word) < 3 or not (word.isascii() and word.isalpha()) or not set(word) & set("aeiouy"):
        return False
    return not any(word[i] == word[i + 1] == word[i + 2] for i in range(len(word) - 2))
