"""Who a service is and how it is set, so that two looks tell whether it was restarted or changed between.

Nothing is written, unlike when a service is probed at its start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from bench.services import probe
from bench.services.stack import Service

Said = Mapping[str, str | float]
STARTED = "started_s"
"""When it started, in seconds of CLOCK_MONOTONIC, as far as whole seconds of its own tell."""


def of_all(services: Mapping[str, Service]) -> dict[str, Said]:
    """By service: its processes, and what it says of itself.  Empty where nothing is known of it."""
    return {name: {**_processes(service), **_said(service)} for name, service in services.items()}


def _processes(service: Service) -> Said:
    """A process id may come again, but not with the tick of the kernel at which it began."""
    found = []
    for pid in service.pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found.append(f"{pid} since tick {fields[19]}")
        except (FileNotFoundError, ProcessLookupError):
            found.append(f"{pid} is gone")
    return {"process": ", ".join(found)} if found else {}


def _said(service: Service) -> Said:
    try:
        if service.name == "mysql":
            started = time.monotonic() - probe.mysql_uptime_s(service.url)
            return {STARTED: started, **probe.mysql(service.url).settings}
        if service.name == "redis":
            return {"run_id": probe.redis_run_id(service.url), **probe.redis_server(service.url).settings}
    except (probe.NotReady, probe.Refused) as why:
        return {"does not answer": str(why)}
    return {}
