"""Commands of several runs, with runs that are made up: order, blocks, sides, and what they end in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import machine, runner
from bench.cli import noise, run
from bench.cli.progress import Line
from bench.options import Arm, RunOptions
from bench.results import RunFolder
from bench.turns import Turn
from tests.bench.synthetic import Spread, build

pytestmark = pytest.mark.slow  # makes up a dozen runs and draws their comparison
QUIET = Line(quiet=True)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Arm, Turn]]:
    """`runner.run` makes a run up; each that was asked for is in the list."""
    asked: list[tuple[Arm, Turn]] = []

    def one(arm: Arm, load: object, options: RunOptions, *, turn: Turn, **_: Any) -> RunFolder:
        asked.append((arm, turn))
        slower = 1_000 * turn.block
        folder, _world = build(
            options.out / f"{len(asked)}", scheme=arm.scheme, seed=len(asked), measure_s=5, send_per_s=20,
            people=20, read_us=Spread(10_000 + slower, 30_000 + slower),
        )  # fmt: skip
        about = {"class": "box"}
        folder.update_manifest(plan_sha256="a" * 64, machine=about, repeat=turn.to_dict())
        return folder

    monkeypatch.setattr(runner, "run", one)
    monkeypatch.setattr(runner.Load, "of", lambda _: SimpleNamespace())
    monkeypatch.setattr(machine, "make_room", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


def test_repeated_runs_take_turns_and_end_in_one_comparison(
    made_up: list[tuple[Arm, Turn]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = RunOptions("redis", repeat=6, out=tmp_path, seed=3)
    arms = [Arm("db", {"model": "flags"}), Arm("memory", {})]
    folders = run.in_turns(options, arms, QUIET, finish=noise._figures)
    assert [turn.block for _, turn in made_up] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert all(turn.order[turn.place] == arm.name for arm, turn in made_up)
    assert sorted(turn.order[0] for _, turn in made_up[::2]) == ["db"] * 3 + ["memory"] * 3
    assert len({turn.series for _, turn in made_up}) == 1
    run._conclude([(one, one.summary()) for one in folders], options, quiet=False, as_json=False)
    told = capsys.readouterr().out
    assert "6 blocks per arm, interleaved in a random order" in told
    (comparison,) = (json.loads(path.read_text()) for path in tmp_path.glob("*-compare-*/comparison.json"))
    read = next(row for row in comparison["figures"] if row["figure"] == "READ.p99")
    assert all(low < read["values"][label] < high for label, (low, high) in read["intervals"].items())
    assert read["ratios"][0]["paired"]
    assert [len(block) for block in comparison["order"][0]["blocks"]] == [2] * 6


def test_noise_runs_both_sides_of_every_block_and_keeps_what_it_found(
    made_up: list[tuple[Arm, Turn]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise._noise(RunOptions("db", repeat=6, out=tmp_path), quiet=False, as_json=False)
    assert len(made_up) == 12
    assert {turn.side for _, turn in made_up} == {"A", "B"}
    assert {arm.scheme for arm, _ in made_up} == {"db"}
    (line,) = (tmp_path / "cache" / "readstate-bench" / "noise.jsonl").read_text().splitlines()
    found = json.loads(line)
    (beside,) = tmp_path.glob("*-compare-*/noise.json")
    assert json.loads(beside.read_text()) == found
    assert 0 < found["metrics"]["READ.p99"]["visible"]["10"] < found["metrics"]["READ.p99"]["visible"]["6"]
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("VERDICT ")
    assert " blocks=6 visible." in last


def test_an_interrupted_run_is_the_last_one(
    made_up: list[tuple[Arm, Turn]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., RunFolder] = runner.run

    def cut(*args: Any, **more: Any) -> RunFolder:
        folder = whole(*args, **more)
        if len(made_up) == 3:
            folder.update_manifest(ended={"how": "interrupted", "phase": "measure", "message": "Ctrl-C"})
        return folder

    monkeypatch.setattr(runner, "run", cut)
    assert noise._noise(RunOptions("db", repeat=6, out=tmp_path), quiet=True, as_json=False) == 130
    assert len(made_up) == 3
    assert not (tmp_path / "cache" / "readstate-bench" / "noise.jsonl").exists()
