"""Whole runs on real services: what they must leave in the result folder, and nothing anywhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.load.live_checks import PROMISES
from bench.record import NONE, Op, Outcome, Phase, Rx
from bench.results import RunFolder
from bench.runner import Load
from schemes import SCHEMES
from tests.e2e.small import USERS, carry_out, left_behind, options

pytestmark = pytest.mark.services  # whole runs: they take the machine's run lock and its time

FILES = {
    "manifest.json", "summary.json", "summary.csv", "summary.md", "report.html", "timeseries.parquet",
    "operations-0.parquet", "pushes-0.parquet", "connections-0.parquet", "items-0.parquet",
    "final_store.parquet",
}  # fmt: skip

NOT_PROMISED = {("queue", "versions"), ("queue", "device_state")}


@pytest.fixture(
    scope="module",
    params=[pytest.param(scheme) for scheme in ("memory", "db", "redis", "queue")],
)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, RunFolder, dict[str, Any]]:
    folder, summary = carry_out(options(tmp_path_factory.mktemp("results"), request.param))
    return request.param, folder, summary


def test_it_ends_well_and_leaves_nothing_behind(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    _, folder, summary = finished
    assert folder.manifest()["ended"]["how"] == "finished", folder.manifest()["ended"]
    assert summary["drained"] is True
    assert summary["verdict"]["correctness"] == "PASS", summary["verdict"]["reasons"]
    assert summary["load"]["connections_held"] == USERS
    (ledger,) = [guard for guard in summary["guards"] if guard["guard"] == "work_ledger"]
    assert (ledger["verdict"], summary["ledger"]["available"]) == ("ok", True), ledger
    assert left_behind() == []


def test_every_file_is_there(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    scheme, folder, summary = finished
    assert {path.name for path in folder.path.iterdir() if path.is_file()} >= FILES
    assert folder.has("final_cache") == (scheme in ("redis", "queue"))
    assert json.loads((folder.path / "summary.json").read_text()) == summary
    assert len(list(folder.charts.glob("*.svg"))) >= 6
    assert "<script src" not in (folder.path / "report.html").read_text()


def test_every_path_was_compared(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    scheme, _, summary = finished
    checks = {check["name"]: check for check in summary["consistency"]["checks"]}
    assert checks["converged"]["unknown_because"] is None
    assert (checks["converged"]["figures"]["cached"] > 0) == (scheme in ("redis", "queue"))
    for name in ("sync_complete", "sync_pages", "versions", "device_state"):
        assert checks[name]["verdict"] == "pass", checks[name]
        assert checks[name]["promised"] == ((scheme, name) not in NOT_PROMISED)
        assert checks[name]["eligible"] > 0, name


def test_what_was_counted_live_is_in_the_record(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    scheme, _, summary = finished
    promised = SCHEMES[scheme].promised({})
    assert {count["check"] for count in summary["live"]} == {*PROMISES, "push_gaps"}
    for count in summary["live"]:
        assert count["agrees"] is (None if count["check"] == "push_gaps" else True), count
        if PROMISES.get(count["check"]) in promised:
            assert count["live"]["violations"] == 0
            assert count["live"]["eligible"] > 0


def test_planned_operations_have_one_outcome_each(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    _, folder, summary = finished
    operations = folder.table("operations")
    plan, phase = operations["plan"], operations["phase"]
    measured = plan[(plan != NONE) & np.isin(phase, [Phase.WARMUP, Phase.MEASURE, Phase.DRAIN])]
    assert len(measured) == len(np.unique(measured))
    assert summary["load"]["outcome_complete_share"] >= 0.999
    assert not np.any(operations["outcome"] == Outcome.PENDING)


def test_nothing_is_marked_once_it_is_drained(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    _, folder, _ = finished
    operations = folder.table("operations")
    marks = np.isin(operations["op"], [Op.SEND, Op.READ, Op.DELIVERED]) & (operations["sent"] > 0)
    assert np.any(operations["phase"][marks] == Phase.DRAIN)  # what came at the end is still confirmed
    assert operations["acknowledged"][marks].max() <= folder.manifest()["window"]["drain_end"]


def test_every_component_was_sampled(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    scheme, folder, summary = finished
    stores = {
        "memory": set(),
        "db": {"mysql"},
        "redis": {"mysql", "redis"},
        "queue": {"mysql", "redis", "kafka"},
    }
    expected = (
        {"generator", "server", "machine"} | stores[scheme] | ({"consumer"} if scheme == "queue" else set())
    )
    series = folder.timeseries()
    assert {name.partition("/")[0] for name in series["component"].tolist()} >= expected
    for component in expected - {"machine"}:
        assert summary["resources"][component]["cpu_cores_mean"] > 0


def test_reads_and_pushes_really_happened(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    _, folder, summary = finished
    operations = folder.table("operations")
    for op in (Op.SEND, Op.READ, Op.DELIVERED, Op.STATE, Op.SYNC, Op.PROBE_READ):
        done = (operations["op"] == op) & (operations["outcome"] == Outcome.OK)
        assert np.any(done), op.name
    assert folder.table("pushes").rows > 100
    assert summary["lag"]["receipt"]["count"] > 10
    assert summary["lag"]["receipt"]["undelivered"] == 0


def test_a_tenth_of_the_users_are_timed_by_the_kernel(
    finished: tuple[str, RunFolder, dict[str, Any]],
) -> None:
    _, folder, summary = finished
    probes, operations = summary["probe_users"], folder.table("operations")
    assert probes["users"] == folder.manifest()["run"]["probe_users"]["users"] == USERS // 10
    assert 0 < probes["load_share"] < 0.2
    assert probes["cpu_cores"] > 0
    assert probes["stamps"]["clean"] > 0.5 * probes["operations"]
    own = operations["op_id"] >> 40 == 1
    assert set(operations["rx"][~own].tolist()) == {Rx.NONE}
    for name in ("SEND", "READ"):
        assert summary["operations"][name]["from"] == "all", "a run this small has few samples of theirs"


def test_the_services_are_named_truthfully(finished: tuple[str, RunFolder, dict[str, Any]]) -> None:
    scheme, folder, _ = finished
    services = folder.manifest()["run"]["services"]
    if scheme == "memory":
        assert services == {}
    else:
        assert services["mysql"]["engine"] in ("MariaDB", "MySQL")
        assert services["mysql"]["settings"]["innodb_flush_log_at_trx_commit"] == "1"


def test_the_same_seed_is_the_same_plan(tmp_path: Path) -> None:
    first, again = (Load.of(options(tmp_path, "memory", seed=7)).plan.sha256 for _ in range(2))
    other = Load.of(options(tmp_path, "memory", seed=8)).plan.sha256
    assert first == again != other
