"""Makes the README's table of options from the config: ``python -m tools.options_table`` writes it into README.md."""

from __future__ import annotations

from pathlib import Path

from erasure.config.setting import GROUPS
from erasure.config.settings import settings

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- options: python -m tools.options_table -->", "<!-- end of options -->"


def options_table() -> str:
    """Return the table in Markdown, one row per setting."""
    lines = ["| flag | default | what it is |", "|---|---|---|"]
    described = settings()
    for group in GROUPS:
        lines.append(f"| **{group}** | | |")
        for name, about in described.items():
            if about.group != group:
                continue
            default = about.default
            shown = " ".join(default) if isinstance(default, tuple) else str(default)
            facts = about.help
            if about.choices:
                facts += f": {', '.join(f'`{choice}`' for choice in about.choices)}"
            if about.usual:
                facts += f" (usual: {about.usual})"
            lines.append(f"| `--{name.replace('_', '-')}` | {f'`{shown}`' if shown else ''} | {facts} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """Return the README with a new table between the two comments that mark its place."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{options_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
