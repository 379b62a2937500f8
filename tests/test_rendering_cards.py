from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from erasure.jobs.estimate import Estimate
from erasure.jobs.job import ACTIONS, JobState
from erasure.ui.cards import changed_by, estimate_html, plan_html, result_html
from erasure.ui.chart import chart_html
from erasure.ui.chips import chips_html
from erasure.ui.html import join, notes_html, problems_html
from erasure.ui.picks import picks_html
from erasure.ui.runs import runs_html
from erasure.ui.status import progress_html, status_html
from erasure.ui.units import ago, duration, size, speed
from erasure.verdict.verdict import Verdict, lines
from tests.drawn import STATES, Page, a_plan, a_result, a_row, a_snapshot, a_space, everything, pictures_of
from tests.verdicts import a_finding, a_verdict

# --- cards


def test_estimate_says_time_memory_and_basis() -> None:
    text = Page(estimate_html(Estimate(200.0, 1_900_000_000, "as measured in your last run"))).text
    assert "3 min 20 s" in text
    assert "1.9 GB" in text
    assert "as measured in your last run" in text


def test_estimate_says_how_long_it_takes_if_all_is_gone_soon_and_at_most() -> None:
    text = Page(estimate_html(Estimate(200.0, 1, "", soonest=20.0))).text
    assert "about 20 s if the first looks find all gone, at most 3 min 20 s" in text


def test_every_reason_why_it_cannot_start_is_listed() -> None:
    page = Page(estimate_html(Estimate(200.0, 1, ""), ["SDXL is loaded", "no concept", "no concept"]))
    assert page.all(role="alert")
    assert len(page.all("li")) == 2
    assert "3 min" not in page.text


def test_estimate_of_nothing_known_promises_nothing() -> None:
    assert "Ready to start" in estimate_html(Estimate(None, None, "not known before the first run"))
    assert "Ready to start" in estimate_html(None)


def test_plan_is_put_into_words() -> None:
    text = Page(plan_html(a_plan(a_space()))).text
    for part in ("church → nothing", "cathedral, basilica", "100 concepts", "32 layers, rank 8", "400 updates of 19.4"):
        assert part in text
    assert "hold it back" not in text.lower()
    assert plan_html(None) == ""
    along = a_plan(a_space(preserved=[a_row("worship", drawn_as_target=True), a_row("tower")]))
    assert "Hold it back worship: drawn as a target, so both cannot be had" in Page(plan_html(along)).text


def test_result_shows_name_size_place_and_prompt() -> None:
    page = Page(result_html(a_snapshot("done", result=a_result())))
    for part in (
        "erase-church.safetensors",
        "1.61 MB",
        "<lora:erase-church:1>",
        "changes the picture of “church” by 13% (34 of 255 levels",
    ):
        assert part in page.text
    assert page.actions() == [("copy", "<lora:erase-church:1>")]


@pytest.mark.parametrize("path", ["/home/someone/Lora/x.safetensors", "C:\\Users\\someone\\x.safetensors"])
def test_result_does_not_tell_where_things_lie(path: str) -> None:
    html = result_html(a_snapshot("done", result=a_result(path=path)))
    assert "someone" not in html
    assert "x.safetensors" in html


def _head(page: Page) -> str:
    """The drawing at the head of a card."""
    return next(a["class"] for a in page.all("svg")).removeprefix("ae-icon ae-icon-")


def test_result_is_green_only_if_all_is_gone() -> None:
    verdicts = {"check": a_verdict(), "warning": a_verdict(left=3), "square": None}
    for drawing, verdict in verdicts.items():
        page = Page(result_html(a_snapshot("done", result=a_result(), verdict=verdict)))
        assert _head(page) == drawing
        assert bool(page.all("div", **{"class": "ae-verdict ae-verdict-gone"})) == (drawing == "check")
        assert bool(page.all("div", **{"class": "ae-verdict ae-verdict-left"})) == (drawing == "warning")
        assert "passed" not in page.text


def test_result_says_what_was_found_line_by_line() -> None:
    page = Page(result_html(a_snapshot("done", result=a_result(), verdict=a_verdict())))
    assert "Gone. “church” is gone from all pictures judged." in page.text
    for line in lines(a_verdict()):
        assert line in page.texts


def test_result_of_several_targets_names_them_all() -> None:
    church, truck = a_verdict().findings[0], a_finding("truck", "target", 0)
    card = result_html(a_snapshot("done", result=a_result(), verdict=Verdict((church, truck), 60)))
    assert "“church” and “truck” are gone" in Page(card).text


def test_result_says_how_much_is_left_and_offers_to_train_on() -> None:
    left = (a_finding("church", "target", 3), a_finding("kirk", "name", 3, of=3))
    page = Page(result_html(a_snapshot("done", result=a_result(), verdict=Verdict(left, 60))))
    assert "Not gone yet. Still recognised: “kirk” in 3 of 3 pictures and “church” in 3 of 8 pictures." in page.text
    assert page.actions() == [("train-on", "run-1"), ("copy", "<lora:erase-church:1>")]


def test_result_that_is_trained_on_already_offers_no_more() -> None:
    running = Page(result_html(a_snapshot("queued", result=a_result(), verdict=a_verdict(left=3))))
    assert [action for action, _ in running.actions()] == ["copy"]
    trained = Page(result_html(a_snapshot("running", result=a_result())))
    assert "Not judged. This LoRA is from before; the run is training on." in trained.text


def test_result_of_a_target_that_the_model_does_not_draw_claims_nothing() -> None:
    unknown = replace(a_verdict().findings[0], before=0)
    page = Page(result_html(a_snapshot("done", result=a_result(), verdict=Verdict((unknown,), 60))))
    assert "Not known." in page.text
    assert (_head(page), [action for action, _ in page.actions()]) == ("square", ["copy"])


def test_result_of_a_run_that_nothing_judged_says_so() -> None:
    done = Page(result_html(a_snapshot("done", result=a_result()))).text
    stopped = Page(result_html(a_snapshot("stopped", result=a_result(change=None)))).text
    assert "Not judged. Whether the concept is gone is for you to see" in done
    assert "Not judged. The run was stopped before the end" in stopped
    assert "changes the picture" not in stopped


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
    page = Page(runs_html(runs, "run-2", {"run-1": "/preview/100.png"}, now=1_000_300.0))
    assert "out of memory" in page.text
    assert "5 min ago" in page.text
    assert [image["src"] for image in page.all("img")] == ["/preview/100.png"]
    assert [b["data-ae-value"] for b in page.all("button", aria_pressed="true")] == ["run-2"]


@pytest.mark.parametrize(
    ("state", "step", "said"),
    [
        ("queued", 0, "0 updates of at most 400"),
        ("running", 120, "update 120 of at most 400"),
        ("done", 5, "5 updates of at most 400"),
        ("done", 400, "400 updates"),
    ],
)
def test_a_run_says_how_far_it_came_in_the_words_of_its_card(state: JobState, step: int, said: str) -> None:
    assert f" · {said}" in Page(runs_html([a_snapshot(state, step=step)])).text
    if state == "done":
        assert f"Training {said} in" in Page(result_html(a_snapshot(state, step=step, result=a_result()))).text


@pytest.mark.parametrize(
    "html",
    [status_html(None), picks_html(None), chips_html(None), result_html(None), runs_html([]), chart_html({})],
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
    html = join(everything("plain").values()) + chart_html(a_snapshot().series)
    html += join(status_html(a_snapshot(s)) + progress_html(a_snapshot(s)) for s in STATES)
    html += chart_html({f"recognised {i}": [(1, 0.5)] for i in range(4)})
    names = Verdict((*a_verdict().findings, a_finding("cathedral", "name", 1)))
    html += chips_html(a_space(preserved=[a_row(word) for word in ("castle", "tower")]), verdict=names)
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

    names = "html units status curves chart picks chips cards runs"
    code = f"import sys; [__import__('erasure.ui.' + n) for n in {names!r}.split()]; "
    code += "print(sorted({'torch', 'gradio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_small_change_of_a_picture_is_not_told_as_none() -> None:
    assert changed_by(1.02) == "0.4% (1.0 of 255 levels on average)"
    assert changed_by(51) == "20% (51 of 255 levels on average)"
