"""summary.md: a document as GitHub's Markdown, to paste into a pull request.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.document import Chart, Document, Table


def markdown(document: Document, charts: Sequence[Chart], detail: Sequence[Table]) -> str:
    """With the charts as links to their PNG files."""
    return "\n".join(
        [
            f"# {_text(document.title)}",
            "",
            f"{_text(document.first)}  ",
            *(f"{_text(line)}  " for line in document.load),
            "",
            *(f"**{_text(line)}**  " for line in document.verdict[:1]),
            *(f"- {_text(line)}" for line in document.verdict[1:]),
            "",
            *_certificate(document.certificate),
            *(f"{_text(line)}  " for line in document.answer),
            *(line for table in document.tables for line in _table(table)),
            *_list("Do not read into this", document.caveats),
            *(line for chart in charts for line in _chart(chart)),
            *(line for table in detail for line in _table(table)),
            f"`{document.last}`",
            "",
        ]
    )


def folded(table: Table) -> str:
    """A table that is opened by a click."""
    head = ["<details>", f"<summary>{_text(table.title)}</summary>", ""]
    return "\n".join([*head, *_table(table), "</details>", ""])


def _certificate(table: Table | None) -> list[str]:
    """Folded: what objects is in the list above it."""
    if table is None:
        return []
    return folded(table).split("\n")


def _table(table: Table) -> list[str]:
    if not table.rows:
        return [f"### {table.title}", "", _text(table.note) or "nothing was recorded", ""]
    return [
        f"### {table.title}",
        "",
        _row(table.columns),
        "|" + "|".join([":--", *["--:"] * (len(table.columns) - 1)]) + "|",
        *map(_row, table.rows),
        "",
        *([_text(table.note), ""] if table.note else []),
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_text(cell) or ' ' for cell in cells)} |"


def _chart(chart: Chart) -> list[str]:
    return [f"### {chart.heading}", "", f"![{_text(chart.title)}](charts/{chart.name}.png)", ""]


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "", *(f"- {_text(line)}" for line in lines), ""] if lines else []


def _text(text: str) -> str:
    """What Markdown would take for its own, kept as it is."""
    for mark in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text
