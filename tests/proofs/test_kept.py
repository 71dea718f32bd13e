from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.proofs.kept import Kept


def test_what_was_found_out_once_is_read_the_next_time(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "results" / "proof.jsonl")
    assert kept.known() == {}
    made = iter([{"ms": 3}, {"ms": 4}])
    assert kept.once("one", lambda: next(made)) == {"ms": 3}
    again = Kept(kept.path)
    known = again.once("one", lambda: next(made))
    assert (known["key"], known["ms"]) == ("one", 3)
    assert datetime.strptime(known["at"], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert again.once("two", lambda: next(made)) == {"ms": 4}
    assert list(again.known()) == ["one", "two"]


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "proof.jsonl")
    with pytest.raises(KeyboardInterrupt):
        kept.once("one", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert kept.known() == {}
