"""Defaults from a file: `bench.toml`, or `[tool.bench]` in `pyproject.toml`, in the working directory.

    [run]
    users = 2000
    duration = "30s"

A table per command, its keys the command's options without `--`.  What is misspelt is an error."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """A configuration file that cannot be used: which, where, and what was expected."""


def load(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """(the file, its tables); (None, {}) where there is none."""
    own = folder / "bench.toml"
    if own.is_file():
        return own, _parse(own)
    project = folder / "pyproject.toml"
    if project.is_file():
        found = _parse(project).get("tool", {}).get("bench")
        if isinstance(found, dict):
            return project, found
    return None, {}


def defaults_of(command: str, known: Iterable[str], folder: Path) -> dict[str, Any]:
    """The file's defaults for one command, by option name.  Raises ConfigError for a key it does not know."""
    path, tables = load(folder)
    table = tables.get(command, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: expected a table [{command}], found {table!r}.")
    options = set(known)
    for key in table:
        if key not in options:
            nearest = difflib.get_close_matches(key, options, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            more = f"See `bench {command} --help`."
            raise ConfigError(f"{path}: [{command}] has no option {key!r}.{hint} {more}")
    return {key.replace("-", "_"): value for key, value in table.items()}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise ConfigError(f"{path} is not TOML: {why}.") from None
