"""A load worker that leaves out a share of what is planned: `python -m tests.proofs.dropping_worker SHARE …`.

As a generator does that gives up what it is late with: each operation left out is recorded as not sent.  No
READs: one that is not sent counts as one that never was due."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import locust  # noqa: F401  # first: it patches the process

from bench.load.engine import Engine
from bench.load.pacing import now_ns
from bench.population import NOBODY
from bench.record import NONE, Op

request = Engine.request
share, owed = float(sys.argv[1]), 0.0


def dropping(
    self: Engine, device: Any, op: int, frame: Any, due: int = 0, conversation: int = NOBODY,
    argument: int = NONE, plan: int = NONE, attempt: int = 0, dependency_us: int = 0,
) -> int:  # fmt: skip
    global owed
    if plan != NONE and not attempt:
        owed += share
        if owed >= 1 and op != Op.READ:
            owed -= 1
            self.unsent(device, op, due or now_ns(), conversation, argument, plan, attempt, dependency_us)
            return -1
    return request(self, device, op, frame, due, conversation, argument, plan, attempt, dependency_us)


if __name__ == "__main__":
    Engine.request = dropping  # type: ignore[method-assign]
    sys.argv = sys.argv[3:]
    runpy.run_module("bench.load.worker", run_name="__main__", alter_sys=True)
