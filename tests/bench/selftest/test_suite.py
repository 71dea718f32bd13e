"""When an honest run is made again, and when what it said stands."""

import pytest

from bench.selftest.suite import TRIES, Clean, says_enough


def run(*, findings: int = 0, unknown: tuple[str, ...] = ()) -> Clean:
    return Clean(1, "db", True, 5, 1_000, findings, unknown)


GOOD, MUTE, ACCUSED = run(), run(unknown=("converged",)), run(findings=1)


@pytest.mark.parametrize(
    ("tries", "enough"),
    [
        ([], False),
        ([GOOD], True),
        ([MUTE], False),
        ([MUTE, GOOD], True),
        ([MUTE] * TRIES, True),
        ([ACCUSED], True),
        ([run(findings=1, unknown=("converged",))], True),
    ],
)
def test_only_a_run_that_accused_nobody_and_could_not_say_everything_is_made_again(
    tries: list[Clean], enough: bool
) -> None:
    assert says_enough(tries) is enough
