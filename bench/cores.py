"""Which cores belong to whom while a run measures: the generator must not be what it reports on.

From four cores up the generator has core 0 to itself and everything under test the others.  With two or
three, that would leave core 0 mostly idle and halve what is tested: there the generator stays on core 0 and
goes first (real-time scheduling), and what is tested may use all cores.  See docs/decisions/cores.md."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

GENERATOR: Final = "generator"
"""Load workers, probe users and Locust's master; sampled in parts, `generator/0` and so on."""
STRICT_FROM: Final = 4
PROBE_USERS: Final = f"{GENERATOR}/probe_users"
REAL_TIME_PRIORITY: Final = 1
"""Of SCHED_RR: before all that is not real-time, behind all that is; probe users, whose times count most and
who do little, go before load users.  Needs root or CAP_SYS_NICE."""


def arrange(components: Mapping[str, Sequence[int]], cores: int) -> str:
    """Binds every component's processes to its cores; says how, for the first line of the report."""
    if cores < 2:
        return "one core for everything: the generator's own work is in every figure"
    everything = set(range(cores))
    under_test = everything - {0} if cores >= STRICT_FROM else everything
    for component, pids in components.items():
        _bind(pids, {0} if is_generator(component) else under_test)
    if cores >= STRICT_FROM:
        return f"generator: core 0 · under test: {cores - 1} of {cores} cores"
    first = _schedule(_generator_pids(components), os.SCHED_RR, REAL_TIME_PRIORITY)
    _schedule(components.get(PROBE_USERS, ()), os.SCHED_RR, REAL_TIME_PRIORITY + 1)
    return f"generator: core 0{', first in line' if first else ''} · under test: all {cores} cores"


def prefer(pids: Sequence[int]) -> bool:
    """Lets these go before all that is not real-time, for as long as something is calibrated; whether that
    was allowed."""
    return _schedule(pids, os.SCHED_RR, REAL_TIME_PRIORITY)


def prefer_no_more(pids: Sequence[int]) -> None:
    """Else they, and what they start later, would go before everybody for as long as they live."""
    _schedule(pids, os.SCHED_OTHER, 0)


def release(components: Mapping[str, Sequence[int]], cores: int) -> None:
    """Takes back what `arrange` did: every core for everybody."""
    for pids in components.values():
        _bind(pids, set(range(cores)))
    prefer_no_more(_generator_pids(components))


def parts_of_generator(pids: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The load processes (`Fleet.pids`) as components: each worker by its number, the others by name."""
    parts = {str(number): [pid] for number, pid in enumerate(pids.get("worker", ()))}
    parts |= {name: list(of) for name, of in pids.items() if name != "worker"}
    return {f"{GENERATOR}/{part}": of for part, of in parts.items() if of}


def is_generator(component: str) -> bool:
    """Whether it is one of its parts."""
    return component.partition("/")[0] == GENERATOR


def _generator_pids(components: Mapping[str, Sequence[int]]) -> list[int]:
    return [pid for component, pids in components.items() if is_generator(component) for pid in pids]


def _bind(pids: Sequence[int], cores: set[int]) -> None:
    """Threads started later inherit it."""
    for thread in _threads(pids):
        try:
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:
            continue


def _schedule(pids: Sequence[int], policy: int, priority: int) -> bool:
    """Whether it was allowed."""
    for thread in _threads(pids):
        try:
            os.sched_setscheduler(thread, policy, os.sched_param(priority))
        except ProcessLookupError:
            continue
        except PermissionError:
            return False
    return True


def _threads(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        try:
            yield from [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            continue
