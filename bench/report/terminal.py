"""A document on a terminal, in one screen; as plain text where stdout is no terminal.

Results go to stdout, and their last line is the VERDICT line."""

from __future__ import annotations

import sys
from typing import IO, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.report.document import Document, Table
from bench.report.run_report import run_document
from bench.results import Json

WIDEST: Final = 120
_TONE: Final = {True: "bold green", False: "bold red", None: "bold yellow"}


def show(summary: Json, manifest: Json, *, quiet: bool = False, file: IO[str] | None = None) -> None:
    """The summary of one run; with `quiet` its VERDICT line alone."""
    render(run_document(summary, manifest), quiet=quiet, file=file)


def show_comparison(comparison: Json, *, quiet: bool = False, file: IO[str] | None = None) -> None:
    """A comparison from its `comparison.json`."""
    from bench.report.comparison import comparison_document

    render(comparison_document(comparison), quiet=quiet, file=file)


def render(document: Document, *, quiet: bool = False, file: IO[str] | None = None) -> None:
    """Writes to `file`, by default stdout."""
    out = file or sys.stdout
    if not quiet:
        console = Console(file=out, highlight=False, width=_width(out))
        with console.capture() as captured:
            _render(console, document)
        out.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    out.write(document.last + "\n")
    out.flush()


def _width(out: IO[str]) -> int:
    if not out.isatty():
        return WIDEST
    return min(WIDEST, max(80, Console(file=out).width))


def _render(console: Console, document: Document) -> None:
    console.print(Text(document.first, style="dim"))
    console.print(Text(document.title, style="bold"))
    for line in document.load:
        console.print(Text(line, style="dim"))
    words, *reasons = document.verdict
    console.print(Text(words, style=_TONE[document.good]))
    for reason in reasons:
        console.print(_indented(reason, ""))
    for line in document.answer:
        console.print(Text(line, style="bold"))
    for table in document.tables:
        _table(console, table)
    if document.caveats:
        console.print(Text("Do not read into this", style="bold"))
        for caveat in document.caveats:
            console.print(_indented(caveat, "dim"))


def _indented(text: str, style: str) -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 2), expand=False)


def _table(console: Console, table: Table) -> None:
    if table.rows:
        grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
        for index, column in enumerate((table.title, *table.columns[1:])):
            style = "bold" if index == 0 else "dim"
            left = index == 0 or column in ("errors", "")
            grid.add_column(
                Text(column, style=style), justify="left" if left else "right", no_wrap=index == 0
            )
        for row in table.rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    else:
        console.print(Text(f"{table.title}: nothing was recorded", style="bold"))
    if table.note:
        console.print(_indented(table.note, "dim"))
