"""Which near words the model draws as the target, and which of them the target as well, by a judge that is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erasure.cli.concepts import print_space
from erasure.cli.progress_bar import ProgressBar
from erasure.concepts.build import build_concept_space
from erasure.concepts.row_count import EMPTY_PICTURES, LIKEST, LOOK_SCALE_PICTURES, PICTURES, SCALE_PICTURES, along_rows
from erasure.concepts.space import Candidate, ConceptSpace
from erasure.config.values import erase_config
from erasure.judge.album import Album
from erasure.judge.judge import Judge, Query
from erasure.judge.judge_settings import JUDGE_SETTINGS, JudgeSettings
from erasure.judge.takes import takes
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import run_to_end
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.run.events import Planned
from erasure.run.folder import RunFolder
from erasure.run.state import load_state, save_state
from erasure.training.plan import Plan
from erasure.verdict.examine import open_examination
from erasure.verdict.panel import LOOK_SIZES, PANEL_SIZES
from tests.fake_judge import NO, FakeJudge
from tests.spaces import space_of
from tests.test_concepts import DRAWN, NEAR, WORDS, FakeModel

BOTH = {"church": {"chapel", "cathedral"}, "chapel": {"church"}, "cathedral": {"church"}}
SMALL = JudgeSettings(timesteps=(0.5,), drawing=DrawSettings(steps=2, guidance=2.0, batch=4))


def _space(
    models: ModelParts, folder: Path, judge: Judge, words: list[str] = WORDS, near: Any = NEAR, drawn: Any = DRAWN,
    **settings: Any,
) -> ConceptSpace:  # fmt: skip
    path = folder / "vocabulary.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    settings = {"erase": ("church",), "neighbours": 4, "judged_words": 0, **settings}
    config = erase_config(vocabulary="file", vocabulary_file=str(path), **settings)
    model = FakeModel(models, drawn, near)
    return build_concept_space(model, config, Album(model, judge))


def _texts(candidates: Any) -> list[str]:
    return [candidate.text for candidate in candidates]


def test_a_synonym_is_drawn_as_the_target_and_the_target_as_it(tiny_models: ModelParts, tmp_path: Path) -> None:
    space = _space(tiny_models, tmp_path, FakeJudge(BOTH))
    assert _texts(space.targets[0].synonyms) == ["chapel", "cathedral"]
    assert not space.notes


@pytest.mark.parametrize("missing", ["church", "chapel"])
def test_a_word_that_is_like_the_target_in_one_direction_alone_is_preserved(
    tiny_models: ModelParts, tmp_path: Path, missing: str
) -> None:
    shows = {drawn: seen - {"chapel"} if drawn == missing else seen for drawn, seen in BOTH.items()}
    if missing == "chapel":
        shows["chapel"] = set()
    church = _space(tiny_models, tmp_path, FakeJudge(shows)).targets[0]
    assert _texts(church.synonyms) == ["cathedral"]
    assert _texts(church.preserved) == ["chapel", "temple", "tower", "bell"]
    assert church.preserved[0].difference == pytest.approx(0.01, abs=1e-4)


def test_half_of_the_pictures_are_not_enough(tiny_models: ModelParts, tmp_path: Path) -> None:
    church = _space(tiny_models, tmp_path, FakeJudge(BOTH, once={"chapel"})).targets[0]
    assert _texts(church.synonyms) == ["cathedral"]


def test_only_what_is_near_by_s_of_c_is_judged_and_only_what_the_target_shows_is_drawn(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    judge = FakeJudge({**BOTH, "church": {"cathedral"}})
    _space(tiny_models, tmp_path, judge)
    drawn = [prompt for prompt, _ in judge.drawn]
    assert len(judge.drawn) == len(set(judge.drawn)), "no picture is drawn twice"
    assert drawn.count("church") == LOOK_SCALE_PICTURES == LOOK_SIZES.target_pictures
    assert drawn.count("cathedral") == PICTURES
    assert "chapel" not in drawn, "chapel was not seen in pictures of church"
    asked = [(prompt, about) for (prompt, _), about in judge.asked]
    assert asked.count(("church", "chapel")) == PICTURES
    assert {about for _, about in asked} == {"church", "chapel", "cathedral"}
    assert len(judge.asked) == len(set(judge.asked)), "nothing is asked twice"


def test_with_a_verdict_a_target_has_as_many_pictures_as_it_judges(tiny_models: ModelParts, tmp_path: Path) -> None:
    judge = FakeJudge(BOTH)
    _space(tiny_models, tmp_path, judge, judged_words=20)
    assert [prompt for prompt, _ in judge.drawn].count("church") == SCALE_PICTURES == PANEL_SIZES.target_pictures


def test_pictures_of_other_things_are_asked_about_all_targets_in_one_call(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    class Watched(FakeJudge):
        def scores(self, latents: Tensor, queries: Sequence[Sequence[Query]]) -> list[list[float]]:
            self.together = [*getattr(self, "together", []), *([query.prompt for query in row] for row in queries)]
            return super().scores(latents, queries)

    judge = Watched(BOTH)
    _space(tiny_models, tmp_path, judge, erase=("church", "truck"))
    of_nothing = [about for about in judge.together if "truck" in about and "church" in about]
    assert len(of_nothing) >= EMPTY_PICTURES


def test_without_a_word_that_is_near_by_s_of_c_nothing_is_drawn(tiny_models: ModelParts, tmp_path: Path) -> None:
    judge = FakeJudge({})
    _space(tiny_models, tmp_path, judge, words=["temple", "tower", "bell", "house"])
    assert not judge.drawn


def test_a_target_that_is_not_drawn_recognisably_has_its_synonyms_by_s_of_c_with_a_note(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    space = _space(tiny_models, tmp_path, FakeJudge(BOTH, unseen={"church"}))
    assert _texts(space.targets[0].synonyms) == ["chapel", "cathedral"]
    assert [note for note in space.notes if "does not draw 'church' recognisably" in note] == list(space.notes)


def test_a_word_of_another_target_is_judged_by_its_own(tiny_models: ModelParts, tmp_path: Path) -> None:
    shows = {**BOTH, "truck": {"lorry"}, "lorry": {"truck"}}
    space = _space(tiny_models, tmp_path, FakeJudge(shows), erase=("church", "truck"), neighbours=8)
    assert [_texts(target.synonyms) for target in space.targets] == [["chapel", "cathedral"], ["lorry"]]


NAMED = {"garbage truck": 1.0, "truck": 0.99, "garbage": 0.95, "lorry": 0.98, "house": 0.5, "road": 0.8, "car": 0.9,
         "bus": 1.1}  # fmt: skip


@pytest.mark.parametrize("told", [(), ("truck",)])
def test_the_head_of_a_target_stays_with_a_note_unless_it_is_told(
    tiny_models: ModelParts, tmp_path: Path, told: tuple[str, ...]
) -> None:
    words = [word for word in NAMED if word != "garbage truck"]
    drawn = {"": 0.0, "garbage truck": 1.0, "truck": 1.05, "garbage": 1.1, "lorry": 0.95}
    likes = {"truck", "garbage", "lorry", "garbage truck"}
    judge = FakeJudge(dict.fromkeys(likes, likes))
    settings: dict[str, Any] = {"erase": ("garbage truck",), "synonym": told, "neighbours": 3}
    space = _space(tiny_models, tmp_path, judge, words, NAMED, drawn, **settings)
    target = space.targets[0]
    assert _texts(target.synonyms) == ["lorry"]
    assert "garbage" in _texts(target.preserved)
    assert ("truck" in _texts(target.preserved)) == (not told)
    assert ("truck" in [text for text, _ in space.erased_prompts(erase_config(**settings))]) == bool(told)
    noted = [word for word in ("truck", "garbage") if any(f"draws {word!r} much like" in note for note in space.notes)]
    assert noted == (["garbage"] if told else ["truck", "garbage"])


def test_nearest_words_that_are_drawn_as_the_target_are_named_without_being_synonyms(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    judge = FakeJudge({**BOTH, "tower": {"church"}, "bell": {"church"}, "house": {"church"}}, once={"bell"})
    space = _space(tiny_models, tmp_path, judge, judged_words=3)
    church = space.targets[0]
    assert _texts(church.preserved) == ["temple", "tower", "bell", "house"]
    assert church.drawn_as_target == ("tower",), "bell is in half of the pictures alone, house is not judged"
    assert _texts(church.synonyms) == ["chapel", "cathedral"]
    assert not any(candidate.drawn_as_target for candidate in church.synonyms)
    drawn = [prompt for prompt, _ in judge.drawn]
    assert drawn.count("temple") == PICTURES
    assert "house" not in drawn
    assert ConceptSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_a_word_that_failed_as_a_synonym_is_named_if_it_is_drawn_as_the_target(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    church = _space(tiny_models, tmp_path, FakeJudge({**BOTH, "church": {"cathedral"}}), judged_words=20).targets[0]
    assert church.drawn_as_target == ("chapel",)


def test_words_from_whose_pictures_the_target_comes_back_go_along_where_it_is_to_hold_against_words(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    """By s(c) tower and bell say more of a church than nothing does, and house does not."""
    shows = {**BOTH, "tower": {"church"}, "bell": {"church"}}
    drawn = {**DRAWN, "tower": 1.7, "bell": 1.6}
    settings: dict[str, Any] = {"drawn": drawn, "preserve": ("temple",), "robust": "words", "neighbours": 6}
    judge = FakeJudge(shows, once={"bell"})
    space = _space(tiny_models, tmp_path, judge, **settings)
    church = space.targets[0]
    assert _texts(church.synonyms) == ["chapel", "cathedral", "tower", "bell"]
    assert "house" in _texts(church.preserved)
    pictures = [prompt for prompt, _ in judge.drawn]
    assert pictures.count("tower") == PICTURES
    assert pictures.count("house") <= 1, "as one of unrelated words at most"
    (note,) = space.notes
    assert "'church' from bell, tower" in note

    kept = _space(tiny_models, tmp_path, FakeJudge(shows), **{**settings, "preserve": ("tower",)})
    assert "tower" in _texts(kept.targets[0].preserved), "what the user wants to keep stays"
    off = _space(tiny_models, tmp_path, FakeJudge(shows), **{**settings, "robust": "off"})
    assert _texts(off.targets[0].synonyms) == ["chapel", "cathedral"]
    assert not off.notes


def test_a_word_whose_first_picture_shows_nothing_of_the_target_is_not_drawn_again(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    first, later = (seed for _, seed in takes(("{}",), PICTURES))

    class Later(FakeJudge):
        def _score(self, picture: tuple[str, int], query: Query) -> float:
            return super()._score(picture, query) if picture != ("bell", first) else NO

    shows = {**BOTH, "tower": {"church"}, "bell": {"church"}}
    judge = Later(shows)
    drawn = {**DRAWN, "tower": 1.7, "bell": 1.6}
    church = _space(tiny_models, tmp_path, judge, drawn=drawn, robust="words", neighbours=6).targets[0]
    assert "tower" in _texts(church.synonyms)
    assert "bell" in _texts(church.preserved)
    assert ("tower", later) in judge.drawn
    assert ("bell", later) not in judge.drawn


def test_only_the_likest_words_are_judged_for_a_defence_and_no_more_than_told(
    tiny_models: ModelParts, tmp_path: Path
) -> None:
    many = [f"word{number}" for number in range(3 * LIKEST)]
    near, drawn = ({**known, **dict.fromkeys(many, value)} for known, value in ((NEAR, 0.2), (DRAWN, 1.7)))
    config: dict[str, Any] = {"near": near, "drawn": drawn, "robust": "words", "neighbours": 100}
    pictures = []
    for shown in ({word: {"church"} for word in many}, {}):
        judge = FakeJudge({**BOTH, **shown})
        _space(tiny_models, tmp_path, judge, words=[*WORDS, *many], **config)
        found = [prompt for prompt, _ in judge.drawn if prompt.startswith("word")]
        pictures.append({count: len({prompt for prompt in found if found.count(prompt) == count}) for count in (1, 2)})
    back, not_back = pictures
    assert back[PICTURES] == LIKEST
    assert (not_back[1] >= LIKEST, not_back[PICTURES]) == (True, 0), "the first picture says enough"
    told = along_rows(erase_config(erase=("church",), robust="words"))
    assert told.total == JUDGE_SETTINGS.rows(LIKEST * PICTURES, LIKEST * PICTURES).total
    assert not along_rows(erase_config(erase=("church",))).total


def test_targets_share_the_words_that_are_judged(tiny_models: ModelParts, tmp_path: Path) -> None:
    judge = FakeJudge({**BOTH, "truck": {"lorry"}, "lorry": {"truck"}})
    _space(tiny_models, tmp_path, judge, erase=("church", "truck"), neighbours=4, judged_words=5)
    drawn = {prompt for prompt, _ in judge.drawn} - {"church", "truck", "chapel", "cathedral", "lorry", ""}
    unrelated = {prompt for prompt in drawn if [p for p, _ in judge.drawn].count(prompt) == 1}
    assert drawn - unrelated == {"temple", "tower", "bus", "car"}


def test_of_a_target_that_is_not_drawn_recognisably_no_word_is_judged(tiny_models: ModelParts, tmp_path: Path) -> None:
    judge = FakeJudge({"tower": {"church"}}, unseen={"church"})
    space = _space(tiny_models, tmp_path, judge, judged_words=20, synonym_threshold=0.0)
    assert not space.targets[0].drawn_as_target
    assert [prompt for prompt, _ in judge.drawn].count("tower") <= 1
    (note,) = space.notes
    assert note == (
        "the model does not draw 'church' recognisably, so it is not known which near words are drawn as it"
    )


def test_a_space_from_before_words_were_judged_loads() -> None:
    space = space_of("church")
    values = json.loads(json.dumps(space.to_dict()))
    for candidate in values["targets"][0]["preserved"]:
        del candidate["drawn_as_target"]
    assert ConceptSpace.from_dict(values) == space


def _named() -> ConceptSpace:
    space = space_of("church", words=("tower", "bell"))
    (target,) = space.targets
    worship = Candidate("worship", 0.9, 0.85, drawn_as_target=True)
    return replace(space, targets=(replace(target, preserved=(worship, *target.preserved)),))


def test_words_that_are_drawn_as_the_target_are_told_with_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    print_space(_named(), 20, erase_synonyms=True)
    said = capsys.readouterr().out
    assert "drawn as church, so that both cannot be had: worship\n" in said
    assert "--synonym WORD erases one too; those that stay protected hold the erasure back" in said
    print_space(space_of("church"), 20, erase_synonyms=True)
    assert "both cannot be had" not in capsys.readouterr().out


def test_a_run_begins_with_the_words_that_are_drawn_as_its_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(1, 6, 4, 10, 8.0, 0, _named())
    ProgressBar(RunFolder(tmp_path)).show(Planned(plan))
    assert "drawn as 'church', so that both cannot be had: worship; they hold the erasure back" in (
        capsys.readouterr().out
    )


def test_what_was_judged_for_the_space_is_handed_to_its_examination(tiny_models: ModelParts, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    config = erase_config(
        erase=("church",), neighbours=4, vocabulary="file", vocabulary_file=str(tmp_path / "words.txt")
    )
    judge, model = FakeJudge({**BOTH, "tower": {"church"}}), FakeModel(tiny_models, DRAWN, NEAR)
    album = Album(model, judge)
    space = build_concept_space(model, config, album)
    drawn, asked = list(judge.drawn), list(judge.asked)
    examination = open_examination(model, space, config, album=album)
    run_to_end(examination.before())
    shots = {(shot.prompt, shot.seed) for shot in examination.shots}
    assert len(judge.drawn) == len(set(judge.drawn)), "no picture is drawn twice"
    assert len(judge.asked) == len(set(judge.asked)), "nothing is asked twice"
    assert set(judge.drawn[len(drawn) :]) == shots - set(drawn)
    assert {picture for picture in drawn if picture[0] in ("church", "chapel", "tower", "bell")} <= shots
    assert (("tower", 101), "church") in asked
    assert torch.isfinite(examination.tensors()["as_target"]).all()


def test_an_album_draws_and_asks_once_and_counts_where_it_was_asked_to(tiny_model: Model) -> None:
    album, church, dog = Album(tiny_model, Judge(tiny_model, SMALL)), ("church", 101), ("dog", 101)
    first = run_to_end(album.draw([church, dog, church], "synonyms"))
    again = run_to_end(album.draw([dog, church], "verdict"))
    assert first[0].equal(first[2])
    assert again[1].equal(first[0])
    assert tiny_model.rows["verdict"].total == 0
    asked = [(church, Query("church")), (dog, Query("church")), (church, Query("dog"))]
    scores = album.scores(asked, "verdict")
    assert tiny_model.rows["verdict"].total == 1 + 2 + 2, "queries about one picture share a row"
    assert album.scores(asked[::-1], "verdict") == scores[::-1]
    assert tiny_model.rows["verdict"].total == 5
    alone = Judge(tiny_model, SMALL).own_scores(first[:1], [Query("dog")])
    assert scores[2] == pytest.approx(alone[0], rel=5e-3, abs=1e-3)


def test_an_album_that_was_kept_draws_and_asks_nothing_again(tiny_model: Model, tmp_path: Path) -> None:
    album, pictures = Album(tiny_model, Judge(tiny_model, SMALL)), [("church", 101), ("dog", 101)]
    latents = run_to_end(album.draw(pictures, "synonyms"))
    asked = [(picture, Query("church", "a photo of")) for picture in pictures]
    scores = album.scores(asked, "synonyms")
    save_state(tmp_path / "album.safetensors", album.tensors(), album.meta())
    rows = tiny_model.rows["synonyms"].total
    kept = Album(tiny_model, Judge(tiny_model, SMALL))
    kept.load(*load_state(tmp_path / "album.safetensors"))
    assert run_to_end(kept.draw(pictures, "synonyms")).equal(latents)
    assert kept.scores(asked, "synonyms") == scores
    assert tiny_model.rows["synonyms"].total == rows
    kept.clear()
    save_state(tmp_path / "empty.safetensors", kept.tensors(), kept.meta())
    album.load(*load_state(tmp_path / "empty.safetensors"))
    assert album.meta() == {"pictures": [], "scores": []}
