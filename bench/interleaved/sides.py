"""Where the server of a side comes from: a git ref, a checkout, or a command that anybody wrote."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.interleaved import trees
from bench.services.server import Source

HERE = Path(__file__).parents[2]
"""The files that this harness runs from: the candidate, where no other one is named."""


class NoSuchSide(Exception):
    """The text names nothing that could be started: what came, what was expected (exit code 2)."""


@dataclass(frozen=True)
class Side:
    """`label`: for people."""

    label: str
    source: Source


def find(text: str | None, say: Callable[[str], None]) -> Side:
    """None: the files that are here.  Raises NoSuchSide, and TreeError where it cannot be made ready."""
    if text is None:
        return Side(_here(), Source(HERE))
    folder = Path(text or "/nothing")
    if folder.is_dir():
        if not (folder / "schemes" / "__main__.py").is_file():
            raise NoSuchSide(
                f"{text!r} is a folder without schemes/__main__.py: no checkout of this project."
            )
        tree = folder.resolve()
        label = text if text.strip("./") else str(tree)
        return Side(label, Source(tree, trees.python_of(tree, HERE, say)))
    root = trees.root_of(HERE)
    commit = trees.commit_of(root, text) if root is not None else None
    if root is not None and commit is not None:
        tree = trees.tree_of(root, commit)
        return Side(f"{text} ({commit[:10]})", Source(tree, trees.python_of(tree, HERE, say)))
    return _command(text, root)


def _here() -> str:
    root = trees.root_of(HERE)
    commit = trees.commit_of(root, "HEAD") if root is not None else None
    return "this tree" if commit is None else f"this tree (on {commit[:10]})"


def _command(text: str, root: Path | None) -> Side:
    try:
        words = shlex.split(text)
    except ValueError as why:
        raise NoSuchSide(f"{text!r} is no command: {why}.") from None
    if words and shutil.which(words[0]) is not None:
        return Side(text, Source(Path.cwd(), command=tuple(words)))
    where = f"in {root}" if root is not None else f"({HERE} is in no git repository)"
    raise NoSuchSide(
        f"{text!r} is no git ref {where}, no folder, and no command whose program is there. Expected a "
        "branch, tag or commit, a checkout, or a command that starts a server."
    )
