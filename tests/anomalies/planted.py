"""The body of a server's or consumer's process, with a bug planted in it.

Forked from one process that has imported everything (`forkserver`), since a row starts up to six of them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

import schemes.queue  # noqa: F401  so that no process has to import it
from schemes import __main__ as server
from schemes.queue import consumer
from tests.anomalies.table import Plant

CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
_PR_SET_PDEATHSIG: Final = 1


def body(plant: Plant | None, what: str, arguments: Sequence[str], log: Path) -> None:
    """Ends with the process that it was forked from, so that a killed test run leaves nothing behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), sys.stderr.fileno())
    if plant is not None:
        plant(pytest.MonkeyPatch(), {})
    if what == "server":
        server.main(list(arguments), prog_name="planted")
    else:
        sys.exit(consumer.main(arguments))
