"""What a load process is told, and what it says while it runs: plain data, no locust."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.plan import PlanOptions
from bench.population import PopulationOptions


@dataclass(frozen=True)
class ProbeDoor:
    """How probes get at the stores: the secret of `/control`, and which of its questions the scheme can
    answer."""

    secret: str
    questions: tuple[str, ...]
    """Of DURABLE and CACHED."""


@dataclass(frozen=True)
class LoadConfig:
    """One run's load.

    `secret` signs the tokens (None: the server was started with `--auth off`).  `nonce` makes this run's
    client_msg_ids its own.  `memory` is a folder on tmpfs for the rows; `scenario` a Locust file.
    `plan_file` is `plan.npz`, as `Plan.save` writes it."""

    host: str
    scenario: str
    memory: str
    plan_file: str
    population: PopulationOptions
    plan: PlanOptions
    nonce: str
    secret: str | None = None
    workers: int = 1
    """Load processes under Locust's master; the probe users' process comes on top."""
    probe_devices: tuple[int, ...] = ()
    """Devices of the probe users (`shares.py`); none: no process of theirs."""
    in_flight: int = 64
    """Devices that sign in at the same time, per worker."""
    deadline_s: float = 5.0
    delivered_window_s: float = 1.0
    arrivals: str = "open"
    """`closed`: a device waits for its last answer (`closed.py`)."""
    web_port: int | None = None
    """Of Locust's own web page; None: no page."""
    cores: tuple[int, ...] = ()
    """Cores that master and workers are bound to; empty: any."""
    door: ProbeDoor | None = None
    """None: nobody asks the stores while the run goes on."""
    trace: bool = True
    """Whether replies carry the server's stage times."""
    report_s: float = 1.0
    """How often each process says what it has done."""

    @property
    def memory_folder(self) -> Path:
        return Path(self.memory)


@dataclass(frozen=True)
class Fault:
    """Where a check found something: person, conversation (NOBODY if it is about none), when it came."""

    user: int
    conversation: int
    at_ns: int


@dataclass
class LiveCount:
    """What a live check (bench/load/live_checks.py) has looked at, and what it found."""

    eligible: int = 0
    violations: int = 0
    first: Fault | None = None

    def __add__(self, other: LiveCount) -> LiveCount:
        firsts = [first for first in (self.first, other.first) if first is not None]
        return LiveCount(
            self.eligible + other.eligible,
            self.violations + other.violations,
            min(firsts, key=lambda fault: fault.at_ns, default=None),
        )


Buckets = dict[int, int]
"""Counts by `bucket_of` of a duration; for the live line only, what is reported comes from the rows."""


@dataclass
class Report:
    """What one worker says once a second; counts are since its start, durations are of the last second."""

    at_ns: int = 0
    connected: int = 0
    """Devices that are signed in and caught up."""
    offered: int = 0
    """Planned operations that were due."""
    achieved: int = 0
    """Planned operations that were carried out: sent, or found already read."""
    sent: int = 0
    pushes: int = 0
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    """By operation and outcome, in the names of bench.record."""
    latency: dict[str, Buckets] = field(default_factory=dict)
    send_lag: Buckets = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    """lost: ..., gaps, reordered, bug: ..."""
    checks: dict[str, LiveCount] = field(default_factory=dict)
    """By name of the live check."""
    since_ns: int = 0
    """Stalls are looked for since then."""
    stalls: list[tuple[int, int, int]] = field(default_factory=list)
    """Since the last report: (bench.record.Stall, noticed at, µs)."""


@dataclass(frozen=True)
class Live:
    """All workers together, for a progress line."""

    at_ns: int
    connected: int
    wanted: int
    offered: int
    achieved: int
    sent: int
    sent_per_s: float
    pushes: int
    pushes_per_s: float
    outcomes: dict[str, dict[str, int]]
    latency_us: dict[str, tuple[int, int]]
    """(p50, p99) of what was acknowledged in the last second, within 5 %."""
    send_lag_us: tuple[int, int]
    counters: dict[str, int]
    checks: dict[str, LiveCount]
    finished: bool
    """The measured window is over and nothing is outstanding any more."""


BUCKETS_PER_OCTAVE = 16


def bucket_of(us: float) -> int:
    """The bucket of a duration: 16 for each doubling."""
    from math import log2

    return round(log2(us) * BUCKETS_PER_OCTAVE) if us >= 1 else 0


def quantile(buckets: Buckets, share: float) -> int:
    """The duration in microseconds below which `share` of the counts lie; 0 without any."""
    total, wanted = 0, share * sum(buckets.values())
    for bucket in sorted(buckets):
        total += buckets[bucket]
        if total >= wanted:
            return round(2 ** (bucket / BUCKETS_PER_OCTAVE))
    return 0
