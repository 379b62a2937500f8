"""HTML read back, and made-up snapshots, spaces and plans to draw."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

from markupsafe import Markup
from PIL import Image

from erasure.concepts.space import ConceptSpace
from erasure.config.values import erase_config
from erasure.jobs.baking import BakeSnapshot, BakeState
from erasure.jobs.combining import CombineSnapshot, CombineState
from erasure.jobs.estimate import Estimate
from erasure.jobs.job import JobState, Result, Snapshot
from erasure.jobs.measuring import MeasureSnapshot, MeasureState
from erasure.jobs.searching import SearchSnapshot, SearchState
from erasure.model.stage import Stage
from erasure.run.folder import RunFolder
from erasure.run.picture_folder import Picture, Subject, write_pictures
from erasure.run.preview import RunPreview
from erasure.training.plan import Plan
from erasure.ui.bake import bake_html
from erasure.ui.cards import estimate_html, plan_html, result_html
from erasure.ui.chart import chart_html
from erasure.ui.chips import chips_html
from erasure.ui.combine import combine_html
from erasure.ui.html import empty_html, heading_html, notes_html, picture
from erasure.ui.measure import measure_html
from erasure.ui.picks import picks_html
from erasure.ui.picture_html import grid_html, pair_html
from erasure.ui.runs import runs_html
from erasure.ui.search import search_html
from erasure.ui.status import progress_html, status_html
from erasure.verdict.verdict import Verdict
from tests.verdicts import a_finding, a_verdict

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '" onmouseover="x',
    "' onfocus='x",
    "</style><script>x</script>",
    "&lt;b&gt;",
)
STATES: tuple[JobState, ...] = get_args(JobState)
VOID = {"img", "br", "path", "circle", "rect", "polyline"}


class Page(HTMLParser):
    """All elements of some HTML with their attributes and text; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(str(html))
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attributes given twice: {names}"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts)).strip()

    def all(self, tag: str = "", **attributes: str) -> list[dict[str, str]]:
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        return [a for t, a in self.elements if t == (tag or t) and all(a.get(k) == v for k, v in wanted.items())]

    def actions(self) -> list[tuple[str, str]]:
        return [(a["data-ae-action"], a["data-ae-value"]) for a in self.all("button")]


def a_snapshot(state: JobState = "running", **changes: Any) -> Snapshot:
    snapshot = Snapshot(
        id="run-1",
        name="erase-church",
        state=state,
        message="update 120 of at most 400",
        problem="",
        version=3,
        checkpoint="emoji-sd.safetensors",
        config=erase_config(erase=["church"]).to_dict(),
        asked={"erase": ["church"]},
        created=1_000_000.0,
        step=120,
        steps=400,
        seconds=60.0,
        seconds_left=140.0,
        rows=2400,
        series={
            "erase": tuple((n, 0.5 / n) for n in range(1, 121)),
            "preserve": tuple((n, 0.0 if n == 1 else 0.001 * n) for n in range(1, 121)),
        },
        picks=(("bell", 60), ("castle", 40), ("tower", 20)),
        current_pick="castle",
        learning_rate=5e-4,
        previews=(0, 100),
        plan=None,
        notes=(),
        result=None,
    )
    return replace(snapshot, **changes)


def a_result(**changes: Any) -> Result:
    return replace(Result("erase-church", "/home/someone/Lora/erase-church.safetensors", 1_612_345, 34.2), **changes)


def a_row(
    text: str, similarity: float = 0.8, difference: float | None = None, *, drawn_as_target: bool = False
) -> dict[str, Any]:
    row = {"text": text, "similarity": similarity, "difference": difference}
    return {**row, "drawn_as_target": True} if drawn_as_target else row


def a_space(words: int = 100, **changes: Any) -> dict[str, Any]:
    target = {
        "target": "church",
        "anchor": "",
        "preserved": [a_row(f"word {i}", difference=1.0 + i) for i in range(words)],
        "synonyms": [a_row("cathedral", 0.93, 0.04), a_row("basilica", 0.9, 0.11)],
        "named": ["churches"],
        "told": [],
    }
    return {"targets": [{**target, **changes}], "vocabulary_size": 3013, "notes": []}


def a_plan(space: dict[str, Any]) -> Plan:
    return Plan(
        layers=32,
        parameters=800_000,
        rank=8,
        updates=400,
        rows_per_update=19.4,
        rows_setup=300,
        space=ConceptSpace.from_dict(space),
    )


def a_measurement(state: MeasureState = "done", word: str = "church") -> MeasureSnapshot:
    """``word`` is wherever a stranger's text can be."""
    return MeasureSnapshot(
        state, word, word, (word,), 1.0, word, 7, 0.5, word, (word,), a_verdict(3, word) if state == "done" else None
    )


def a_bake(state: BakeState = "done", word: str = "church") -> BakeSnapshot:
    """``word`` is wherever a stranger's text can be."""
    return BakeSnapshot(state, word, word, ((word, 0.5),), word, 7, 0.5, word, (word,), (word,), 32, 0.01)


def a_combination(state: CombineState = "done", word: str = "church") -> CombineSnapshot:
    """``word`` is wherever a stranger's text can be."""
    return CombineSnapshot(state, word, ((word, 0.5),), word, 7, 0.5, word, (word,), (word,), (word,), 8, 0.1, 0.01)


def a_search(state: SearchState = "searching", word: str = "church", **changes: Any) -> SearchSnapshot:
    """``word`` is wherever a stranger's text can be."""
    stage = Stage(f"compares words with {word}", 40, 100)
    return replace(SearchSnapshot(state, (word,), str(stage), 7, stage, word), **changes)


def _along(word: str) -> Verdict:
    return Verdict((a_finding(word, "near", 1, as_target=8),), 60)


def everything(word: str) -> dict[str, Markup]:
    """Each function's HTML with ``word`` wherever a stranger's text can be."""
    result = a_result(name=word, path=f"/folder/{word}")
    snapshot = a_snapshot(
        id=word,
        name=word,
        message=word,
        problem=word,
        checkpoint=word,
        config={"erase": [word]},
        picks=((word, 3), ("x", 1)),
        current_pick=word,
        notes=(word,),
        result=result,
    )
    row = a_row(word, 0.9, 0.1)
    space = a_space(target=word, anchor=word, preserved=[row], synonyms=[row], named=[word], told=[word])
    space["notes"] = [word]
    judged = {left: a_snapshot("done", id=word, result=result, verdict=a_verdict(left, word)) for left in (0, 3)}
    failed = replace(snapshot, state="failed")
    return {
        "status": status_html(snapshot),
        "progress": progress_html(snapshot),
        "picks": picks_html(snapshot),
        "chips": chips_html(space, [], [], stale=True),
        "chips drawn as": chips_html(a_space(target=word, preserved=[a_row(word, drawn_as_target=True)])),
        "chips judged": chips_html(space, verdict=_along(word)),
        "chips moved": chips_html(space, [word, f"{word}2"], [f"{word}3"]),
        "estimate": estimate_html(Estimate(1.0, 1, word)),
        "problems": estimate_html(None, [word, word + "2"]),
        "plan": plan_html(a_plan(space)),
        "result": result_html(snapshot),
        "result gone": result_html(judged[0]),
        "result left": result_html(judged[3]),
        "runs": runs_html([snapshot, failed], word, {word: f"/preview/{word}"}, 2e6),
        "empty": empty_html(word, word),
        "chart": chart_html({word: [(1, 0.5), (2, 0.25)]}),
        "chart of looks": chart_html({f"recognised {word}": [(1, 0.5), (2, 0.25)]}),
        "notes": notes_html([word], word),
        **{f"measure {state}": measure_html(a_measurement(state, word)) for state in get_args(MeasureState)},
        **{f"bake {state}": bake_html(a_bake(state, word)) for state in get_args(BakeState)},
        **{f"combine {state}": combine_html(a_combination(state, word)) for state in get_args(CombineState)},
        **{f"search {state}": search_html(a_search(state, word)) for state in get_args(SearchState) if state != "done"},
        "progress of a stage": progress_html(replace(snapshot, state="preparing", stage=Stage(word, 1, 2))),
        "heading": heading_html(word),
        "picture": picture(f"/{word}", word),
    }


def a_preview(folder: Path, step: int, *subjects: Subject, side: int = 8) -> RunPreview:
    """In a run folder: blue pictures before and red ones after, with two seeds each."""
    run = RunFolder(folder)
    for place, after, colour in ((run.before, None, "blue"), (run.pictures(step), step, "red")):
        image = Image.new("RGB", (side, side), colour)
        write_pictures(place, [Picture(subject, seed, after, image) for subject in subjects for seed in (1, 2)])
    return RunPreview(run, step)


def pictures_of(word: str, folder: Path) -> Markup:
    """A grid with a selector of steps, one of an older version, and a pair, with ``word`` as the concept."""
    image, preview = Image.new("RGB", (8, 8)), a_preview(folder, 100, Subject(word, word, "erased"))
    snapshot = a_snapshot(config={"erase": [word]}, previews=(0, 100))
    old = RunPreview(preview.folder, 0)
    old.folder.sheet(0).parent.mkdir(exist_ok=True)
    image.save(old.folder.sheet(0))
    return grid_html(snapshot, preview) + grid_html(snapshot, old) + pair_html(image, image, word, word)
