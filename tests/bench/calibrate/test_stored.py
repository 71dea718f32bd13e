from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import environment, machine
from bench.calibrate import stored


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_was_kept_is_found_again_on_the_same_machine() -> None:
    assert stored.find() is None
    stored.keep({"ceilings": {"redis": {"per_s": 1.0}}})
    assert stored.find() == {"ceilings": {"redis": {"per_s": 1.0}}}


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (machine, "machine_class", lambda: "another"),
        (environment, "packages", lambda: {"websockets": "99"}),
    ],
)
def test_another_machine_or_other_versions_have_ceilings_of_their_own(
    module: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.keep({"ceilings": {}})
    monkeypatch.setattr(module, name, value)
    assert stored.find() is None
