"""Prints the table of anomalies at the end of the test run."""

from __future__ import annotations

import pytest

from tests.anomalies.rows import ALL
from tests.anomalies.table import Outcome, lines

_outcomes: dict[str, Outcome] = {}


@pytest.fixture(scope="session")
def outcomes() -> dict[str, Outcome]:
    """What was seen of each row, by its name."""
    return _outcomes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _outcomes:
        terminalreporter.section("anomalies")
        for line in lines(ALL, _outcomes):
            terminalreporter.write_line(line)
