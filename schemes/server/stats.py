"""What one server counts about itself, for `/metrics`, the control door's STATS, and the run's record."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from schemes.ports import Trace
from schemes.stalls import GAP_NS, Stalls


class Stats:
    """Counters since the start; `loop_gap_s_max` since the last time it was asked for."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.server_ns = self.wait_ns = self.store_ns = self.cache_ns = self.queue_ns = 0
        self.pushes = 0
        self.pushes_dropped = 0
        self.opened = 0
        self.closed: dict[int, int] = {}
        self.loop_gaps = 0
        self.loop_gap_s_max = 0.0
        self.stalls = Stalls()

    def count(self, kind: str, code: str, server_ns: int, trace: Trace) -> None:
        """One request of this kind, answered with `code` (`ok` or an error)."""
        self.requests[kind, code] += 1
        self.server_ns += server_ns
        self.wait_ns += trace.wait
        self.store_ns += trace.store
        self.cache_ns += trace.cache
        self.queue_ns += trace.queue

    @property
    def stage_ns(self) -> dict[str, int]:
        """Sums by stage, in nanoseconds; `server` is the whole."""
        return {
            "server": self.server_ns,
            "wait": self.wait_ns,
            "store": self.store_ns,
            "cache": self.cache_ns,
            "queue": self.queue_ns,
        }

    def count_close(self, code: int) -> None:
        self.closed[code] = self.closed.get(code, 0) + 1

    def watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notes by how much the event loop overslept, until `stalls.stop`."""
        self.stalls.watch_gc()
        self.stalls.watch_loop(loop, self._was_late)

    def _was_late(self, seconds: float) -> None:
        self.loop_gaps += seconds > GAP_NS / 1e9
        self.loop_gap_s_max = max(self.loop_gap_s_max, seconds)

    def snapshot(self, connections: int, scheme: Mapping[str, Any]) -> dict[str, Any]:
        """Everything as one JSON object."""
        gap, self.loop_gap_s_max = self.loop_gap_s_max, 0.0
        return {
            "requests": {f"{kind} {code}": n for (kind, code), n in sorted(self.requests.items())},
            "stage_us": {stage: ns // 1000 for stage, ns in self.stage_ns.items()},
            "pushes": self.pushes,
            "pushes_dropped": self.pushes_dropped,
            "connections": connections,
            "opened": self.opened,
            "closed": {str(code): n for code, n in sorted(self.closed.items())},
            "loop_gaps": self.loop_gaps,
            "loop_gap_us_max": int(gap * 1e6),
            "cpu_us": time.process_time_ns() // 1000,
            "stalls": self.stalls.to_dict(),
            "scheme": dict(scheme),
        }

    def prometheus(self, connections: int, scheme: Mapping[str, Any]) -> str:
        """The same in the Prometheus text format 0.0.4."""
        lines = ["# TYPE readstate_requests_total counter"]
        lines += [
            f'readstate_requests_total{{type="{kind}",code="{code}"}} {n}'
            for (kind, code), n in sorted(self.requests.items())
        ]
        lines.append("# TYPE readstate_stage_seconds_total counter")
        lines += [
            f'readstate_stage_seconds_total{{stage="{stage}"}} {ns / 1e9:.6f}'
            for stage, ns in self.stage_ns.items()
        ]
        lines.append("# TYPE readstate_closes_total counter")
        lines += [f'readstate_closes_total{{code="{code}"}} {n}' for code, n in sorted(self.closed.items())]
        lines += _single("readstate_connections", "gauge", connections)
        lines += _single("readstate_connections_opened_total", "counter", self.opened)
        lines += _single("readstate_pushes_total", "counter", self.pushes)
        lines += _single("readstate_pushes_dropped_total", "counter", self.pushes_dropped)
        lines += _single("readstate_loop_gaps_total", "counter", self.loop_gaps)
        for name, value in sorted(scheme.items()):
            if isinstance(value, int | float):
                lines += _single(f"readstate_scheme_{name}", "gauge", value)
        return "\n".join(lines) + "\n"


def _single(name: str, kind: str, value: float) -> list[str]:
    return [f"# TYPE {name} {kind}", f"{name} {value}"]
