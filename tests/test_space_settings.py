"""Whatever asks whether a concept space is still the right one looks at the settings that building it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from erasure.bench.spaces import space_key
from erasure.concepts.build import build_concept_space
from erasure.config.settings import EraseConfig, settings, space_settings
from erasure.config.values import erase_config
from erasure.jobs.concept_cache import cache_key
from erasure.jobs.order import Wanted, read_order
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.model import open_model
from erasure.ui import form_actions
from tests.drawn import Page, a_space
from tests.fake_host import FakeHost

BASE: dict[str, Any] = {"erase": ["church"], "vocabulary": "file", "vocabulary_file": "words.txt", "neighbours": 4}
# Another value of every setting, as far as BASE allows.
OTHER: dict[str, Any] = {
    "erase": ["truck"], "anchor": ["tower"], "synonym": ["kirk"], "preserve": ["bell"], "templates": ["a {}"],
    "vocabulary": "styles", "vocabulary_file": "more.txt", "neighbours": 5, "similarity": "l2",
    "synonym_threshold": 0.2, "synonym_states": 2, "erase_synonyms": False, "adversary": "pgd", "search_steps": 1,
    "search_rate": 0.1, "temperature": 1.0, "hard": False, "robust": "words",
    "preserve_weight": 2.0, "rehearsed": 1,
    "guidance": 2.0, "guidance_from": "null", "loss_space": "x0", "latents": "fresh", "sampling_steps": 5,
    "sampling_guidance": 5.0, "reuse": 3, "on_policy": False, "preserve_on_policy": False, "early": 1.0,
    "resolution": 128, "method": "fixed", "steps": 7,
    "steps_per_concept": 7, "batch": 2, "learning_rate": 0.01, "pace": 0.01, "schedule": "linear", "warmup": 1,
    "clip": 0.5,
    "precision": "bf16", "gradient_checkpointing": True, "seed": 1, "layers": "full", "rank": 4, "alpha": 4.0,
    "start": "zero", "null_space": 0.5, "save_precision": "fp32", "look_every": 5,
    "judged_words": 5, "preview_every": 10, "save_every": 10,
}  # fmt: skip
DECIDING = [name for name, about in settings().items() if about.decides_space]


class Recorded:
    """A config that remembers which of its settings were read."""

    def __init__(self, config: EraseConfig):
        self.config = config
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read |= {"erase", "anchor"} if name == "anchors" else {name}
        return getattr(self.config, name)


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    folder = tmp_path / "data" / "vocabularies"
    folder.mkdir(parents=True)
    for name in ("words.txt", "more.txt"):
        (folder / name).write_text("truck\nbus\nhouse\ntower\nbell\ndog\n" + name, encoding="utf-8")
    return FakeHost(tmp_path, tiny_checkpoint)


def _asked(host: FakeHost, **changes: Any) -> dict[str, Any]:
    asked = {**BASE, **changes}
    if asked["vocabulary"] != "file":
        return {name: value for name, value in asked.items() if name != "vocabulary_file"}
    return {**asked, "vocabulary_file": str(host.data_folder() / "vocabularies" / asked["vocabulary_file"])}


def test_building_a_space_reads_the_settings_that_decide_it_and_no_others(host: FakeHost) -> None:
    config = erase_config(**_asked(host, synonym=["kirk"], preserve=["bell"], anchor=["tower"]))
    recorded: Any = Recorded(config)
    info = inspect_checkpoint(host.checkpoint)
    model = open_model(info, precision=recorded.precision, resolution=recorded.resolution, device="cpu")
    build_concept_space(model, recorded)
    assert recorded.read == set(DECIDING)


def test_with_a_defence_whether_synonyms_go_decides_what_goes_along(host: FakeHost) -> None:
    one, other = (erase_config(**_asked(host, robust="words", erase_synonyms=erased)) for erased in (True, False))
    assert space_settings(one.to_dict()) != space_settings(other.to_dict())


def test_there_is_another_value_of_every_setting() -> None:
    assert list(OTHER) == list(settings())


@pytest.mark.parametrize("name", OTHER)
def test_exactly_the_settings_that_decide_a_space_make_a_kept_one_another(host: FakeHost, name: str) -> None:
    one, other = erase_config(**_asked(host)), erase_config(**_asked(host, **{name: OTHER[name]}))
    # With another method, no synonyms are measured.
    decides = name in DECIDING or name == "method"
    assert (space_settings(one.to_dict()) != space_settings(other.to_dict())) == decides
    assert (cache_key(host.checkpoint, one) != cache_key(host.checkpoint, other)) == decides
    # A bench measures every space with one seed.
    assert (space_key(one, "sha256") != space_key(other, "sha256")) == (decides and name != "seed")


@pytest.mark.parametrize("name", OTHER)
def test_chips_are_stale_once_anything_changed_that_decides_them(host: FakeHost, name: str) -> None:
    found = form_actions.remember(a_space(), read_order(host, Wanted(settings=BASE)))
    changed = read_order(host, Wanted(settings={**BASE, name: OTHER[name]}))
    stale = "changed since" in Page(form_actions.chips(found, changed)).text
    # The two lists are what chips are moved between.
    assert stale == ((name in DECIDING or name == "method") and name not in ("synonym", "preserve"))
