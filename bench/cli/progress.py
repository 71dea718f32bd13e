"""The progress line on stderr: rewritten in place on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Final

from bench.runner import Progress

LINE_EVERY_S: Final = 10.0


class Line:
    """Shows where a run is.  `prefix` names the arm."""

    def __init__(self, *, quiet: bool) -> None:
        self.prefix = ""
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._drawn = False
        self._next_s = 0.0
        self._phase = ""

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self.clear()
            print(f"{self.prefix}{text}", file=sys.stderr, flush=True)

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        due = self._live or now >= self._next_s or progress.phase != self._phase
        if self._quiet or not due:
            return
        self._phase = progress.phase
        self._next_s = now + LINE_EVERY_S
        text = f"{self.prefix}{describe(progress)}"
        if not self._live:
            print(text, file=sys.stderr, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[2K{text[:width]}", end="", file=sys.stderr, flush=True)
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._drawn = False


def describe(progress: Progress) -> str:
    """`measure 12/60 s  …`"""
    spent = f"{progress.done_s:.0f}"
    left = "" if progress.total_s is None else f"/{progress.total_s:.0f}"
    return f"{progress.phase} {spent}{left} s  {progress.text}"
