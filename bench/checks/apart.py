"""Two halves of one job at the same time, where there are two cores: one in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

First = TypeVar("First")
Second = TypeVar("Second")

_FORK = multiprocessing.get_context("fork")  # sees what was read so far, without a copy


def both(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """What the two give.  `first` is carried out by a copy of this process: what it changes is lost, and what
    it gives must be picklable.  An exception of either is raised here."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_send, args=(sender, first))
    process.start()
    sender.close()
    try:
        here = second()
        try:
            there, why = receiver.recv()
        except EOFError:
            killed = "The process with half of the checks was killed; is memory short?"
            raise ChildProcessError(killed) from None
    finally:
        receiver.close()
        process.terminate()
        process.join()
    if why is not None:
        raise why
    return there, here


def _send(sender: Connection, work: Callable[[], object]) -> None:
    try:
        sender.send((work(), None))
    except Exception as why:  # noqa: BLE001  raised over there
        sender.send((None, why))
