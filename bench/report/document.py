"""What a report consists of, before anyone decides how it looks: lines, tables and charts.  Pure.

The terminal, Markdown, HTML and CSV show the same document, so they cannot say different things."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Cells are text as it is to be shown.  The first column names the row; the others are right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart on the page.

    `name` is its anchor and its file in charts/ without the ending; `svg` goes inline; `query` is Python that
    computes it from the rows in the result folder, `files` are those rows."""

    name: str
    heading: str
    title: str
    svg: str
    query: str
    files: tuple[str, ...]
    table: Table | None = None


@dataclass(frozen=True)
class Story:
    """One finding: `name` is its id and anchor, `svg` its picture (empty where nothing has a time)."""

    name: str
    heading: str
    says: str
    note: str
    svg: str


@dataclass(frozen=True)
class Found:
    """What went wrong: a table of all causes, and the worst of them as pictures."""

    table: Table
    stories: tuple[Story, ...]


@dataclass(frozen=True)
class Document:
    """`first` is the line above everything (what ran on which core), `load` what was asked of whom, `verdict`
    a line per verdict and reason, `answer` what the figures allow to say, `caveats` what they do not.

    `good` is True, False or None (undecided) and colours the verdict."""

    title: str
    first: str
    load: tuple[str, ...]
    verdict: tuple[str, ...]
    good: bool | None
    answer: tuple[str, ...]
    tables: tuple[Table, ...]
    caveats: tuple[str, ...]
    last: str
    certificate: Table | None = None
    """What every guard said: below the verdict, folded where `good`."""
