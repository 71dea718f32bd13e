"""What a guard says, and the words it may say it with.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OK, WARN, INCONCLUSIVE, INVALID = "ok", "warn", "inconclusive", "invalid"
UNKNOWN: Final = "unknown"
"""What the guard looks at was not recorded: it changes no verdict, and is not counted as passed."""


@dataclass(frozen=True)
class Guard:
    """What one guard says.  `value` and `threshold` in the figure's own unit; value None: not known."""

    guard: str
    verdict: str
    value: float | None
    threshold: float | None
    message: str
    advice: str


def unknown(guard: str, threshold: float | None, message: str) -> Guard:
    """A guard that has nothing to look at.  `message` says of what."""
    return Guard(guard, UNKNOWN, None, threshold, f"{message}: not known", "")
