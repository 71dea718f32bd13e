"""RUN on a command line: a folder, the beginning of a run's id, or `latest`.

An id may be begun at its date or at its short id, the last part of the name.  Errors are one paragraph that
says what to type instead; exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.results import LATEST, LATEST_COMPARISON, ROOT, ResultsError, RunFolder, runs

F = TypeVar("F", bound=Callable[..., Any])
EXIT_USAGE = 2


class BadRun(click.ClickException):
    """A RUN that can't be used.  Not click's UsageError: the option list would not help."""

    exit_code = EXIT_USAGE


def out_option(function: F) -> F:
    """--out: where results are."""
    return click.option(
        "--out",
        "root",
        type=click.Path(path_type=Path, file_okay=False),
        default=ROOT,
        show_default=True,
        help="The folder that results are in.",
    )(function)


def open_run(text: str, root: Path) -> RunFolder:
    """The run that `text` means.  Raises BadRun if there is none, or several, or it can't be read."""
    path = resolve(text, root)
    if is_comparison(path):
        raise BadRun(f"{path.name} is a comparison, and a run is wanted here. bench list runs names them.")
    try:
        return RunFolder.open(path)
    except ResultsError as why:
        raise BadRun(str(why)) from why


def resolve(text: str, root: Path) -> Path:
    """The folder that `text` means, whatever is in it.  Raises BadRun."""
    if text in (LATEST, LATEST_COMPARISON):
        link = root / text
        if not link.exists():
            raise BadRun(f"{link} does not exist: nothing has finished there yet. bench run makes the first.")
        return link.resolve()
    if Path(text).is_dir():
        return Path(text).resolve()
    matching = [name for name in _names(root) if name.startswith(text) or _short(name).startswith(text)]
    if len(matching) > 1:
        raise BadRun(f"{text!r} could be {', '.join(matching[:5])}. Type more of it.")
    if not matching:
        raise BadRun(_unknown(text, root))
    return (root / matching[0]).resolve()


def is_comparison(path: Path) -> bool:
    return (path / "comparison.json").exists()


def _names(root: Path) -> list[str]:
    compared = [path.parent.name for path in root.glob("*-compare-*/comparison.json")]
    return [folder.run_id for folder in runs(root)] + compared


def _short(name: str) -> str:
    return name.rpartition("-")[2]


def _unknown(text: str, root: Path) -> str:
    names = _names(root)
    if not names:
        return f"No run {text!r}: there are none in {root}/. bench run makes one, --out names another folder."
    near = difflib.get_close_matches(text, [*names, *map(_short, names)], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"No run {text!r}: neither a folder nor the beginning of an id in {root}/.{hint} "
        "bench list runs names them."
    )
