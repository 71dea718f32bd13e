"""A run that mutants are to be made of: refused unless it is clean, and kept as mutants read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.selftest import record
from bench.selftest.held import KINDS, Record
from tests.bench.synthetic import build


def test_a_run_that_is_not_clean_is_refused_with_the_check_that_says_so(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, lost_pushes=0.03, visible_us=0)
    (line,) = [line for line in record.why_not(folder) if line.startswith("push_gaps")]
    assert line.startswith("push_gaps: fail, ")


def test_what_is_kept_is_the_run(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, visible_us=0)
    place = tmp_path / "kept"
    place.mkdir()
    (place / "left-over.parquet").touch()
    record.keep(folder, place)
    kept = Record.load(place)
    assert not (place / "left-over.parquet").exists()
    for table in KINDS:
        for column, values in folder.table(table).items():
            assert np.array_equal(kept.tables[table][column], values)
    manifest = json.loads((place / "manifest.json").read_text())
    assert set(manifest) <= set(record.KEPT)
    assert manifest["window"] == folder.manifest()["window"]
