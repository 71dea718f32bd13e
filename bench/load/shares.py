"""Who carries out what: which load process owns which devices, probe pairs and final reads.  Pure.

Load workers are numbers 0 to W - 1 and own the load users' devices in turn.  The probe users' devices, where
there are any, belong to one process more, number W, which measures the probe pairs too: all that gives a
headline figure is timed where little else goes on.  Final reads are timed nowhere and stay with the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.plan import SECOND, Plan
from bench.population import Ints, Population

WANTED_USERS: Final = 200
SAMPLES: Final = 1_000
"""Of each planned operation: what a p99 needs to be compared."""
SPARE: Final = 1.1
"""Some planned operations turn out to be needless (already_read)."""
LOAD_SHARE: Final = 0.1
"""The most that probe users may do of what is planned."""


@dataclass(frozen=True)
class ProbeUsers:
    """Devices of the population, ascending, and which share of the planned operations is theirs."""

    devices: tuple[int, ...]
    planned_share: float


def choose_probe_users(population: Population, plan: Plan) -> ProbeUsers:
    """As many devices as give SAMPLES of each operation in the measured window, at least WANTED_USERS, and
    never more than LOAD_SHARE of the users or of what is planned; nobody if there are fewer than ten users.

    Drawn by strata of how much they do, so that they are like the others: every n-th of all devices in the
    order of their planned operations."""
    count = _how_many(population, plan)
    if not count:
        return ProbeUsers((), 0.0)
    does = _planned_by_device(population, plan)
    drawn = np.random.default_rng([population.options.seed, 3]).permutation(population.devices)
    order = drawn[np.argsort(does[drawn], kind="stable")]
    step = population.devices / count
    everywhere = max(1, int(does.sum()))
    strata = (np.arange(count) * step).astype(np.int64)
    samples = [np.sort(order[strata + start]) for start in range(int(step))]
    shares = [float(does[sample].sum()) / everywhere for sample in samples]
    within = [i for i, share in enumerate(shares) if share <= LOAD_SHARE]
    best = min(within, key=lambda i: abs(shares[i] - count / population.devices))
    return ProbeUsers(tuple(samples[best].tolist()), shares[best])


def planned_share(population: Population, plan: Plan, devices: tuple[int, ...]) -> float:
    """Which share of the planned operations is these devices'."""
    does = _planned_by_device(population, plan)
    return float(does[list(devices)].sum()) / max(1, int(does.sum()))


def _how_many(population: Population, plan: Plan) -> int:
    measured_from = round(plan.options.warmup_s * SECOND)
    effective = plan.reads["at"][plan.reads["effective"] > 0]
    planned = [
        int(np.count_nonzero(at >= measured_from))
        for at in (plan.sends["at"], effective, plan.openings["at"])
    ]
    rarest = min((count for count in planned if count), default=0)
    needed = SPARE * SAMPLES / rarest * population.devices if rarest else 0.0
    return min(max(WANTED_USERS, int(np.ceil(needed))), int(population.devices * LOAD_SHARE))


def _planned_by_device(population: Population, plan: Plan) -> Ints:
    """Planned operations of each device: SENDs, READs, and what its openings are."""
    each = [
        np.bincount(table["device"], minlength=population.devices)
        for table in (plan.sends, plan.reads, plan.openings)
    ]
    total: Ints = each[0] + each[1] + plan.options.per_opening * each[2]
    return total


@dataclass(frozen=True)
class Share:
    """What one load process owns: devices (ascending), probe pairs, and people to read finally."""

    devices: Ints
    pairs: Ints
    people: Ints


def share_of(population: Population, worker: int, workers: int, probe_devices: tuple[int, ...] = ()) -> Share:
    """The share of process `worker`; `workers` load workers, and the probe users' process if there are any
    probe users."""
    probes = np.array(probe_devices, np.int64)
    pairs = np.arange(population.options.probe_pairs)
    if worker == workers:
        return Share(probes, pairs, np.zeros(0, np.int64))
    load = np.setdiff1d(np.arange(population.devices), probes)
    asked = np.arange(population.people, population.people + 2 * population.options.probe_pairs)
    people = np.concatenate([np.arange(population.connected), asked])
    return Share(
        load[worker::workers],
        pairs[worker::workers] if not len(probes) else pairs[:0],
        people[people % workers == worker],
    )
