from pathlib import Path

import pytest

from erasure import run_pictures
from erasure.config import EraseConfig
from erasure.config_values import config_from_dict
from erasure.core.checkpoint import inspect_checkpoint
from erasure.core.session import Session, open_session
from erasure.run_folder import RunFolder


@pytest.fixture
def config(tmp_path: Path) -> EraseConfig:
    (tmp_path / "words.txt").write_text("truck\nbus\nhouse\n")
    space = {"vocabulary": "file", "vocabulary_file": str(tmp_path / "words.txt"), "synonym_threshold": 0}
    return config_from_dict({"erase": ["church"], "templates": ["{}"], **space})


@pytest.fixture
def session(tiny_checkpoint: Path, config: EraseConfig) -> Session:
    return open_session(inspect_checkpoint(tiny_checkpoint), config, "cpu")


def _bytes(pictures: run_pictures.RunPictures) -> list[bytes]:
    return [picture.tobytes() for picture in pictures.before]


def test_pictures_from_before_are_drawn_once_and_again_only_if_damaged(
    session: Session, config: EraseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, config)
    drawn: list[str] = []
    draw_pictures = run_pictures.draw_pictures

    def draw(models, denoiser, embedder, prompts, seeds):  # type: ignore[no-untyped-def]
        drawn.extend(prompts)
        return draw_pictures(models, denoiser, embedder, prompts, seeds)

    monkeypatch.setattr(run_pictures, "draw_pictures", draw)
    first = run_pictures.open_run_pictures(session, folder, config)
    assert drawn == [prompt for prompt in first.prompts for _ in run_pictures.SEEDS]
    again = run_pictures.open_run_pictures(session, folder, config)
    assert len(drawn) == len(first.before)
    assert _bytes(again) == _bytes(first)

    whole = folder.before.read_bytes()
    folder.before.write_bytes(whole[: len(whole) // 2])
    mended = run_pictures.open_run_pictures(session, folder, config)
    assert len(drawn) == 2 * len(first.before)
    assert _bytes(mended) == _bytes(first)
    assert folder.before.read_bytes() == whole


def test_pictures_of_other_prompts_are_drawn_anew(session: Session, config: EraseConfig, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, config)
    first = run_pictures.open_run_pictures(session, folder, config)
    other = run_pictures.open_run_pictures(session, folder, config.with_changes(templates=("a photo of {}",)))
    assert other.prompts != first.prompts
    assert _bytes(other) != _bytes(first)
