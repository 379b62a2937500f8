from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import drawing_steps, run_to_end
from erasure.model.model import Model
from erasure.model.rows import Rows
from erasure.run.folder import RunFolder
from erasure.run.forecast import SEEDS
from erasure.run.picture_folder import INDEX, Picture, Subject, read_pictures, write_pictures
from erasure.run.pictures import RunPictures, open_run_pictures
from erasure.run.preview import RunPreview
from erasure.run.tuned_model import SessionModel, TunedModel, open_tuned_model
from erasure.training.session import open_session
from erasure.verdict.verdict import Verdict
from tests.verdicts import a_finding

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> EraseConfig:
    (tmp_path / "words.txt").write_text("truck\nbus\nhouse\n")
    space = {"vocabulary": "file", "vocabulary_file": str(tmp_path / "words.txt"), "synonym_threshold": 0}
    # Without a verdict, which takes longer than all pictures.
    return config_from_dict({"erase": ["church"], "templates": ["{}"], "judged_words": 0, "look_every": 0, **space})


@pytest.fixture
def tuned(tiny_checkpoint: Path, config: EraseConfig) -> TunedModel:
    return run_to_end(open_tuned_model(inspect_checkpoint(tiny_checkpoint), config, "cpu"))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def _opened(tuned: TunedModel, folder: RunFolder, config: EraseConfig) -> RunPictures:
    return run_to_end(open_run_pictures(tuned, folder, config))


def _bytes(pictures: RunPictures) -> list[bytes]:
    return [picture.image.tobytes() for picture in pictures.before]


def _prompts(pictures: RunPictures) -> list[str]:
    return [picture.subject.prompt for picture in pictures.before]


def test_pictures_from_before_are_drawn_once_and_again_only_if_damaged(
    tuned: TunedModel, config: EraseConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def draw(
        model: Model, prompts: Sequence[str], seeds: Sequence[int], settings: DrawSettings
    ) -> Generator[float, None, list[Image.Image]]:
        drawn.extend(prompts)
        return drawing_steps(model, prompts, seeds, settings)

    monkeypatch.setattr("erasure.run.tuned_model.drawing_steps", draw)
    first = _opened(tuned, folder, config)
    assert drawn == _prompts(first)
    assert [picture.seed for picture in first.before] == [*SEEDS] * 4
    again = _opened(tuned, folder, config)
    assert len(drawn) == len(first.before)
    assert _bytes(again) == _bytes(first)

    damaged = sorted(folder.before.glob("*.png"))[3]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    mended = _opened(tuned, folder, config)
    assert len(drawn) == 2 * len(first.before)
    assert _bytes(mended) == _bytes(first)
    assert damaged.read_bytes() == whole


def test_a_picture_that_is_damaged_in_any_way_is_an_error_that_is_caught(folder: RunFolder) -> None:
    """Pillow raises SyntaxError for some damages of a PNG, OSError for others."""
    picture = Picture(Subject("bell", "a bell", "erased"), 1, None, Image.effect_noise((64, 64), 50).convert("RGB"))
    write_pictures(folder.before, [picture])
    (file,) = folder.before.glob("*.png")
    whole = file.read_bytes()
    for left in range(0, len(whole), 97):
        file.write_bytes(whole[:left].ljust(len(whole), b"\0"))
        with suppress(OSError, ValueError):  # and nothing else
            read_pictures(folder.before)
    file.write_bytes(whole)
    assert len(read_pictures(folder.before)) == 1


def test_pictures_of_other_prompts_are_drawn_anew(tuned: TunedModel, config: EraseConfig, folder: RunFolder) -> None:
    first = _opened(tuned, folder, config)
    other = _opened(tuned, folder, with_changes(config, templates=("a photo of {}",)))
    assert _prompts(other) != _prompts(first)
    assert _bytes(other) != _bytes(first)
    assert len(list(folder.before.glob("*.png"))) == len(other.before)


def test_pictures_are_as_large_as_those_that_are_trained_on(
    tiny_checkpoint: Path, config: EraseConfig, folder: RunFolder
) -> None:
    checkpoint = inspect_checkpoint(tiny_checkpoint)
    own = open_session(checkpoint, config, "cpu").model.pixels
    larger = with_changes(config, resolution=2 * own)
    tuned = run_to_end(open_tuned_model(checkpoint, larger, "cpu"))
    assert {picture.image.size for picture in _opened(tuned, folder, larger).before} == {(2 * own, 2 * own)}


def test_drawing_tells_how_far_it_is_and_leaves_the_training_alone_in_between(
    tiny_checkpoint: Path, config: EraseConfig, folder: RunFolder
) -> None:
    session = open_session(inspect_checkpoint(tiny_checkpoint), config, "cpu")
    tuned = SessionModel(session, "cpu")
    session.model.rows["training"] = Rows(5)
    steps, done = open_run_pictures(tuned, folder, config), []
    for stage in steps:
        done.append(stage.done)
        assert (stage.what, stage.total) == ("draws the pictures before", 8)
        assert tuned.training.meta()["rows"] == 5
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == 8
    before = sorted(folder.path.rglob("*.png"))
    more = RunPictures(tuned, folder, tuple(read_pictures(folder.before))).steps()
    next(more)
    more.close()
    assert sorted(folder.path.rglob("*.png")) == before


def test_each_picture_has_its_name_beside_it(tuned: TunedModel, config: EraseConfig, folder: RunFolder) -> None:
    pictures = _opened(tuned, folder, config)
    tuned.training.step = 150
    preview, rows = pictures.preview()
    assert (preview.step, preview.path) == (150, folder.path / "pictures" / "step-000150")
    said = json.loads((preview.path / INDEX).read_text())["pictures"]
    assert [(row["concept"], row["prompt"], row["role"]) for row in said[:: len(SEEDS)]] == [
        ("church", "church", "erased"),
        *((name, name, "protected") for name in [c.text for c in tuned.space.targets[0].preserved][:2]),
        (tuned.space.targets[0].preserved[-1].text,) * 2 + ("other",),
    ]
    assert {row["step"] for row in said} == {150}
    assert {row["step"] for row in json.loads((folder.before / INDEX).read_text())["pictures"]} == {None}
    assert [row["seed"] for row in said] == [*SEEDS] * 4
    assert sorted(row["file"] for row in said) == sorted(path.name for path in preview.path.glob("*.png"))
    assert RunPreview(folder, 150).rows() == rows
    assert folder.previews() == {150}


# --- on disk

RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
CHURCH = Subject("church", "a photo of a church", "erased")


def test_pictures_that_are_not_all_written_are_none(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(folder.pictures(1), [Picture(CHURCH, 1, 1, RED)])

    def full(*given: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("erasure.run.picture_folder.write_json", full)
    with pytest.raises(OSError, match="No space"):
        write_pictures(folder.pictures(1), [Picture(CHURCH, 1, 1, BLUE)])
    assert folder.previews() == set()
    with pytest.raises(OSError, match=INDEX):
        read_pictures(folder.pictures(1))


def test_an_index_leads_to_no_other_file(folder: RunFolder) -> None:
    write_pictures(folder.pictures(1), [Picture(CHURCH, 1, 1, RED)])
    BLUE.save(folder.path / "secret.png")
    index = folder.pictures(1) / INDEX
    values = json.loads(index.read_text())
    values["pictures"][0]["file"] = "../../secret.png"
    index.write_text(json.dumps(values))
    with pytest.raises(OSError, match="secret"):
        read_pictures(folder.pictures(1))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"pictures": [1]}', '{"pictures": [{"file": "x.png"}]}'])
def test_an_index_that_makes_no_sense_is_refused(folder: RunFolder, text: str) -> None:
    write_pictures(folder.pictures(1), [Picture(CHURCH, 1, 1, RED)])
    (folder.pictures(1) / INDEX).write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        read_pictures(folder.pictures(1))


def test_only_what_was_drawn_before_and_after_is_shown(folder: RunFolder) -> None:
    bus = Subject("bus", "bus", "protected")
    write_pictures(folder.before, [Picture(CHURCH, seed, None, BLUE) for seed in (1, 2)])
    write_pictures(folder.pictures(3), [Picture(subject, 2, 3, RED) for subject in (CHURCH, bus)])
    (row,) = RunPreview(folder, 3).rows()
    assert (row.subject, row.seeds, row.before, row.after) == (CHURCH, (2,), (BLUE,), (RED,))


def test_a_sheet_of_an_older_version_is_all_there_is(folder: RunFolder) -> None:
    folder.sheet(7).parent.mkdir(parents=True)
    RED.save(folder.path / "previews" / "step-000007.png")
    preview = RunPreview(folder, 7)
    assert folder.previews() == {7}
    assert preview.is_sheet
    assert preview.sheet() == RED


def test_the_word_that_was_hurt_most_is_shown_before_and_after(
    tuned: TunedModel, config: EraseConfig, folder: RunFolder
) -> None:
    pictures = _opened(tuned, folder, config)
    findings = (a_finding("house", "near", 2, of=2), a_finding("tower", "near", 0, of=2))
    more = run_to_end(pictures.with_worst(Verdict(findings)))
    assert _prompts(more) == [*_prompts(pictures), "tower", "tower"]
    assert _bytes(more)[: len(_bytes(pictures))] == _bytes(pictures)
    preview, _ = more.preview()
    assert [row.subject.concept for row in RunPreview(folder, preview.step).rows()][-1] == "tower"
    # It is not in the way of a run that goes on.
    assert _prompts(_opened(tuned, folder, config)) == _prompts(pictures)


@pytest.mark.parametrize("after", [1, 2])
def test_nothing_more_is_drawn_if_the_worst_is_shown_or_none_is_hurt(
    tuned: TunedModel, config: EraseConfig, folder: RunFolder, after: int
) -> None:
    pictures = _opened(tuned, folder, config)
    shown = pictures.before[-1].subject.concept
    word = shown if after < 2 else "tower"
    assert run_to_end(pictures.with_worst(Verdict((a_finding(word, "near", after, of=2),)))) is pictures
