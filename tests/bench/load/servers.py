"""A reference server of the `memory` scheme in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECRET = "only-a-test"
ROOT = Path(__file__).parents[3]


class MemoryServer:
    """`url` is where it listens; `kill` ends it as kill -9 does."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "schemes", "memory", "--port", "0", *options],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "READSTATE_SECRET": SECRET},
            text=True,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"ws://[\d.]+:\d+", line)
        assert found, line
        self.url = found[0]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def memory_server(*options: str) -> Iterator[MemoryServer]:
    server = MemoryServer(*options)
    try:
        yield server
    finally:
        server.kill()
