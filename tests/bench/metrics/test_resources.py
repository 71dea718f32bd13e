"""CPU, memory and counters from known samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics import resources
from bench.metrics.history import History
from bench.metrics.operations import summarise_all
from bench.summary import summarize
from tests.bench.synthetic import COUNTERS, START, S, build


def test_cores_are_those_that_were_used(tmp_path: Path) -> None:
    cores = {"generator": 0.25, "server": 0.75, "mysql": 0.5}
    folder, world = build(tmp_path, cores=cores, measure_s=20, drain_s=5, send_per_s=10)
    used = resources.summarise_resources(History(folder))
    for name, expected in cores.items():
        assert used[name]["cpu_cores_mean"] == pytest.approx(expected)
        assert used[name]["cpu_cores_max"] == pytest.approx(expected)
        assert used[name]["cpu_s"] == pytest.approx(expected * 25)
        assert used[name]["cpu_s_per_1000_messages"] == pytest.approx(expected * 25 / 200 * 1000)
    assert used["server"]["runqueue_share"] == pytest.approx(0.01)
    assert used["server"]["rss_bytes_max"] == 50e6 + 1e5 * (world.drain_end - START) // S
    assert set(used) == {*cores, "harness", "machine"}


def test_counters_grow_by_what_the_window_saw(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, scheme="queue", measure_s=20)
    used = resources.summarise_resources(History(folder))
    assert used["mysql"]["counters"] == {name: growth * 20 for name, growth in COUNTERS["mysql"].items()}
    assert used["kafka"]["gauges_max"] == {"lag_events": 17}
    assert "counters" not in used["kafka"]


def test_a_restart_is_no_negative_use() -> None:
    _, value = resources.growth(np.arange(4.0), np.array([5.0, 6.0, 0.5, 1.0]))
    assert value.tolist() == [0, 1, 1, 1.5]


def test_the_busiest_second_stands_out(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    cpu = 0.0
    samples = []
    for second in range(40):
        t = START + second * S
        cpu += 0.9 if t == world.measure + 3 * S else 0.1
        samples.append((t, "server", "cpu_s", cpu))
    folder.write_timeseries(samples)
    used = resources.summarise_resources(History(folder))["server"]
    assert used["cpu_cores_max"] == pytest.approx(0.9)
    assert used["cpu_cores_mean"] == pytest.approx((0.1 * 19 + 0.9) / 20)


def test_parts_are_added_up_and_each_worker_is_known(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    parts = [
        (START + second * S, f"generator/{worker}", "cpu_s", second * cores)
        for second in range(40)
        for worker, cores in enumerate((0.2, 0.6))
    ]
    folder.write_timeseries(parts)
    history = History(folder)
    assert resources.summarise_resources(history)["generator"]["cpu_cores_mean"] == pytest.approx(0.8)
    assert resources.by_worker(history) == pytest.approx([0.2, 0.6])


def test_the_probe_users_process_is_a_part_but_no_worker(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    used = {"0": 0.2, "1": 0.6, "master": 0.05, "probe_users": 0.1}
    folder.write_timeseries(
        (START + second * S, f"generator/{part}", "cpu_s", second * cores)
        for second in range(40)
        for part, cores in used.items()
    )
    history = History(folder)
    assert resources.summarise_resources(history)["generator"]["cpu_cores_mean"] == pytest.approx(0.95)
    assert resources.by_worker(history) == pytest.approx([0.2, 0.6])
    assert resources.cores_of(history, "generator/probe_users") == pytest.approx(0.1)


def test_work_per_operation(tmp_path: Path) -> None:
    folder, world = build(tmp_path, scheme="redis", measure_s=20)
    history = History(folder)
    done, used = summarise_all(history), resources.summarise_resources(history)
    states = resources.states_read(history)
    work = resources.store_work(used, done, states)
    ok = sum(figures["ok"] for figures in done.values())
    assert work["cache_hit_ratio"] == 0.9
    assert work["mysql_statements_per_operation"] == pytest.approx((300 + 80 + 120) * 20 / ok, abs=1e-4)
    assert work["mysql_commits_per_operation"] == pytest.approx(100 * 20 / ok, abs=1e-4)
    inside = {
        row["op_id"]
        for row in world.operations
        if row["op"].name == "STATE" and world.measure <= row["intended"] < world.measure_end
    }
    assert states == sum(item["op_id"] in inside for item in world.items) > 0
    writes = sum(done[op]["ok"] for op in ("SEND", "READ", "DELIVERED"))
    assert work["key_reads_per_key_write"] == pytest.approx(states / writes, abs=1e-4)


def test_a_scheme_without_a_cache_has_no_hit_ratio(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, scheme="memory")
    history = History(folder)
    work = resources.store_work(resources.summarise_resources(history), summarise_all(history), 0)
    assert work["cache_hit_ratio"] is work["mysql_statements_per_operation"] is None


def test_no_samples_at_all(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    folder.write_timeseries([])
    history = History(folder)
    assert resources.summarise_resources(history) == {}
    assert resources.by_worker(history) == []
    assert resources.rss_before_connecting(history) is None


def test_memory_per_user_counts_from_before_connecting(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    held = [(START - S, 40e6), (START - S // 2, 70e6), (START + S, 75e6), (world.measure, 88e6)]
    folder.write_timeseries((t, "generator", "rss_bytes", value) for t, value in held)
    history = History(folder)
    assert resources.rss_before_connecting(history) == 70e6
    assert summarize(folder)["generator"]["bytes_per_user"] == 18e6 // 60
