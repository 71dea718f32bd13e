"""Who is bound to which core and who goes first, by what is asked of the kernel."""

from __future__ import annotations

import os

import pytest

from bench import cores

PIDS = {"master": [1], "worker": [2, 3], "probe_users": [4]}
OTHERS = {"server": [5], "mysql": [6]}


class Kernel:
    """What each process was told; a process has one thread, of its own number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, may: bool = True) -> None:
        self.cores: dict[int, set[int]] = {}
        self.priority: dict[int, tuple[int, int]] = {}
        self._may = may
        monkeypatch.setattr(cores, "_threads", list)
        monkeypatch.setattr(os, "sched_setaffinity", self.cores.__setitem__)
        monkeypatch.setattr(os, "sched_setscheduler", self._schedule)

    def _schedule(self, pid: int, policy: int, param: os.sched_param) -> None:
        if not self._may:
            raise PermissionError
        self.priority[pid] = (policy, param.sched_priority)


def test_each_load_process_is_a_part_of_the_generator() -> None:
    parts = cores.parts_of_generator(PIDS)
    assert parts == {
        "generator/0": [2], "generator/1": [3], "generator/master": [1], "generator/probe_users": [4],
    }  # fmt: skip
    assert cores.parts_of_generator({"master": [], "worker": []}) == {}


def test_on_two_cores_probe_users_go_before_load_users_before_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, components = Kernel(monkeypatch), cores.parts_of_generator(PIDS) | OTHERS
    assert "first in line" in cores.arrange(components, 2)
    assert kernel.cores == {**{pid: {0} for pid in (1, 2, 3, 4)}, 5: {0, 1}, 6: {0, 1}}
    assert kernel.priority == {
        1: (os.SCHED_RR, 1), 2: (os.SCHED_RR, 1), 3: (os.SCHED_RR, 1), 4: (os.SCHED_RR, 2),
    }  # fmt: skip
    cores.release(components, 2)
    assert set(kernel.priority.values()) == {(os.SCHED_OTHER, 0)}
    assert set(map(len, kernel.cores.values())) == {2}


def test_on_four_cores_the_generator_has_one_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    cores.arrange(cores.parts_of_generator(PIDS) | OTHERS, 4)
    assert kernel.cores == {**{pid: {0} for pid in (1, 2, 3, 4)}, 5: {1, 2, 3}, 6: {1, 2, 3}}
    assert kernel.priority == {}


def test_who_may_not_go_first_is_not_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(monkeypatch, may=False)
    assert "first in line" not in cores.arrange({"generator": [1], "server": [2]}, 2)


def test_who_was_preferred_is_like_all_others_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    assert cores.prefer([1, 2])
    assert set(kernel.priority.values()) == {(os.SCHED_RR, 1)}
    cores.prefer_no_more([1, 2])
    assert set(kernel.priority.values()) == {(os.SCHED_OTHER, 0)}
