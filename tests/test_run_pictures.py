from pathlib import Path
from typing import Any

import pytest

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.rows import Rows
from erasure.run import pictures as run_pictures
from erasure.run.folder import RunFolder
from erasure.training.session import Session, open_session


@pytest.fixture
def config(tmp_path: Path) -> EraseConfig:
    (tmp_path / "words.txt").write_text("truck\nbus\nhouse\n")
    space = {"vocabulary": "file", "vocabulary_file": str(tmp_path / "words.txt"), "synonym_threshold": 0}
    return config_from_dict({"erase": ["church"], "templates": ["{}"], **space})


@pytest.fixture
def session(tiny_checkpoint: Path, config: EraseConfig) -> Session:
    return open_session(inspect_checkpoint(tiny_checkpoint), config, "cpu")


def _opened(*given: Any) -> run_pictures.RunPictures:
    steps = run_pictures.open_run_pictures(*given)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _bytes(pictures: run_pictures.RunPictures) -> list[bytes]:
    return [picture.tobytes() for picture in pictures.before]


def test_pictures_from_before_are_drawn_once_and_again_only_if_damaged(
    session: Session, config: EraseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, config)
    drawn: list[str] = []
    drawing_steps = run_pictures.drawing_steps

    def draw(model, prompts, *given):  # type: ignore[no-untyped-def]
        drawn.extend(prompts)
        return drawing_steps(model, prompts, *given)

    monkeypatch.setattr(run_pictures, "drawing_steps", draw)
    first = _opened(session, folder, config)
    assert drawn == [prompt for prompt in first.prompts for _ in run_pictures.SEEDS]
    again = _opened(session, folder, config)
    assert len(drawn) == len(first.before)
    assert _bytes(again) == _bytes(first)

    whole = folder.before.read_bytes()
    folder.before.write_bytes(whole[: len(whole) // 2])
    mended = _opened(session, folder, config)
    assert len(drawn) == 2 * len(first.before)
    assert _bytes(mended) == _bytes(first)
    assert folder.before.read_bytes() == whole


def test_pictures_of_other_prompts_are_drawn_anew(session: Session, config: EraseConfig, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, config)
    first = _opened(session, folder, config)
    other = _opened(session, folder, config.with_changes(templates=("a photo of {}",)))
    assert other.prompts != first.prompts
    assert _bytes(other) != _bytes(first)


def test_pictures_are_as_large_as_those_that_are_trained_on(
    tiny_checkpoint: Path, config: EraseConfig, tmp_path: Path
) -> None:
    own = open_session(inspect_checkpoint(tiny_checkpoint), config, "cpu").model.pixels
    larger = config.with_changes(resolution=2 * own)
    session = open_session(inspect_checkpoint(tiny_checkpoint), larger, "cpu")
    folder = RunFolder(tmp_path / "run")
    folder.create({}, larger)
    assert {picture.size for picture in _opened(session, folder, larger).before} == {(2 * own, 2 * own)}


def test_drawing_tells_how_far_it_is_and_leaves_the_training_alone_in_between(
    session: Session, config: EraseConfig, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, config)
    session.model.rows["training"] = Rows(5)
    steps, shares = run_pictures.open_run_pictures(session, folder, config), []
    for event in steps:
        shares.append(event.share)
        assert session.trainer.meta()["rows"] == 5
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1
    steps = run_pictures.RunPictures(session, folder, ("a bus",), ()).steps()
    next(steps)
    steps.close()
    assert list(folder.path.rglob("*.png")) == [folder.before]
