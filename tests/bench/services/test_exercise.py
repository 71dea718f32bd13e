from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.services import Stack
from bench.services.exercise import PIPELINE, TABLE, exercise, prepare
from bench.services.probe import MysqlUrl

pytestmark = pytest.mark.services


def policies(pids: list[int]) -> set[int]:
    threads = (int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return {os.sched_getscheduler(thread) for thread in threads}


@pytest.mark.parametrize("name", ["mysql", "redis"])
def test_a_store_does_all_that_is_counted(stack: Stack, name: str) -> None:
    service = stack.services[name]
    prepare(service)
    done = exercise(service, warm_s=0.1, seconds=0.5)
    assert done.seconds == pytest.approx(0.5, abs=0.3)
    assert done.operations > 100
    assert 0 < done.cpu_s < 8 * done.seconds
    assert policies([os.getpid(), *service.pids]) == {os.SCHED_OTHER}, "nobody stays first in line"
    if name == "mysql":
        with MysqlUrl.parse(service.url).connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT SUM(n) FROM {TABLE}")
            ((total,),) = cursor.fetchall()
        assert total >= done.operations
        assert total % PIPELINE == 0, "every UPDATE of a text was carried out"
