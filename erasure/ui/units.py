"""Numbers as people read them: durations, sizes, speeds, dates."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return seconds like "45 s", "3 min 20 s", "1 h 05 min", "2 d 3 h"; never negative."""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < 10 * MINUTE and whole % MINUTE:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    if whole < HOUR - MINUTE // 2:
        return f"{round(whole / MINUTE)} min"
    minutes = round(whole / MINUTE)
    if minutes < DAY // MINUTE:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(whole / HOUR)
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Return bytes in the decimal units that file managers show: "812 kB", "3.4 MB", "5.1 GB"."""
    value, unit = float(max(0, count)), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 99.5 else f"{value:.3g} {unit}"


def speed(steps: float, seconds: float) -> str:
    """Return a speed like "4.2 updates/s", or "2.5 s per update" if slow; "" before anything was timed."""
    if steps <= 0 or seconds <= 0:
        return ""
    rate = steps / seconds
    return f"{rate:.3g} updates/s" if rate >= 1 else f"{1 / rate:.3g} s per update"


def ago(then: float, now: float) -> str:
    """Return a time like "just now", "5 min ago", "yesterday", or a local date; both in seconds since the epoch."""
    passed = now - then
    if passed < MINUTE:
        return "just now"
    if passed < HOUR:
        return f"{int(passed // MINUTE)} min ago"
    day, today = datetime.fromtimestamp(then), datetime.fromtimestamp(now)
    days = (today.date() - day.date()).days
    if days == 0 or passed < 6 * HOUR:
        return f"{int(passed // HOUR)} h ago"
    if days == 1:
        return "yesterday"
    return day.strftime("%d %b" if day.year == today.year else "%d %b %Y").lstrip("0")


def number(value: float) -> str:
    """Return a loss or a similarity with three significant digits."""
    return f"{value:.3g}"
