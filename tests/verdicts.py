"""Made-up verdicts."""

from __future__ import annotations

from erasure.verdict.verdict import Finding, Role, Verdict


def a_finding(concept: str, role: Role, after: int, *, of: int = 8, as_target: int = 0) -> Finding:
    """A concept that was recognised in all of its pictures before, and in ``after`` of them after."""
    target = "" if role == "unrelated" else "church"
    return Finding(concept, role, target, of, of, after, after / of, 1 - after / of, as_target)


def a_verdict(left: int = 0, concept: str = "church", step: int | None = 60) -> Verdict:
    """A target that is ``left`` in so many of 8 pictures, with its neighbours: kept, hurt, and one drawn as it."""
    findings = (
        a_finding(concept, "target", left),
        a_finding("basilica", "name", 0, of=3),
        a_finding("castle", "near", 2, of=2),
        a_finding("tower", "near", 0, of=2),
        a_finding("chapel", "near", 1, of=2, as_target=2),
        a_finding("dog", "unrelated", 2, of=2),
    )
    return Verdict(findings, step)
