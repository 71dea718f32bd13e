"""The Go peer, built once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `peer`; needs `go`."""
    binary = tmp_path_factory.mktemp("peer") / "peer"
    subprocess.run(["go", "build", "-o", binary, "."], cwd=Path(__file__).parent / "peer", check=True)
    return binary
