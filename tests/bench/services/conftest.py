from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this folder sees the machine's cache, its warm stack or its lock."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("BENCH_MYSQL_URL", "BENCH_REDIS_URL", "BENCH_KAFKA_BOOTSTRAP", "KAFKA_HOME"):
        monkeypatch.delenv(name, raising=False)
