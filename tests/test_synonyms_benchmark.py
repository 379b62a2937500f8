"""Whether comparing words in stages loses any is measured."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from benchmarks.synonyms import Race, race, told
from erasure.config.values import erase_config
from erasure.model.conditioning import Conditioning
from erasure.model.parts import ModelParts
from tests.test_concepts import DRAWN, NEAR, WORDS, FakeModel


class Counting(FakeModel):
    """A fake model that counts its rows as a real one does."""

    def eps(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        self.rows.count(len(z))
        return super().eps(z, t, conditioning)


def test_words_are_compared_in_stages_and_on_every_latent(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    config = erase_config(vocabulary="file", vocabulary_file=str(path), erase=("church",), neighbours=6)
    found = race(Counting(tiny_models, DRAWN, NEAR), config)
    assert set(found.words) == {"chapel", "cathedral"}
    assert found.lost == ()
    assert found.rows < found.rows_of_all == 6 * config.synonym_states


def test_what_the_race_lost_is_told() -> None:
    races = [Race(("a", "b"), ("b",), 10, 30), Race(("c",), (), 20, 30)]
    assert told(races) == "3 words below the threshold, 1 of them lost; 15 rows each, 30 for all words"
