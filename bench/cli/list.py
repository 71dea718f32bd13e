"""`bench list schemes|scenarios|runs`: what can be run, and what was."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any, Final

import click

from bench.cli.choosing import out_option
from schemes import SCHEMES, Option, Scheme

SCENARIOS: Final = Path(__file__).resolve().parents[2] / "scenarios"


@click.group(name="list")
def command() -> None:
    """List schemes, scenarios or runs."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def schemes(as_json: bool) -> None:
    """What can be benchmarked: each scheme, what it needs, its options and promises."""
    if as_json:
        click.echo(json.dumps({name: _scheme(scheme) for name, scheme in SCHEMES.items()}, indent=1))
        return
    for name, scheme in SCHEMES.items():
        needs = ", ".join(sorted(scheme.needs)) or "nothing"
        click.echo(f"{name:<8} {scheme.title}")
        click.echo(f"{'':<8} needs {needs}; promises {', '.join(scheme.promises)}")
        for option_name, option in scheme.options.items():
            _print_option(option_name, option)


def _print_option(name: str, option: Option) -> None:
    values = "|".join(f"{value}*" if value == option.default else value for value in option.values)
    click.echo(f"{'':<8} --{name} {values or option.default}: {option.help}")
    for value, promise in option.promises.items():
        click.echo(f"{'':<12} {value}: {promise}")
    for verb, changes in (("promises too", option.adds), ("does not promise", option.takes)):
        for value, names in changes.items():
            click.echo(f"{'':<12} {value} {verb}: {', '.join(names)}")


def _scheme(scheme: Scheme) -> dict[str, Any]:
    return {
        "title": scheme.title,
        "needs": sorted(scheme.needs),
        "promises": scheme.promises,
        "options": {
            name: {
                "values": option.values,
                "default": option.default,
                "help": option.help,
                "promises": dict(option.promises),
                "adds": dict(option.adds),
                "takes": dict(option.takes),
            }
            for name, option in scheme.options.items()
        },
    }


@command.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def scenarios(as_json: bool) -> None:
    """The questions that can be asked: each scenario and the first line of its docstring."""
    asked = questions(SCENARIOS)
    if as_json:
        click.echo(json.dumps(asked, indent=1))
        return
    for name, question in asked.items():
        click.echo(f"{name:<20} {question}")


@command.command()
@out_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def runs(root: Path, as_json: bool) -> None:
    """The runs in the results folder, newest first."""
    from bench import results

    described = [_described(folder) for folder in results.runs(root)]
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    if not described:
        click.echo(f"No runs in {root}/ yet; bench run makes the first.", err=True)
    for run in described:
        click.echo(
            f"{run['run_id']:<54} {run['users'] or '?':>6} users  {run['timing'] or run['ended']:<13}"
            f"{run['correctness'] or '':<8}{run['label'] or ''}"
        )


def questions(folder: Path) -> dict[str, str]:
    """Scenario -> first line of its docstring, read without importing anything."""
    return {
        path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        for path in sorted(folder.glob("*.py"))
        if not path.stem.startswith("_")
    }


def _described(folder: Any) -> dict[str, Any]:
    """One run in a line.  One that can't be read is still listed, with the reason in `ended`."""
    from bench.results import ResultsError

    try:
        manifest = folder.manifest()
    except ResultsError:
        return dict.fromkeys(("users", "timing", "correctness", "label")) | {
            "run_id": folder.run_id,
            "ended": "unreadable",
        }
    try:
        verdict = folder.summary()["verdict"]
    except (ResultsError, KeyError):
        verdict = {}
    return {
        "run_id": folder.run_id,
        "users": manifest.get("run", {}).get("users"),
        "ended": manifest.get("ended", {}).get("how"),
        "timing": verdict.get("status"),
        "correctness": verdict.get("correctness"),
        "label": manifest.get("label"),
    }
