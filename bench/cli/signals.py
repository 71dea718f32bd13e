"""What a command does when it is told to end."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does: what was begun is put away, nothing is left."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
