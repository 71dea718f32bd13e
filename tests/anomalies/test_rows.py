"""Every row of the table of anomalies on real services: red on the broken variant, green on the fixed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.services import Stack
from tests.anomalies import judging
from tests.anomalies.driver import Case
from tests.anomalies.queue_case import QueueCase
from tests.anomalies.rows import ALL
from tests.anomalies.table import Outcome, Row, Variant

pytestmark = pytest.mark.services

CASES: dict[str, type[Case]] = {"queue": QueueCase}
"""By scheme, where servers in this process are not enough."""


async def run(row: Row, variant: Variant, stack: Stack, root: Path, *, broken: bool) -> str:
    """Empty if the variant shows what it should, else why not.  Raises whatever kept the row from being
    run."""
    with pytest.MonkeyPatch.context() as patch:
        case = CASES.get(row.scheme, Case)(row, variant, stack, patch)
        try:
            await case.start()
            await row.recipe(case)
            folder = await case.finish(root)
            return await judging.red(case, folder) if broken else judging.green(case, folder)
        finally:
            await case.stop()


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
async def test_red_where_it_is_broken_and_green_where_it_is_fixed(
    row: Row, stack: Stack, tmp_path: Path, outcomes: dict[str, Outcome]
) -> None:
    outcome = outcomes[row.name] = Outcome()
    why = await run(row, row.broken, stack, tmp_path / "broken", broken=True)
    outcome.red = "no" if why else "red"
    assert not why, f"{row.broken.label} is not red: {why}"
    why = await run(row, row.fixed, stack, tmp_path / "fixed", broken=False)
    outcome.green = "no" if why else "green"
    assert not why, f"{row.fixed.label} is not green: {why}"
