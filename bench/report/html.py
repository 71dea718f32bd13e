"""report.html: one file that needs nothing else, readable in the dark, on paper, without scripts.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from typing import Final

from bench.report.document import Chart, Document, Found, Story, Table


def page(
    document: Document,
    charts: Sequence[Chart],
    detail: Sequence[Table],
    provenance: Sequence[str],
    found: Found | None = None,
) -> str:
    """The whole page.  `detail` are tables for after the charts, `provenance` where the figures come from,
    `found` what went wrong."""
    style = files("bench.report").joinpath("page.css").read_text()
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(document.title)}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>\n<main>",
            _head(document),
            '<div class="tables">',
            *(_table(table) for table in document.tables),
            "</div>",
            _found(found) if found else "",
            _list("caveats", "Do not read into this", document.caveats),
            _contents(charts),
            *(_chart(chart) for chart in charts),
            *(_table(table) for table in detail),
            _list("provenance", "Where this comes from", provenance),
            f'<p class="last"><code>{escape(document.last)}</code></p>',
            "</main>\n</body>\n</html>\n",
        ]
    )


def _head(document: Document) -> str:
    tone = {True: "good", False: "bad", None: "open"}[document.good]
    return "\n".join(
        [
            "<header>",
            f'<p class="first">{escape(document.first)}</p>',
            f"<h1>{escape(document.title)}</h1>",
            *(f'<p class="load">{escape(line)}</p>' for line in document.load),
            f'<div class="verdict {tone}">',
            *(f"<p>{escape(line)}</p>" for line in document.verdict),
            "</div>",
            _certificate(document.certificate, folded=document.good is True),
            *(f'<p class="answer">{escape(line)}</p>' for line in document.answer),
            "</header>",
        ]
    )


def _certificate(table: Table | None, *, folded: bool) -> str:
    if table is None:
        return ""
    unfolded = "" if folded else " open"
    return (
        f'<details class="certificate"{unfolded}><summary>{escape(table.title)}</summary>\n'
        f"{_table(replace(table, title='What every guard says'))}</details>"
    )


WIDE: Final = 7
LONG: Final = 72
"""Characters of a row.  A table of so many columns, or of longer rows, has the page's width to itself: beside
another one it would be cut off."""


CELL: Final = 24
"""Characters of a value that stay on one line: a longer one is words, and they may wrap."""


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.columns)
    rows = "\n".join(_row(row, table.columns) for row in table.rows)
    if not rows:
        rows = f'<tr><td class="remark" colspan="{len(table.columns)}">nothing was recorded</td></tr>'
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    whole = ' class="whole"' if len(table.columns) >= WIDE or _longest(table) > LONG else ""
    return (
        f"<section{whole}>\n<h2>{escape(table.title)}</h2>\n"
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n"
        f"{note}</section>"
    )


def _longest(table: Table) -> int:
    """Characters that a row needs; remarks wrap, and so do headings."""
    kept = [place for place, name in enumerate(table.columns) if name or not place]
    cells = ([len(row[place]) for row in table.rows if place < len(row)] for place in kept)
    return sum(max(lengths, default=0) for lengths in cells)


def _row(row: Sequence[str], columns: Sequence[str]) -> str:
    """Cells below a nameless heading are remarks, and stand left."""
    name, *cells = row
    values = "".join(
        f"<td{_kind(cell, column)}>{escape(cell)}</td>"
        for cell, column in zip(cells, columns[1:], strict=True)
    )
    return f'<tr><th scope="row">{escape(name)}</th>{values}</tr>'


def _kind(cell: str, column: str) -> str:
    if not column:
        return " class=remark"
    return " class=words" if len(cell) > CELL else ""


def _found(found: Found) -> str:
    stories = "\n".join(map(_story, found.stories))
    return f'<div class="findings">\n<h2>What went wrong</h2>\n{stories}\n{_folded(found.table)}</div>'


def _story(story: Story) -> str:
    return (
        f'<section id="{escape(story.name)}">\n<h3>{escape(story.heading)}</h3>\n'
        f"<p>{escape(story.says)}</p>\n<figure>{story.svg}</figure>\n"
        f'<p class="note">{escape(story.note)}</p>\n</section>'
    )


def _contents(charts: Sequence[Chart]) -> str:
    items = "\n".join(f'<li><a href="#{chart.name}">{escape(chart.heading)}</a></li>' for chart in charts)
    return f"<nav><h2>Charts</h2>\n<ol>\n{items}\n</ol></nav>" if charts else ""


def _chart(chart: Chart) -> str:
    files_ = ", ".join(f'<a href="{escape(name)}"><code>{escape(name)}</code></a>' for name in chart.files)
    pictures = f'<a href="charts/{chart.name}.svg">SVG</a>, <a href="charts/{chart.name}.png">PNG</a>'
    return (
        f'<section class="chart" id="{chart.name}">\n<h2>{escape(chart.heading)}</h2>\n'
        f'<figure role="img" aria-label="{escape(chart.title)}">\n{chart.svg}</figure>\n'
        + (_folded(chart.table) if chart.table else "")
        + f"<details><summary>The rows and the query behind it</summary>\n"
        f"<p>Rows: {files_}. As a picture: {pictures}. Run in the folder of this page:</p>\n"
        f"<pre><code>{escape(chart.query)}</code></pre></details>\n</section>"
    )


def _folded(table: Table) -> str:
    return f"<details><summary>{escape(table.title)}, as a table</summary>\n{_table(table)}</details>\n"


def _list(kind: str, title: str, lines: Sequence[str]) -> str:
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<section class="{kind}"><h2>{escape(title)}</h2>\n<ul>\n{items}\n</ul></section>' if lines else ""
    )
