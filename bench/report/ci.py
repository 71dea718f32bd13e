"""A check for the machines of a CI: JUnit XML, GitHub's annotations, and the JSON of two dashboards.  Pure.

- JUnit: as Jenkins and GitLab read it, and as strict as the schema of Apache Ant's report wants it
  (https://github.com/windyroad/JUnit-Schema); what cannot be told is an error, never a pass.
- GitHub: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
- github-action-benchmark: `customSmallerIsBetter` and `customBiggerIsBetter`, a list of {name, unit, value,
  range, extra}
- Bencher: its Metric Format, {benchmark: {measure: {value, lower_value, upper_value}}}"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

from bench.report import gate
from bench.results import Json

UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "us": ("ms", 1e-3),
    "s": ("s", 1.0),
    "bytes": ("MiB", 2**-20),
    "share": ("%", 100.0),
    "count": ("", 1.0),
    "number": ("", 1.0),
}


def _deciding(content: Json) -> list[Json]:
    change = content["change"]
    return [row for row in change["rows"] if row["deciding"]] if change is not None else []


# --- JUnit ------------------------------------------------------------------------------------------------


def junit(content: Json, made_at: datetime, host: str) -> str:
    """A case per figure that decides, objective and promise, and one for whether there is an answer at
    all."""
    name = f"bench check {content['scheme'] or ''}".strip()
    cases = [_whole(content)]
    cases += [_figure(row) for row in _deciding(content)]
    cases += [_objective(each) for each in content["objectives"]]
    cases += [_promise(each) for each in content["promises"]]
    counts = {kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "error")}
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "id": "0",
            "package": "bench.check",
            "name": name,
            "timestamp": f"{made_at:%Y-%m-%dT%H:%M:%S}",
            "hostname": host or "localhost",
            "tests": str(len(cases)),
            "failures": counts["failure"],
            "errors": counts["error"],
            "skipped": "0",
            "time": "0",
        },
    )
    suite.append(_properties(content))
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = _xml("\n".join(_said(content)))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _properties(content: Json) -> ET.Element:
    verdict = content["verdict"]
    named = {
        "command": content["command"],
        "baseline": (content["baseline"] or {}).get("name"),
        **{name: verdict[name] for name in ("status", "correctness", "outcome", "exit_code")},
    }
    found = ET.Element("properties")
    for name, value in named.items():
        if value is not None:
            ET.SubElement(found, "property", {"name": name, "value": _xml(str(value))})
    return found


def _said(content: Json) -> list[str]:
    """Every reason, a line each."""
    return [reason["message"] for reason in content["verdict"]["reasons"]] or [gate.WORDS["PASS"]]


def _case(kind: str, name: str) -> ET.Element:
    return ET.Element("testcase", {"classname": f"bench.check.{kind}", "name": name, "time": "0"})


def _add(case: ET.Element, tag: str, kind: str, message: str) -> ET.Element:
    found = ET.SubElement(case, tag, {"type": kind, "message": _xml(message)})
    found.text = _xml(message)
    return case


def _xml(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]", "?", text)


def _whole(content: Json) -> ET.Element:
    """Not of what has a case of its own."""
    case = _case("verdict", "there is an answer")
    unclear = [reason for reason in content["verdict"]["reasons"] if reason["exit_code"] in (3, 4, 5)]
    if unclear:
        _add(case, "error", content["verdict"]["status"], "\n".join(r["message"] for r in unclear))
    return case


def _figure(row: Json) -> ET.Element:
    case = _case("figure", f"{row['metric']} no worse than {row['tolerance']:.0%}")
    if row["passes"] is False:
        return _add(case, "failure", "regression", f"{gate.title(row)}: {_moved(row)}")
    if row["passes"] is None:
        return _add(case, "error", "inconclusive", row["why"])
    return case


def _moved(row: Json) -> str:
    return (
        f"{gate.value(row, 0)} -> {gate.value(row, 1)}, {gate.ratio(row)}, tolerance {row['tolerance']:.0%}"
    )


def _objective(each: Json) -> ET.Element:
    case = _case("objective", each["text"])
    said = f"held in {each['holds_in']} of {each['runs']} runs"
    if each["passes"] is None:
        return _add(case, "error", "inconclusive", "it cannot be told")
    return case if each["passes"] else _add(case, "failure", "objective", said)


def _promise(each: Json) -> ET.Element:
    case = _case("promise", f"{each['promise']}: {each['name']}")
    if each["broken_in"]:
        said = f"{each['violations']} violations in {', '.join(each['broken_in'])}"
        return _add(case, "failure", "violation", said)
    return case


# --- GitHub -----------------------------------------------------------------------------------------------


def workflow_commands(content: Json) -> list[str]:
    """Workflow commands, a line each: an error per reason that fails, a warning per one that cannot be told,
    a notice if all is well."""
    reasons = content["verdict"]["reasons"]
    if not reasons:
        return [_command("notice", "bench check", gate.WORDS["PASS"])]
    return [
        _command("warning" if reason["exit_code"] == 5 else "error", "bench check", reason["message"])
        for reason in reasons
    ]


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={title}::{escaped(message)}"


def escaped(message: str) -> str:
    """As GitHub wants the message of a workflow command: a line feed would end it."""
    return message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


# --- dashboards -------------------------------------------------------------------------------------------


def action_benchmark(content: Json, *, bigger: bool) -> list[dict[str, Any]]:
    """For github-action-benchmark: the candidate's figures of which less is better, or (`bigger`) more."""
    found = []
    for row in _of_candidate(content):
        if (row["more_is"] == "better") == bigger:
            unit, scale = UNITS[row["unit"]]
            value, both = row["values"][1] * scale, row["intervals"][1]
            entry: dict[str, Any] = {"name": _name(content, row), "unit": unit, "value": value}
            if both is not None and both[1] is not None:
                entry["range"] = f"± {scale * (both[1] - both[0]) / 2:.4g}"
            entry["extra"] = f"{row['blocks'][1]} runs; {gate.how(content['change'])}"
            found.append(entry)
    return found


def bencher(content: Json) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: a benchmark with the candidate's figures as measures."""
    measures = {}
    for row in _of_candidate(content):
        _, scale = UNITS[row["unit"]]
        measure = {"value": row["values"][1] * scale}
        both = row["intervals"][1] or (None, None)
        for name, end in zip(("lower_value", "upper_value"), both, strict=True):
            if end is not None:
                measure[name] = end * scale
        measures[slug(row)] = measure
    return {f"{content['scenario']}/{content['scheme']}": measures} if measures else {}


def _of_candidate(content: Json) -> list[Json]:
    """What is known of the candidate; where nothing was compared, nothing."""
    change = content["change"]
    return [row for row in change["rows"] if row["values"][1] is not None] if change is not None else []


def _name(content: Json, row: Json) -> str:
    return f"{content['scenario']}/{content['scheme']} {row['metric']}"


def slug(row: Json) -> str:
    """read-p99-ms: Bencher's measures are slugs, and have one unit for ever."""
    unit, _ = UNITS[row["unit"]]
    text = f"{row['metric']} {unit.replace('%', 'percent')}".lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")
