"""The report: a Markdown page with tables and pictures, computed from results files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erasure.bench.contact_sheet import contact_sheet
from erasure.bench.plot import scatter_svg
from erasure.bench.results import Row, current, finished, read_rows
from erasure.bench.statistics import families, metric_names
from erasure.bench.tables import main_table, paired_table, set_table
from erasure.bench.variant import DEFAULT
from erasure.bench.work import RESULTS
from erasure.errors import OutputExists, RunError
from erasure.whole_file import write_text

COMMANDS = "commands.jsonl"


def write_report(
    folders: Sequence[Path], page: Path, *, command: str, reference: str = DEFAULT, overwrite: bool = False
) -> list[Path]:
    """Write ``page``, and its pictures to ``images/`` beside it; return all files written.

    ``reference`` is the variant that the others are compared with. Where the runs' pictures are not at hand, the sheet
    of an earlier report stays.

    Raises: OutputExists if the page exists and may not be overwritten; RunError if the folders hold no results.
    """
    if page.exists() and not overwrite:
        raise OutputExists(f"{page} already exists; choose another name, or add --overwrite")
    rows = current([row for folder in folders for row in finished(read_rows(folder / RESULTS))])
    if not rows:
        raise RunError(f"there are no results in {', '.join(str(f) for f in folders)}; run the bench there first")
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    parts = [f"# {page.stem.capitalize()}", _how(rows, command)]
    written = []
    for (suite, family), own in families(rows).items():
        parts.append(f"## Suite {suite}: {family}")
        parts.append(_family_text(own))
        parts.append(main_table(own))
        name = f"{page.stem}-{suite}-{family}"
        svg = scatter_svg(own, panels(own))
        if svg:
            write_text(images / f"{name}.svg", svg)
            parts.append(f"![Erasure against preservation](images/{name}.svg)")
            written.append(images / f"{name}.svg")
        sheet = contact_sheet(folders, own)
        if sheet is not None:
            sheet.convert("RGB").save(images / f"{name}.jpg", format="JPEG", quality=88)
            written.append(images / f"{name}.jpg")
        if (images / f"{name}.jpg").exists():
            parts.append(f"![The same prompts and seeds with every method](images/{name}.jpg)")
        differences = paired_table(own, reference)
        if differences:
            parts.append(f"Difference from `{reference}` on the same target sets and seeds, mean ± standard error:")
            parts.append(differences)
        parts.append("Each target set on its own, means over seeds:")
        parts.append(set_table(own))
    commands = dict.fromkeys(line for folder in folders for line in _commands(folder))
    if commands:
        parts.append("## Commands")
        parts.append("\n".join(["```", *commands, "```"]))
    write_text(page, "\n\n".join(part.strip("\n") for part in parts) + "\n")
    return [page, *written]


def panels(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Pair each figure of erasure with its figure of preservation: ESR-k with PSR-k for every k."""
    names = metric_names(rows)
    return [(name, name.replace("ESR", "PSR")) for name in names if name.startswith("ESR-")]


def _how(rows: Sequence[Row], command: str) -> str:
    machines = list(dict.fromkeys(_machine(row) for row in rows))
    judges = list(dict.fromkeys(row["judge"] for row in rows))
    lines = [
        f"Written by `{command}` from results files, which the commands at the end produced; nothing here is typed by "
        "hand.",
        "",
        "ESR-k is the share (%) of pictures of erased concepts in which the concept is not among the classifier's "
        "first k; PSR-k is the share of pictures of the other concepts in which it is. Figures are the mean ± standard "
        "deviation of single runs (target sets × seeds). Rows of the U-Net are the latent-prompt pairs evaluated in "
        "training, with or without gradients; rows before are those for measuring the concept space, once per target "
        "set. Drawing pictures counts in neither."
        + (" Minutes are means over the runs on the machine listed first." if len(machines) > 1 else ""),
        "",
        *(f"- Machine: {text}" for text in machines),
        *(f"- Judge: {text}" for text in judges),
        f"- Seeds: {', '.join(str(seed) for seed in sorted({row['seed'] for row in rows}))}",
        f"- Checkpoints: {', '.join(sorted({'{} ({})'.format(r['checkpoint'], r['sha256'][:10]) for r in rows}))}",
    ]
    return "\n".join(lines)


def _family_text(rows: Sequence[Row]) -> str:
    pictures = rows[0]["pictures"]
    counts = ", ".join(f"{name} {count}" for name, count in pictures.items())
    space = [row["seconds_space"] for row in rows if row["rows_space"]]
    text = f"Pictures per run: {counts}."
    if space:
        text += f" Measuring the concept space of a target set took up to {max(space):.0f} s, once."
    return text


def _machine(row: Row) -> str:
    m = row["machine"]
    gpu = f", {m['gpu']}" if m["gpu"] else ""
    return (
        f"{m['processor']}, {m['cores']} cores, {m['threads']} thread(s) of torch{gpu}; {m['system']}, Python "
        f"{m['python']}, torch {m['torch']}, diffusers {m['diffusers']}"
    )


def _commands(folder: Path) -> list[str]:
    """Return the command lines that made the results in a folder."""
    return [line["command"] for line in read_rows(folder / COMMANDS) if "command" in line]
