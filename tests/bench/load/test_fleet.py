"""The load end to end: Locust's master, workers of their own, and every planned operation recorded."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from websockets.sync.client import connect

from bench.load.fleet import Fleet, Live, LoadConfig, WorkerLost, read_rows
from bench.load.live_checks import PROMISES
from bench.plan import Plan, PlanOptions, make
from bench.population import PopulationOptions, build
from bench.record import NONE, TABLES, Op, Outcome, Phase, PushKind, Rx
from schemes.protocol import CONTROL_PATH, SUBPROTOCOL, ControlRequest, decode_control_reply, encode
from tests.bench.load.servers import ROOT, SECRET, MemoryServer, memory_server

pytestmark = pytest.mark.slow  # starts whole fleets

USERS = 61
PEOPLE = PopulationOptions(USERS, probe_pairs=2)
OPTIONS = PlanOptions(rate_per_s=40, warmup_s=1, measure_s=3)


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with memory_server("--control") as server:
        yield server


@pytest.fixture
def memory() -> Iterator[Path]:
    folder = Path(f"/dev/shm/readstate-test-{os.getpid()}")
    yield folder
    for path in folder.glob("*.rows"):
        path.unlink()
    if folder.exists():
        folder.rmdir()


def seed(url: str, plan: Plan) -> None:
    def ask(request: ControlRequest) -> None:
        socket.send(encode(request).decode())
        assert decode_control_reply(socket.recv()).type == "OK"

    with connect(url + CONTROL_PATH, subprotocols=[SUBPROTOCOL], max_size=None) as socket:  # type: ignore[list-item]
        ask(ControlRequest("AUTH", secret=SECRET))
        for batch in build(PEOPLE).seed_frames(plan.unread_at_start):
            ask(ControlRequest("SEED", conversations=batch))
        ask(ControlRequest("SEED", done=True))


def prepare(
    server: MemoryServer, memory: Path, folder: Path, workers: int, probe_devices: tuple[int, ...] = ()
) -> tuple[Fleet, Plan]:
    plan = make(build(PEOPLE), OPTIONS)
    plan.save(folder / "plan.npz")
    seed(server.url, plan)
    config = LoadConfig(
        host=server.url, scenario="scenarios/steady_chat.py", memory=str(memory),
        plan_file=str(folder / "plan.npz"), population=PEOPLE, plan=OPTIONS, nonce=secrets.token_hex(4),
        secret=SECRET, workers=workers, probe_devices=probe_devices,
    )  # fmt: skip
    return Fleet(config, folder / "logs", lambda _line: None), plan


def connected(fleet: Fleet) -> Live:
    fleet.start()
    fleet.connect()
    deadline = time.monotonic() + 20
    while (live := fleet.poll(0.2)).connected < live.wanted:
        assert time.monotonic() < deadline, live
    return live


def watch(fleet: Fleet) -> None:
    for _ in range(50):
        fleet.poll(0.1)


def table(paths: list[Path], name: str) -> np.ndarray:
    return np.concatenate([read_rows(path) for path in paths if path.name.startswith(name)])


def test_a_whole_run_with_two_workers(server: MemoryServer, memory: Path, tmp_path: Path) -> None:
    fleet, plan = prepare(server, memory, tmp_path, workers=2)
    try:
        assert connected(fleet).connected == USERS
        assert {name: len(pids) for name, pids in fleet.pids().items()} == {"master": 1, "worker": 2}
        fleet.freeze_gc()
        t0_ns = time.monotonic_ns() + 100_000_000
        fleet.begin(t0_ns)
        timed: set[str] = set()
        while not (live := fleet.poll(0.2)).finished:
            timed |= live.latency_us.keys()  # of the last second only, and the last may be a quiet one
            assert time.monotonic_ns() < t0_ns + 15_000_000_000
        finished_ns = time.monotonic_ns()
        assert fleet.final_read() == (build(PEOPLE).connected + 4, 0)
        pids = [pid for of_kind in fleet.pids().values() for pid in of_kind]
    finally:
        paths = fleet.stop()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert t0_ns + 4_000_000_000 <= finished_ns < t0_ns + 9_000_000_000
    assert not [what for what in live.counters if "bug" in what], live.counters
    assert live.achieved == live.offered == plan.count
    assert "SEND" in timed
    _check_counted(fleet, paths)
    _check_operations(table(paths, "operations"), plan, t0_ns)
    _check_workers(paths)
    _check_the_rest(paths, plan)


def test_one_fleet_carries_several_plans(server: MemoryServer, memory: Path, tmp_path: Path) -> None:
    fleet, first = prepare(server, memory, tmp_path, workers=2, probe_devices=(0, 7, 8, 30, 59, 60))
    second = make(build(PEOPLE), replace(OPTIONS, rate_per_s=60, draw=1), first)
    second.save(tmp_path / "second.npz")
    try:
        connected(fleet)
        fleet.freeze_gc()
        for number, plan in enumerate((first, second)):
            if number:
                before = len(table(fleet.paths(), "operations"))
                fleet.follow(str(tmp_path / "second.npz"), f"step{number}")
            t0_ns = time.monotonic_ns() + 100_000_000
            fleet.begin(t0_ns)
            while not (live := fleet.poll(0.2)).finished:
                assert time.monotonic_ns() < t0_ns + 15_000_000_000
            assert live.achieved == live.offered == plan.count
    finally:
        paths = fleet.stop()
    assert not [what for what in live.counters if "bug" in what], live.counters
    assert fleet.counted is not None
    assert {name: count.violations for name, count in fleet.counted.checks.items()} == dict.fromkeys(
        PROMISES, 0
    )
    operations = [read_rows(path) for path in paths if path.name.startswith("operations")]
    assert sum(map(len, operations)) > before
    rows = np.concatenate([rows[rows["intended"] >= t0_ns] for rows in operations])
    planned = rows[(rows["plan"] != NONE) & (rows["attempt"] == 0)]
    assert np.sort(planned["plan"]).tolist() == list(range(second.count))
    assert not (planned["flags"][planned["op"] == Op.SEND] & 1).any(), "no message is taken for one of before"
    reads = planned[planned["op"] == Op.READ]
    left = second.reads["send"][reads["plan"] - second.first_read] < 0
    assert left.sum() == np.count_nonzero(second.reads["send"] < 0) > 5
    expected = second.reads["effective"][reads["plan"][left] - second.first_read] > 0
    found = reads["outcome"][left] == Outcome.OK
    assert (found == expected).mean() > 0.85, "what was unread before is read now"
    assert len(table(paths, "connections")) == USERS + 2 * 3, "nobody connected anew"


def test_probe_users_do_their_part_of_the_same_plan(
    server: MemoryServer, memory: Path, tmp_path: Path
) -> None:
    probes = (0, 7, 8, 30, 59, 60)
    fleet, plan = prepare(server, memory, tmp_path, workers=2, probe_devices=probes)
    try:
        assert connected(fleet).connected == USERS
        assert {name: len(pids) for name, pids in fleet.pids().items()} == {
            "master": 1, "worker": 2, "probe_users": 1,
        }  # fmt: skip
        fleet.freeze_gc()
        t0_ns = time.monotonic_ns() + 100_000_000
        fleet.begin(t0_ns)
        while not (live := fleet.poll(0.2)).finished:
            assert time.monotonic_ns() < t0_ns + 15_000_000_000
        assert fleet.final_read() == (build(PEOPLE).connected + 4, 0)
        pids = [pid for of_kind in fleet.pids().values() for pid in of_kind]
    finally:
        paths = fleet.stop()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not [what for what in live.counters if "bug" in what], live.counters
    assert live.achieved == live.offered == plan.count, "both kinds of users are counted"
    _check_operations(table(paths, "operations"), plan, t0_ns)
    _check_the_rest(paths, plan)
    _check_probe_users(paths, probes)


def _check_probe_users(paths: list[Path], probes: tuple[int, ...]) -> None:
    shards = [
        {name: table([path for path in paths if path.name.endswith(f"-{n}.rows")], name) for name in TABLES}
        for n in range(3)
    ]
    load = [device for device in range(USERS) if device not in probes]
    for shard, devices in zip(shards, (load[::2], load[1::2], probes), strict=True):
        own = shard["operations"]["device"]
        assert set(own[own != 0xFFFFFFFF].tolist()) == set(devices)
    *of_load, of_probes = shards
    for shard in of_load:
        assert not np.isin(shard["operations"]["op"], [Op.PROBE_READ, Op.PROBE_STATE]).any()
        assert not shard["operations"]["rx"].any()
        assert not shard["pushes"]["rx"].any()
    operations = of_probes["operations"]
    assert (operations["op"] == Op.PROBE_STATE).any(), "the probe pairs are timed here"
    timed = operations[(operations["outcome"] == Outcome.OK) & (operations["op"] >= Op.SEND)]
    assert (timed["rx"] == Rx.CLEAN).mean() > 0.5
    assert not operations["rx"][operations["sent"] == 0].any()
    assert (timed["acknowledged"] > timed["sent"]).all()
    assert (of_probes["pushes"]["rx"] == Rx.CLEAN).any()


def _check_counted(fleet: Fleet, paths: list[Path]) -> None:
    """The last counts have all that was recorded, by both workers."""
    assert fleet.counted is not None
    assert fleet.counted.sent == len(table(paths, "operations"))
    counts, syncs = fleet.counted.checks, table(paths, "operations")["op"] == Op.SYNC
    assert {name: count.violations for name, count in counts.items()} == dict.fromkeys(PROMISES, 0)
    assert counts["sync_pages"].eligible == syncs.sum()
    assert counts["push_order"].eligible == (table(paths, "pushes")["value"] > 0).sum()
    assert min(count.eligible for count in counts.values()) > 0


def _check_operations(operations: np.ndarray, plan: Plan, t0_ns: int) -> None:
    """Each planned operation has one row, at its time; what was read is what the plan said."""
    planned = operations[operations["plan"] != NONE]
    assert np.sort(planned["plan"]).tolist() == list(range(plan.count))
    op, at = plan.operations()
    assert (planned["op"] == op[planned["plan"]]).all()
    fixed = np.isin(planned["op"], [Op.SEND, Op.STATE, Op.SYNC, Op.PROBE_SEND])
    assert (planned["intended"][fixed] == t0_ns + at[planned["plan"][fixed]]).all()
    reads = planned[planned["op"] == Op.READ]
    late = reads["intended"] - t0_ns - at[reads["plan"]]
    assert (late >= 0).all()
    assert (np.abs(late // 1000 - reads["dependency_us"].astype(np.int64)) <= 1).all()
    read = reads["outcome"] == Outcome.OK
    assert (read == (plan.reads["effective"][reads["plan"] - plan.first_read] > 0)).mean() > 0.98
    assert (reads["flags"][read] & 1).mean() == 1.0, "every READ found something new at the server too"
    measured = (planned["intended"] >= t0_ns + 1_000_000_000) & (planned["op"] != Op.PROBE_READ)
    assert set(planned["phase"][measured]) == {Phase.MEASURE}
    cut_off = (operations["op"] == Op.DELIVERED) & (operations["intended"] > t0_ns + 4_000_000_000)
    assert set(operations["outcome"][~cut_off].tolist()) == {Outcome.OK, Outcome.ALREADY_READ}


def _check_workers(paths: list[Path]) -> None:
    for worker in range(2):
        rows = table([path for path in paths if path.name.endswith(f"-{worker}.rows")], "operations")
        own = rows["device"][rows["device"] != 0xFFFFFFFF]
        assert set(own.tolist()) == set(range(worker, USERS, 2))
        assert (rows["op_id"] == (worker << 40) + np.arange(len(rows))).all()


def _check_the_rest(paths: list[Path], plan: Plan) -> None:
    connections = table(paths, "connections")
    people = build(PEOPLE).connected
    assert np.bincount(connections["role"]).tolist() == [USERS, 2 * 3, people + 4]
    assert len(np.unique(connections["session"])) == len(connections)
    assert (connections["subscribed"][connections["role"] == 0] > 0).all()
    pushes = table(paths, "pushes")
    assert set(pushes["kind"].tolist()) == {PushKind.MESSAGE, PushKind.READ, PushKind.DELIVERED}
    operations, items = table(paths, "operations"), table(paths, "items")
    assert operations["items"].sum() == len(items)
    probes = operations[operations["op"] == Op.PROBE_STATE]
    assert len(probes) >= np.count_nonzero(plan.probes["offset_us"] < 0)
    seen = items[np.isin(items["op_id"], probes["op_id"])]
    assert len(seen) == len(probes)
    final = operations[(operations["op"] == Op.STATE) & (operations["phase"] == Phase.FINAL)]
    assert final["user"].tolist() != []
    assert len(set(final["user"].tolist())) == people + 4


@pytest.mark.parametrize(("victim", "number"), [("worker", 0), ("probe_users", 1), ("master", -1)])
def test_a_killed_process_is_named_and_its_rows_stay(
    server: MemoryServer, memory: Path, tmp_path: Path, victim: str, number: int
) -> None:
    fleet, _ = prepare(server, memory, tmp_path, workers=1, probe_devices=(1, 2))
    try:
        connected(fleet)
        fleet.begin(time.monotonic_ns())
        time.sleep(1)
        pid = fleet.pids()[victim][0]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerLost, match=f"{pid}.*SIGKILL") as lost:
            watch(fleet)
        assert (lost.value.worker, lost.value.pid) == (number, pid)
    finally:
        paths = fleet.stop()
    assert len(table(paths, "operations")) > USERS * 5
    assert fleet.stop() == paths, "twice does no harm"


def test_a_scenario_that_is_none_is_said_at_the_start(
    server: MemoryServer, memory: Path, tmp_path: Path
) -> None:
    fleet, _ = prepare(server, memory, tmp_path, workers=1)
    scenario = tmp_path / "empty.py"
    scenario.write_text("import locust\nclass Nobody(locust.User):\n    pass\n")
    fleet = Fleet(replace(fleet.config, scenario=str(scenario)), tmp_path, print)
    try:
        with pytest.raises(WorkerLost, match="ChatUser"):
            fleet.start()
    finally:
        fleet.stop()


TASKS = '''
"""What do tasks cost?"""
from bench.load.user import ChatUser, poisson, task

class Talker(ChatUser):
    arrivals = poisson(per_second=4)

    @task
    def talk(self):
        sent = self.client.send(int(self.conversations[0]), "hello")
        assert sent.reply.seq > 0
        state = self.client.state()
        assert state.reply.conversations
'''


def test_tasks_in_blocking_style(server: MemoryServer, memory: Path, tmp_path: Path) -> None:
    fleet, _ = prepare(server, memory, tmp_path, workers=1, probe_devices=(3, 4, 5))
    scenario = tmp_path / "talkers.py"
    scenario.write_text(TASKS)
    fleet = Fleet(replace(fleet.config, scenario=str(scenario)), tmp_path, print)
    try:
        connected(fleet)
        t0_ns = time.monotonic_ns()
        fleet.begin(t0_ns)
        while not (live := fleet.poll(0.2)).finished:
            assert time.monotonic_ns() < t0_ns + 15_000_000_000
    finally:
        paths = fleet.stop()
    assert not live.counters
    operations = table(paths, "operations")
    sends = operations[operations["op"] == Op.SEND]
    assert len(sends) == pytest.approx(USERS * 4 * 4, rel=0.15)
    assert (sends["outcome"] == Outcome.OK).all()
    states = operations[(operations["op"] == Op.STATE) & (operations["sent"] > t0_ns)]
    assert len(states) == len(sends)
    assert (sends["intended"] < sends["sent"]).all()


def test_the_runner_needs_no_locust() -> None:
    check = "import sys, bench.load.fleet; sys.exit(bool({'locust', 'gevent'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
