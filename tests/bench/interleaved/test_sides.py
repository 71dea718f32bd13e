from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.interleaved.sides import HERE, NoSuchSide, find
from bench.services.server import Source


def quiet(_: str) -> None:
    pass


def test_nothing_named_is_what_is_here() -> None:
    side = find(None, quiet)
    assert side.source == Source(HERE)
    assert side.label.startswith("this tree")


def test_a_checkout_is_run_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "schemes").mkdir()
    (tmp_path / "schemes" / "__main__.py").touch()
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
    side = find(str(tmp_path), quiet)
    assert (side.label, side.source) == (str(tmp_path), Source(tmp_path.resolve(), sys.executable))
    monkeypatch.chdir(tmp_path)
    assert find(".", quiet).label == str(tmp_path), "a dot names nothing in a report"


def test_a_command_is_one_if_its_program_is_there() -> None:
    side = find("env A=1 python3 -m schemes redis", quiet)
    assert side.source.command == ("env", "A=1", "python3", "-m", "schemes", "redis")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no-such-ref", "'no-such-ref' is no git ref"),
        ("no-such-program --port 1", "no command whose program is there"),
        ("unclosed 'quote", "is no command"),
        ("", "is no git ref"),
    ],
)
def test_what_names_nothing_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(NoSuchSide, match=said):
        find(text, quiet)


def test_a_folder_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoSuchSide, match=r"without schemes/__main__\.py"):
        find(str(tmp_path), quiet)
