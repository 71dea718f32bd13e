"""Were two runs made under the same terms, on the same kind of machine?  Pure.

What differs is either a reason not to compare (`differences`), or only told (`told`): load and steal are
never twice the same.  What a manifest does not say is not known, and no difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from bench.results import Json

LOAD_APART: Final = 1.0
STEAL_APART: Final = 0.02
NAMED: Final = 3
"""Runs with the same value; more are counted."""
OF_MACHINE: Final = {
    "class": "machine class",
    "kernel": "kernel",
    "virtual": "container or VM",
    "governor": "CPU governor",
    "clock_source": "clock source",
    "cpus_allowed": "cores allowed",
    "cpu_quota": "CPU quota",
    "python": "Python",
    "optimised": "optimised Python",
}
"""Key of `manifest.machine` -> what it is called."""
OF_CODE: Final = {"git": "git commit", "git_dirty": "changes beyond the commit"}
"""The same of what may be just what is compared."""
OF_RUN: Final = ("scenario", "store_rtt_ms", "workers", "history", "attention_factor", "left_out")


class Run(Protocol):
    """A run as a comparison has it."""

    @property
    def run_id(self) -> str: ...
    @property
    def summary(self) -> Json: ...
    @property
    def manifest(self) -> Json: ...


def differences(runs: Sequence[Run]) -> list[str]:
    """Why these runs are unlike, one sentence each; empty if they may be compared."""
    return [_said(name, values) for name, values in _values(runs) if len(set(values.values())) > 1]


def told(runs: Sequence[Run]) -> list[str]:
    """What differs and does not forbid a comparison."""
    found = []
    load = {run.run_id: (run.manifest.get("machine") or {}).get("load_1m") for run in runs}
    if _apart(load) > LOAD_APART:
        found.append(_from_to("load average at the start", load))
    steal = {run.run_id: _steal(run.summary) for run in runs}
    if _apart(steal) > STEAL_APART:
        found.append(_from_to("share of a core stolen by other machines", steal))
    for key, name in OF_CODE.items():
        values = _known(runs, _of_machine(key))
        if len(set(values.values())) > 1:
            found.append(_said(name, values))
    return found


def _values(runs: Sequence[Run]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each thing that must be the same: its name, and its value by run where that is known."""
    for name, of in _asked().items():
        yield name, _known(runs, of)
    services = {name for run in runs for name in run.summary["run"].get("services") or ()}
    for service in sorted(services):
        for name in _service_names(runs, service):
            yield f"{service} {name}", _known(runs, _of_service(service, name))
    packages = {name for run in runs for name in _machine(run).get("packages") or ()}
    for package in sorted(packages):
        yield f"version of {package}", _known(runs, _of_package(package))


def _asked() -> Mapping[str, Callable[[Run], Any]]:
    fixed: dict[str, Callable[[Run], Any]] = {
        "plan_sha256 (users, rate, duration, seed)": lambda run: _short(run.manifest.get("plan_sha256")),
        "durability asked for": lambda run: (run.summary["run"].get("durability") or {}).get("asked"),
        "pool ratio asked for": _pool_asked,
        "arrivals": lambda run: (run.manifest.get("load") or {}).get("arrivals", "open"),
        "limit of open files": lambda run: _machine(run).get("files_limit"),
    }
    of_run = {name.replace("_", " "): _of_run(name) for name in OF_RUN}
    return fixed | of_run | {said: _of_machine(key) for key, said in OF_MACHINE.items()}


def _pool_asked(run: Run) -> str | None:
    pool = run.summary["run"].get("pool")
    return None if pool is None else str(pool.get("ratio_asked") or "none")


def _of_run(name: str) -> Callable[[Run], Any]:
    return lambda run: run.summary["run"].get(name)


def _of_machine(key: str) -> Callable[[Run], Any]:
    return lambda run: _machine(run).get(key)


def _of_package(name: str) -> Callable[[Run], Any]:
    return lambda run: (_machine(run).get("packages") or {}).get(name)


def _machine(run: Run) -> Json:
    machine: Json = run.manifest.get("machine") or {}
    return machine


def _service_names(runs: Sequence[Run], service: str) -> list[str]:
    """What is known of a service: how it runs, and every setting, but for a pool that follows the data."""
    follows = any((run.summary["run"].get("pool") or {}).get("ratio_asked") for run in runs)
    settings = {name for run in runs for name in _service(run, service).get("settings") or ()}
    settings -= {"innodb_buffer_pool_size"} if follows else set()
    return ["engine", "version", "how", *sorted(settings)]


def _of_service(service: str, name: str) -> Callable[[Run], Any]:
    def value(run: Run) -> Any:
        found = _service(run, service)
        return found.get(name, (found.get("settings") or {}).get(name))

    return value


def _service(run: Run, name: str) -> Json:
    found: Json = (run.summary["run"].get("services") or {}).get(name) or {}
    return found


def _known(runs: Sequence[Run], of: Callable[[Run], Any]) -> dict[str, str]:
    return {run.run_id: str(value) for run in runs if (value := of(run)) is not None}


def _said(name: str, values: Mapping[str, Any]) -> str:
    by_value: dict[Any, list[str]] = {}
    for run_id, value in values.items():
        by_value.setdefault(value, []).append(run_id)
    told = "; ".join(f"{value} in {names(runs)}" for value, runs in by_value.items())
    return f"{name} differs: {told}"


def names(runs: Sequence[str]) -> str:
    """`a, b, c and 2 more`."""
    named, more = runs[:NAMED], len(runs) - NAMED
    return ", ".join(named) if more <= 0 else f"{', '.join(named)} and {more} more"


def _from_to(name: str, values: Mapping[str, float | None]) -> str:
    known = sorted((value, run_id) for run_id, value in values.items() if value is not None)
    (low, first), (high, last) = known[0], known[-1]
    return f"{name} differs: from {low:.2f} in {first} to {high:.2f} in {last}"


def _short(sha: Any) -> str | None:
    return None if sha is None else str(sha)[:12]


def _apart(values: Mapping[str, float | None]) -> float:
    known = [value for value in values.values() if value is not None]
    return max(known) - min(known) if known else 0.0


def _steal(summary: Json) -> float | None:
    counters = ((summary.get("resources") or {}).get("machine") or {}).get("counters") or {}
    seconds = summary.get("duration_s")
    return counters["steal_s"] / seconds if seconds and "steal_s" in counters else None


# --- durability -------------------------------------------------------------------------------------------


def class_of(run: Json) -> str | None:
    """What an acknowledgement of this `summary.run` outlives; None where that is not known."""
    found: str | None = (run.get("durability") or {}).get("class")
    return found


def terms(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the stores of this `summary.run` were asked to be, where that is not what they are by default."""
    asked = {
        "durability": (run.get("durability") or {}).get("asked"),
        "store rtt ms": run.get("store_rtt_ms") or None,
        "pool ratio": (run.get("pool") or {}).get("ratio_asked"),
    }
    return {name: value for name, value in asked.items() if value is not None}


def classes(content: Json) -> dict[str | None, list[str]]:
    """Class -> labels of the arms of a comparison."""
    found: dict[str | None, list[str]] = {}
    for arm in content["arms"]:
        found.setdefault(class_of(arm["summary"]["run"]), []).append(arm["label"])
    return found
