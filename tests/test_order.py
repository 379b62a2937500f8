"""What a tab and a request ask for is read by the same rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from erasure.errors import ConfigError
from erasure.host.base import HostCheckpoint
from erasure.host.data_folder import DataFolder
from erasure.jobs.order import Wanted, find_checkpoint, read_order, start_problems
from tests.fake_host import FakeHost


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    return FakeHost(tmp_path, tiny_checkpoint)


def _offer(host: FakeHost, monkeypatch: pytest.MonkeyPatch, **titled: str) -> None:
    offered = [HostCheckpoint(title, Path("/models") / file) for title, file in titled.items()]
    monkeypatch.setattr(host, "checkpoints", lambda: offered)


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        ("a.safetensors [0123abcd]", "one/a.safetensors"),
        ("a.safetensors [4567abcd]", "two/a.safetensors"),
        ("b.safetensors", "b.safetensors"),
        ("b.safetensors [89ababcd]", "b.safetensors"),
        ("b", "b.safetensors"),
    ],
)
def test_an_exact_title_counts_before_one_that_is_like_it(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, wanted: str, file: str
) -> None:
    titles = {
        "a.safetensors [0123abcd]": "one/a.safetensors",
        "a.safetensors [4567abcd]": "two/a.safetensors",
        "b.safetensors": "b.safetensors",
    }
    _offer(host, monkeypatch, **titles)
    found, problems = find_checkpoint(host, wanted)
    assert problems == []
    assert found is not None
    assert found.path == Path("/models") / file


def test_a_name_that_several_checkpoints_have_is_refused_with_their_titles(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(host, monkeypatch, **{"one/a.safetensors": "one/a.safetensors", "two/a.safetensors": "two/a.safetensors"})
    found, (problem,) = find_checkpoint(host, "a")
    assert found is None
    assert "'one/a.safetensors', 'two/a.safetensors'" in problem


def test_without_a_title_it_is_the_checkpoint_that_is_loaded(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_order(host, Wanted(settings={"erase": ["church"]})).request().checkpoint == host.checkpoint
    monkeypatch.setattr(host, "current_checkpoint", lambda: None)
    order = read_order(host, Wanted(settings={"erase": ["church"]}))
    assert order.problems == ("no checkpoint is loaded: choose an SD 1.x, SD 2.x or SDXL checkpoint",)
    assert start_problems(host, order) == list(order.problems)


def test_settings_count_more_than_the_preset_at_its_quality(host: FakeHost) -> None:
    wanted = Wanted(preset="object", quality="quick", settings={"erase": ["church"], "neighbours": 30})
    config = read_order(host, wanted).request().config
    assert (config.neighbours, config.adversary, config.steps_per_concept) == (30, "uniform", 4)
    assert config.asked is not None
    assert "layers" not in config.asked


def test_thorough_is_twice_what_the_method_needs_that_is_asked_for(host: FakeHost) -> None:
    wanted = Wanted(preset="object", quality="thorough", settings={"erase": ["a", "b"], "method": "esd-x"})
    assert read_order(host, wanted).request().config.updates == 400


def test_all_problems_of_an_order_are_told_once(host: FakeHost) -> None:
    wanted = Wanted("gone", "a/b", "objekt", "best", {"rank": -1, "vocabulary": "file", "vocabulary_file": "no.txt"})
    order = read_order(host, wanted)
    told = start_problems(host, order)
    for word in ("'gone'", "'objekt'", "'best'", "rank", "'no.txt'", "name at least one concept", "'a/b'"):
        assert len([problem for problem in told if word in problem]) == 1, word
    assert len(told) == len(set(told)) == 7
    with pytest.raises(ConfigError, match="gone"):
        order.request()


def test_a_vocabulary_is_found_by_its_name_in_the_data_folder(host: FakeHost) -> None:
    folder = DataFolder(host.data_folder()).vocabularies
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("cat\n")
    settings = {"erase": ["church"], "vocabulary": "file", "vocabulary_file": "mine.txt"}
    assert read_order(host, Wanted(settings=settings)).request().config.vocabulary_file == str(folder / "mine.txt")
