"""A verdict as it is shown, of a run or of a file that was measured."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from erasure.ui.html import element
from erasure.verdict.verdict import Verdict, lines

_LEFT = 3  # concepts that are named in a sentence


def tone(verdict: Verdict | None) -> tuple[str, str]:
    """Return the class of a verdict, and its drawing. Only where everything is gone it is green."""
    if verdict is not None and verdict.gone:
        return "gone", "check"
    return ("left", "warning") if verdict is not None and verdict.left else ("open", "square")


def verdict_parts(verdict: Verdict, *, left: str) -> list[Markup]:
    """Return what was found in a sentence, which the page reads out, then in full. ``left``: its first words if
    something is left."""
    targets = _listed([finding.concept for finding in verdict.of("target")])
    if verdict.gone:
        said = f"{targets} {'is' if len(verdict.of('target')) == 1 else 'are'} gone from all pictures judged."
        head = element("p", element("strong", "Gone."), f" {said}", class_="ae-check")
    elif verdict.left:
        said = _listed([f"“{f.concept}” in {f.after} of {f.pictures} pictures" for f in verdict.left[:_LEFT]], "")
        more = f" and {len(verdict.left) - _LEFT} more" if len(verdict.left) > _LEFT else ""
        head = element("p", element("strong", left), f" Still recognised: {said}{more}.", class_="ae-check")
    else:
        said = "The model does not draw recognisably what was to be erased."
        head = element("p", element("strong", "Not known."), f" {said}", class_="ae-check")
    return [head, element("ul", *(element("li", line) for line in lines(verdict)), class_="ae-lines")]


def _listed(words: Sequence[str], quote: str = "“”") -> str:
    """Return words as in “a”, “b” and “c”."""
    quoted = [f"{quote[:1]}{word}{quote[1:]}" for word in words]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else "".join(quoted)
