from click.testing import CliRunner

from bench.cli.services import command


def test_status_of_nothing() -> None:
    result = CliRunner().invoke(command, ["status"])
    assert (result.exit_code, result.output) == (3, "no stack is up\n")


def test_down_of_nothing_is_no_error() -> None:
    result = CliRunner().invoke(command, ["down"])
    assert (result.exit_code, result.output) == (0, "no stack was up\n")


def test_a_service_that_does_not_exist_is_a_usage_error() -> None:
    result = CliRunner().invoke(command, ["up", "--needs", "mysql,mongo"])
    assert result.exit_code == 2
    assert "'mysql,mongo' was given; it takes any of mysql, redis, kafka" in result.output
