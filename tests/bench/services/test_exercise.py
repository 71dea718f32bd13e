from __future__ import annotations

import pytest

from bench.services import Stack
from bench.services.exercise import PIPELINE, TABLE, exercise, prepare
from bench.services.probe import MysqlUrl

pytestmark = pytest.mark.services


@pytest.mark.parametrize("name", ["mysql", "redis"])
def test_a_store_does_all_that_is_counted(stack: Stack, name: str) -> None:
    service = stack.services[name]
    prepare(service)
    done = exercise(service, warm_s=0.1, seconds=0.5)
    assert done.seconds == pytest.approx(0.5, abs=0.3)
    assert done.operations > 100
    assert 0 < done.cpu_s < 8 * done.seconds
    if name == "mysql":
        with MysqlUrl.parse(service.url).connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT SUM(n) FROM {TABLE}")
            ((total,),) = cursor.fetchall()
        assert total >= done.operations
        assert total % PIPELINE == 0, "every UPDATE of a text was carried out"
