from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.calibrate.pace import Pace, slower

QUIET = [(float(at), 100.0) for at in range(100)]


def test_work_that_takes_twice_as_long_is_at_half_the_pace() -> None:
    notes = [*QUIET, *((float(at), 200.0) for at in range(100, 120))]
    assert slower(notes, 100, 119) == pytest.approx(2.0)
    assert slower(notes, 0, 50) == 1.0


def test_one_lucky_note_is_not_the_fastest_pace() -> None:
    assert slower([*QUIET, (100.0, 10.0)], 0, 50) == 1.0


def test_where_nothing_was_noted_nothing_is_known() -> None:
    assert slower(QUIET, 500, 600) == slower([], 0, 1) == 1.0


def test_a_process_notes_it_while_it_is_wanted(tmp_path: Path) -> None:
    with Pace(tmp_path) as pace:
        began = time.monotonic()
        while len((tmp_path / "pace").read_text().splitlines() if (tmp_path / "pace").exists() else ()) < 3:
            assert time.monotonic() - began < 30
            time.sleep(0.05)
    assert pace.slower(began, time.monotonic()) >= 1.0
