"""Who may import whom (docs/architecture.md): a server that knows its judge cannot be trusted."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLIENTS = {"aiomysql", "asyncmy", "pymysql", "redis", "aiokafka", "hiredis"}
DRAWING = {"matplotlib", "pandas"}


@cache
def modules() -> list[tuple[str, set[str]]]:
    """Path and imports of every module of the project."""
    return [
        (path.relative_to(ROOT).as_posix(), imported(ast.parse(path.read_text())))
        for package in ("bench", "schemes", "scenarios")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]


def imported(tree: ast.AST) -> set[str]:
    """Full names of what a module imports, anywhere in it; `from a import b` counts as a and a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def broken(allowed: tuple[str, ...], forbidden: set[str]) -> list[str]:
    """Modules outside the allowed places (path prefixes) that import something forbidden."""
    found = []
    for path, names in modules():
        roots = {name.partition(".")[0] for name in names}
        if not path.startswith(allowed):
            found += [f"{path} imports {name}" for name in sorted(roots & forbidden)]
    return found


def test_schemes_never_import_the_harness() -> None:
    found = [
        f"{path} imports {name}"
        for path, names in modules()
        if path.startswith("schemes/")
        for name in names
        if name.partition(".")[0] in ("bench", "scenarios", "locust")
    ]
    assert found == []


def test_the_harness_knows_schemes_by_two_doors_only() -> None:
    doors = (
        "schemes",
        "schemes.SCHEMES",
        "schemes.Option",
        "schemes.Scheme",
        "schemes.__version__",
        "schemes.protocol",
        "schemes.ledger",
    )
    domain = ("schemes.read_state", "schemes.read_state.DIRECT", "schemes.read_state.GROUP")
    leaves = (
        "schemes.run_queue",
        "schemes.run_queue.RunQueue",
    )  # what the kernel says of a thread, for either side's loops
    found = [
        f"{path} imports {name}"
        for path, names in modules()
        if path.startswith(("bench/", "scenarios/"))
        for name in names
        if name.partition(".")[0] == "schemes"
        and name not in (*doors, *domain, *leaves)
        and not name.startswith(("schemes.protocol.", "schemes.ledger."))
    ]
    assert found == []


def test_only_the_load_imports_locust() -> None:
    """It patches the process that imports it."""
    assert broken(("bench/load/",), {"locust", "gevent"}) == []


def test_scenarios_import_only_the_load() -> None:
    found = [
        f"{path} imports {name}"
        for path, names in modules()
        if path.startswith("scenarios/")
        for name in names
        if name.startswith("bench") and not name.startswith("bench.load")
    ]
    assert found == []


def test_database_clients_stay_in_their_rooms() -> None:
    assert broken(("schemes/stores/", "bench/services/"), CLIENTS) == []


def test_drawing_stays_in_the_report() -> None:
    assert broken(("bench/report/",), DRAWING) == []


def test_pure_modules_do_no_io() -> None:
    forbidden = {"asyncio", "socket", "subprocess", "threading", "time", "requests", "urllib", "gevent"}
    pure = (
        "schemes/protocol.py", "schemes/read_state.py", "schemes/server/session.py", "bench/plan.py",
        "bench/population.py", "bench/record.py", "bench/options.py", "bench/alike.py", "bench/compare.py",
        "bench/doctor/judge.py", "bench/metrics/", "bench/gate/",
        "bench/checks/",
    )  # fmt: skip
    found = [
        f"{path} imports {name}"
        for path, names in modules()
        if path.startswith(pure)
        for name in sorted({name.partition(".")[0] for name in names} & forbidden)
    ]
    assert found == []


def test_the_rules_see_what_they_forbid() -> None:
    tree = ast.parse("def f():\n    from bench.runner import run\n    import locust.stats\n")
    assert imported(tree) == {"bench.runner", "bench.runner.run", "locust.stats"}
