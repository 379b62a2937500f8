from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from erasure.config import EraseConfig
from erasure.jobs.estimate import Estimate
from erasure.jobs.job import ACTIONS, JobState, Result, Snapshot
from erasure.ui.cards import estimate_html, plan_html, result_html
from erasure.ui.chart import chart_html, smooth
from erasure.ui.chips import SHOWN, chips_html
from erasure.ui.html import empty_html, notes_html, picture, preview_url, problems_html
from erasure.ui.picks import picks_html
from erasure.ui.pictures import grid_html, pair_html
from erasure.ui.runs import runs_html
from erasure.ui.status import progress_html, status_html
from erasure.ui.units import ago, duration, size, speed

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
        self.feed(html)
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
        message="update 120 of 400",
        problem="",
        version=3,
        checkpoint="emoji-sd.safetensors",
        config=EraseConfig(erase=("church",)).to_dict(),
        created=1_000_000.0,
        step=120,
        steps=400,
        seconds=60.0,
        seconds_left=140.0,
        rows=2400,
        losses=tuple((n, 0.5 / n, 0.0 if n == 1 else 0.001 * n) for n in range(1, 121)),
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


def a_row(text: str, similarity: float = 0.8, difference: float | None = None) -> dict[str, Any]:
    return {"text": text, "similarity": similarity, "difference": difference}


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


def a_plan(space: dict[str, Any]) -> dict[str, Any]:
    cost = {"seconds_per_update": 0.5, "peak_bytes": 2_000_000_000, "peak_of": "process"}
    return {
        "layers": 32,
        "parameters": 800_000,
        "rank": 8,
        "updates": 400,
        "rows_per_update": 19.4,
        "rows_setup": 300,
        "space": space,
        "cost": cost,
    }


def everything(word: str) -> dict[str, str]:
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
    failed = replace(snapshot, state="failed")
    return {
        "status": status_html(snapshot),
        "progress": progress_html(snapshot),
        "picks": picks_html(snapshot),
        "chips": chips_html(space, [], [], stale=True),
        "chips moved": chips_html(space, [word, f"{word}2"], [f"{word}3"]),
        "estimate": estimate_html(Estimate(1.0, 1, word)),
        "problems": estimate_html(None, [word, word + "2"]),
        "plan": plan_html(a_plan(space)),
        "result": result_html(snapshot, preview_url(word, 100)),
        "runs": runs_html([snapshot, failed], word, {word: preview_url(word, 100)}, 2e6),
        "empty": empty_html(word, word),
        "notes": notes_html([word], word),
        "picture": picture(f"/{word}", word),
    }


def pictures_of(word: str, folder: Path) -> str:
    """A grid with a selector of steps, and a pair, with ``word`` as the concept."""
    image, path = Image.new("RGB", (8, 8)), folder / "grid.png"
    image.save(path)
    snapshot = a_snapshot(config={"erase": [word]}, previews=(0, 100))
    return grid_html(snapshot, path, 100) + pair_html(image, image, word, word)


# --- text of strangers


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_text_stays_text(word: str) -> None:
    plain = {name: [tag for tag, _ in Page(html).elements] for name, html in everything("plain").items()}
    for name, html in everything(word).items():
        page = Page(html)
        assert [tag for tag, _ in page.elements] == plain[name], name
        assert not [key for _, a in page.elements for key in a if key.startswith("on")], name
        if name not in ("progress", "picture"):
            assert re.sub(r"\s+", " ", word) in page.text, name


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_concepts_stay_text_beside_pictures(word: str, tmp_path: Path) -> None:
    page, plain = Page(pictures_of(word, tmp_path)), Page(pictures_of("plain", tmp_path))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert not [key for _, a in page.elements for key in a if key.startswith("on")]
    assert re.sub(r"\s+", " ", word) in page.text


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_text_comes_back_whole_as_a_buttons_value(word: str) -> None:
    space = a_space(preserved=[a_row(word)])
    assert ("chip-erase", word) in Page(chips_html(space)).actions()
    assert ("select", word) in Page(runs_html([a_snapshot(id=word)])).actions()


def test_nothing_holds_scripts_or_handlers() -> None:
    for name, html in everything("plain").items():
        assert "<script" not in html, name
        assert "javascript:" not in html, name
        assert not re.search(r"\son\w+=", html), name


@pytest.mark.parametrize("source", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", ""])
def test_picture_of_a_strange_source_is_left_out(source: str) -> None:
    assert picture(source, "x") == ""


def test_preview_address_keeps_a_strange_id_in_its_place() -> None:
    assert preview_url("../a b", 7) == "/adversarial-erase/v1/jobs/..%2Fa%20b/preview/7.png"
    assert preview_url("x", 7, "/proxy").startswith("/proxy/adversarial-erase/v1/")


# --- state and progress


def test_every_state_has_a_word_and_a_drawing_of_its_own_kind() -> None:
    pages = {state: Page(status_html(a_snapshot(state, message=""))) for state in STATES}
    assert len({page.text for page in pages.values()}) == len(STATES)
    assert all(page.all("svg", aria_hidden="true") for page in pages.values())


def test_progress_tells_assistive_technology_how_far_it_is() -> None:
    (bar,) = Page(progress_html(a_snapshot())).all(role="progressbar")
    assert (bar["aria-valuemin"], bar["aria-valuenow"], bar["aria-valuemax"]) == ("0", "120", "400")
    assert "2 min 20 s left" in bar["aria-valuetext"]


def test_progress_shows_speed_and_time_left() -> None:
    text = Page(progress_html(a_snapshot())).text
    assert "30%" in text
    assert "2 updates/s" in text
    assert "about 2 min 20 s left" in text


def test_progress_of_a_preparing_job_claims_no_value() -> None:
    (bar,) = Page(progress_html(a_snapshot("preparing", step=0))).all(role="progressbar")
    assert "aria-valuenow" not in bar


@pytest.mark.parametrize("step", [-1, 0, 400, 900])
def test_bar_never_leaves_its_frame(step: int) -> None:
    (width,) = re.findall(r"width:([\d.]+)%", progress_html(a_snapshot(step=step)))
    assert 0 <= float(width) <= 100


# --- losses


def points(html: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline[^>]* points="([^"]*)"', html)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]  # type: ignore[misc]


def test_chart_draws_both_losses_on_a_log_scale() -> None:
    erase, keep = points(chart_html([(n, 10.0**-n, 10.0 ** (n - 5)) for n in range(1, 5)]))
    assert len(erase) == len(keep) == 4
    assert erase[0][1] < erase[-1][1]  # downwards
    assert keep[0][1] > keep[-1][1]
    heights = [y for _, y in erase]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], rel=0.5)


def test_chart_keeps_zero_and_broken_losses_out_of_the_drawing() -> None:
    html = chart_html([(1, 0.5, 0.0), (2, 0.4, 0.1), (3, float("nan"), 0.1), (4, 0.3, 0.2), (5, 1.0, float("inf"))])
    erase, keep = points(html)
    assert (len(erase), len(keep)) == (3, 2)
    assert "nan" not in html
    assert "inf" not in html


def test_chart_stays_in_its_frame_over_many_decades() -> None:
    for line in points(chart_html([(n, 10.0 ** (-3 * n), 1e-30) for n in range(1, 9)], 20)):
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in line)


def test_chart_of_a_constant_loss_is_drawn() -> None:
    erase, _ = points(chart_html([(n, 0.5, 0.5) for n in range(1, 5)]))
    assert {y for _, y in erase} == {500.0}


def test_chart_says_the_same_in_words_and_in_a_table() -> None:
    page = Page(chart_html(a_snapshot().losses, 400))
    (plot,) = page.all("div", role="img")
    assert "from 0.5 to 0.00417" in plot["aria-label"]
    assert len(page.all("th", scope="row")) == 12
    assert {"Update", "Erasing", "Preserving", "120", "0.00417", "0.12"} <= set(page.texts)


def test_chart_without_points_is_an_empty_place() -> None:
    assert "will be drawn here" in Page(chart_html([])).text
    assert "will be drawn here" in Page(chart_html([(1, 0.5, 0.0)])).text


def test_smoothing_follows_a_line_and_calms_noise() -> None:
    steady = [(n, 10.0**-n) for n in range(9)]
    assert smooth(steady)[4][1] == pytest.approx(1e-4)
    noisy = smooth([(n, 1.0 if n % 2 else 0.01) for n in range(40)])
    assert all(0.05 < loss < 0.2 for _, loss in noisy[5:-5])


# --- picks


def test_picks_show_shares_and_mark_the_current_one() -> None:
    page = Page(picks_html(a_snapshot()))
    assert "50%" in page.text
    (current,) = page.all("li", aria_current="true")
    assert "ae-pick-now" in current["class"]
    assert page.text.count("now") == 1


def test_current_pick_is_in_view_even_if_it_is_rare() -> None:
    picks = tuple((f"word {i}", 100 - i) for i in range(40))
    html = picks_html(a_snapshot(picks=picks, current_pick="word 35"))
    assert html.index("word 35") < html.index("<details")
    assert "and 29 more" in html


# --- chips


def test_nearest_chips_are_shown_and_the_rest_folded_away() -> None:
    html = chips_html(a_space())
    assert f"and {100 - SHOWN} more" in html
    before, _, after = html.partition("<details")
    assert f">word {SHOWN - 1}<" in before
    assert f">word {SHOWN}<" in after


def test_measured_synonyms_are_set_apart_and_can_be_protected() -> None:
    page = Page(chips_html(a_space(3)))
    assert ("chip-protect", "cathedral") in page.actions()
    assert ("chip-erase", "word 0") in page.actions()
    assert page.text.index("Will go too") < page.text.index("cathedral") < page.text.index("Protected")


def test_what_the_user_moved_is_on_its_new_side_only() -> None:
    actions = Page(chips_html(a_space(3), synonym=["word 1", "kirk"], preserve=["cathedral", "dog"])).actions()
    assert sorted(actions) == [
        ("chip-auto", "cathedral"),
        ("chip-auto", "dog"),
        ("chip-auto", "kirk"),
        ("chip-auto", "word 1"),
        ("chip-erase", "word 0"),
        ("chip-erase", "word 2"),
        ("chip-protect", "basilica"),
    ]


def test_each_chip_says_what_a_click_does() -> None:
    for chip in Page(chips_html(a_space(3), ["kirk"], ["dog"])).all("button"):
        assert "click to" in chip["title"]
        assert chip["aria-label"].startswith(chip["data-ae-value"])


def test_synonyms_that_stay_are_not_announced_as_going() -> None:
    text = Page(chips_html(a_space(3), erase_synonyms=False)).text
    assert "Will go too" not in text
    assert "Neither erased nor protected" in text


def test_chips_of_old_settings_say_so() -> None:
    assert "have changed" in chips_html(a_space(3), stale=True)
    assert "have changed" not in chips_html(a_space(3))


# --- cards


def test_estimate_says_time_memory_and_basis() -> None:
    text = Page(estimate_html(Estimate(200.0, 1_900_000_000, "as measured in your last run"))).text
    assert "3 min 20 s" in text
    assert "1.9 GB" in text
    assert "as measured in your last run" in text


def test_every_reason_why_it_cannot_start_is_listed() -> None:
    page = Page(estimate_html(Estimate(200.0, 1, ""), ["SDXL is loaded", "no concept", "no concept"]))
    assert page.all(role="alert")
    assert len(page.all("li")) == 2
    assert "3 min" not in page.text


def test_estimate_of_nothing_known_promises_nothing() -> None:
    assert "Ready to start" in estimate_html(Estimate(None, None, "not known before the first run"))
    assert "Ready to start" in estimate_html(None)


def test_plan_is_told_in_words() -> None:
    text = Page(plan_html(a_plan(a_space()))).text
    for part in ("church → nothing", "cathedral, basilica", "100 concepts", "32 layers, rank 8", "3 min 20 s"):
        assert part in text
    assert plan_html(None) == ""


def test_result_shows_name_size_place_and_prompt() -> None:
    page = Page(result_html(a_snapshot("done", result=a_result()), preview_url("run-1", 100)))
    for part in ("erase-church.safetensors", "1.61 MB", "<lora:erase-church:1>", "Self-check passed", "13%"):
        assert part in page.text
    assert page.actions() == [("copy", "<lora:erase-church:1>")]
    assert page.all("img")[0]["alt"].startswith("Before (left) and after (right)")


@pytest.mark.parametrize("path", ["/home/someone/Lora/x.safetensors", "C:\\Users\\someone\\x.safetensors"])
def test_result_does_not_tell_where_things_lie(path: str) -> None:
    html = result_html(a_snapshot("done", result=a_result(path=path)))
    assert "someone" not in html
    assert "x.safetensors" in html


def test_result_of_a_stopped_run_claims_no_self_check() -> None:
    text = Page(result_html(a_snapshot("stopped", result=a_result(change=None)))).text
    assert "passed" not in text
    assert "stopped before the end" in text


# --- runs


@pytest.mark.parametrize("state", STATES)
def test_runs_offer_what_the_state_allows(state: JobState) -> None:
    actions = [action for action, _ in Page(runs_html([a_snapshot(state)])).actions()]
    assert actions == ["select", *ACTIONS[state], "settings"]


def test_what_loses_something_asks_first() -> None:
    for state in STATES:
        for button in Page(runs_html([a_snapshot(state)])).all("button"):
            assert ("data-ae-confirm" in button) == (button["data-ae-action"] in ("discard", "delete"))


def test_runs_show_problem_picture_and_selection() -> None:
    runs = [a_snapshot("failed", problem="out of memory"), a_snapshot(id="run-2")]
    page = Page(runs_html(runs, "run-2", {"run-1": preview_url("run-1", 100)}, now=1_000_300.0))
    assert "out of memory" in page.text
    assert "5 min ago" in page.text
    assert [image["src"] for image in page.all("img")] == ["/adversarial-erase/v1/jobs/run-1/preview/100.png"]
    assert [b["data-ae-value"] for b in page.all("button", aria_pressed="true")] == ["run-2"]


@pytest.mark.parametrize(
    "html",
    [status_html(None), picks_html(None), chips_html(None), result_html(None), runs_html([]), chart_html([])],
)
def test_empty_places_say_what_will_be_there(html: str) -> None:
    assert Page(html).text.endswith(".")
    assert "ae-empty" in html


def test_no_problems_and_no_notes_take_no_room() -> None:
    assert problems_html([]) == notes_html(["", " "]) == ""


# --- words for numbers


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (1500, "25 min"), (3590, "1 h 00 min"),
     (7500, "2 h 05 min"), (200_000, "2 d 8 h")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_612_345, "1.61 MB"), (999_950, "1 MB"), (5.1e9, "5.1 GB")],
)
def test_sizes(count: float, words: str) -> None:
    assert size(count) == words


def test_speeds() -> None:
    assert speed(10, 5) == "2 updates/s"
    assert speed(10, 25) == "2.5 s per update"
    assert speed(0, 5) == speed(5, 0) == ""


def test_ages() -> None:
    assert ago(1000, 1030) == "just now"
    assert ago(1000, 1000 + 3 * 60) == "3 min ago"
    assert ago(0, 400 * 86400).endswith("1970")


# --- the style sheet


def test_style_has_no_class_that_nothing_uses(tmp_path: Path) -> None:
    style = (Path(__file__).parents[1] / "style.css").read_text(encoding="utf-8")
    styled = set(re.findall(r"\.(ae-[a-z-]+)", style))
    html = "".join(everything("plain").values()) + chart_html(a_snapshot().losses)
    html += "".join(status_html(a_snapshot(s)) + progress_html(a_snapshot(s)) for s in STATES)
    html += chips_html(a_space()) + runs_html([a_snapshot()]) + pictures_of("plain", tmp_path)
    drawn = {name for value in re.findall(r'class="([^"]*)"', html) for name in value.split()}
    assert all(name == "ae" or name.startswith("ae-") for name in drawn)
    root = Path(__file__).parents[1]
    sources = [*(root / "erasure" / "ui").glob("*.py"), *(root / "javascript").glob("*.js")]
    named = set(re.findall(r"ae-[a-z-]+", "".join(path.read_text(encoding="utf-8") for path in sources)))
    assert styled <= drawn | named


def test_rendering_needs_no_torch_and_no_gradio() -> None:
    import subprocess
    import sys

    names = "html units status chart picks chips cards runs"
    code = f"import sys; [__import__('erasure.ui.' + n) for n in {names!r}.split()]; "
    code += "print(sorted({'torch', 'gradio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
