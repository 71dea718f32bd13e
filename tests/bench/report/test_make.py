"""Everything that a report consists of, in the folder of a run and of a comparison."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench import report, results, summary
from bench.compare import UnlikeError
from bench.results import ResultsError, RunFolder
from tests.bench.report.conftest import Compared, Made
from tests.bench.synthetic import build

pytestmark = pytest.mark.slow  # draws whole reports

CHARTS = {
    "percentile-spectrum",
    "latency-heat-map",
    "not-yet-visible",
    "t-visibility",
    "cumulative-flow",
    "cpu-per-message",
    "time-by-stage",
}
VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.fetched += [v for k, v in given.items() if k in ("src", "srcset") and v]
        if tag in ("link", "script", "iframe", "object"):
            self.wrong.append(tag)
        if tag in ("use", "image"):
            self.fetched += [
                v for k, v in given.items() if k.endswith("href") and v and not v.startswith("#")
            ]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def parse(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


@pytest.mark.parametrize("which", ["reported", "compared"])
def test_the_page_is_one_file_that_needs_nothing_else(which: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(which)
    path = (made.path if which == "reported" else made.out) / "report.html"
    page = parse(path)
    assert page.wrong == []
    assert page.open == []
    assert all(source.startswith("data:") for source in page.fetched)
    style = path.read_text().partition("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert "url(" not in style


def test_every_link_of_the_page_leads_to_a_file(reported: RunFolder) -> None:
    text = (reported.path / "report.html").read_text()
    links = set(re.findall(r'<a href="([^"#]+)"', text))
    assert links
    for link in links:
        assert list(reported.path.glob(link)), link


def test_a_run_has_all_files(reported: RunFolder) -> None:
    for name in ("summary.json", "summary.csv", "summary.md", "report.html", "findings.jsonl"):
        assert (reported.path / name).stat().st_size > 0 or name == "findings.jsonl"
    assert {path.stem for path in reported.charts.glob("*.svg")} == CHARTS
    assert {path.stem for path in reported.charts.glob("*.png")} == CHARTS


def test_charts_are_pictures_that_others_can_read(reported: RunFolder) -> None:
    for path in reported.charts.glob("*.svg"):
        assert ET.fromstring(path.read_text()).tag.endswith("svg")
        assert path.stat().st_size < 1_000_000
    for path in reported.charts.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_every_chart_says_load_n_blocks_and_durability(reported: RunFolder) -> None:
    for path in reported.charts.glob("*.svg"):
        drawn = ET.fromstring(path.read_text()).iter()
        text = " ".join(element.text or "" for element in drawn if element.tag.endswith("text"))
        assert "60.0 SEND/s (×12.5 natural)" in text
        assert "1 block of 40 s" in text
        assert "a READ's ACK means: on disk" in text


def test_a_report_made_again_is_the_same(redis: Made, reported: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / redis.folder.path.name)
    shutil.copytree(redis.folder.path, copy.path)
    report.make(copy)
    for name in ("report.html", "summary.json", "summary.md", "charts/percentile-spectrum.svg"):
        assert (copy.path / name).read_bytes() == (reported.path / name).read_bytes()


def test_a_run_that_never_measured_still_gets_its_report(tmp_path: Path) -> None:
    built, _ = build(tmp_path, people=16, measure_s=3)
    folder = RunFolder.create(
        tmp_path, scheme="db", scenario="steady_chat", now=datetime(2025, 1, 1, tzinfo=UTC)
    )
    ended = {"how": "not_started", "phase": "setup", "message": "mysqld is not there"}
    folder.write_manifest(
        built.manifest() | {"run_id": folder.run_id, "window": {}, "ended": ended, "final": {}}
    )
    report.make(folder)
    assert "mysqld is not there" in (folder.path / "report.html").read_text()
    assert not list(folder.charts.iterdir())


def test_a_damaged_table_is_named(redis: Made, tmp_path: Path) -> None:
    copy = tmp_path / redis.folder.path.name
    shutil.copytree(redis.folder.path, copy)
    (copy / "operations-0.parquet").write_bytes(b"PAR1 this is no Parquet file")
    with pytest.raises(ResultsError, match=r"operations-0\.parquet is damaged"):
        report.make(RunFolder(copy))


def test_importing_the_package_draws_nothing() -> None:
    program = "import sys, bench.report, bench.report.terminal; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- comparisons --------------------------------------------------------------------------------------------


def test_a_comparison_has_all_files(compared: Compared) -> None:
    assert json.loads((compared.out / "comparison.json").read_text()) == compared.content
    assert {path.stem for path in (compared.out / "charts").glob("*.svg")} == CHARTS
    for name in ("summary.md", "report.html"):
        assert "redis/flags" in (compared.out / name).read_text()


def test_arms_are_in_one_order_whatever_was_typed(compared: Compared) -> None:
    assert [arm["label"] for arm in compared.content["arms"]] == ["control", "redis/flags", "queue/flags"]


def test_unlike_runs_are_refused_or_marked_everywhere(control: Made, root: Path, tmp_path: Path) -> None:
    other, _ = build(tmp_path, seed=9, measure_s=20)
    summary.write(other)
    out = results.create_comparison(tmp_path, now=datetime(2025, 3, 3, tzinfo=UTC))
    with pytest.raises(UnlikeError, match="plan_sha256"):
        report.compare_runs([control.folder, other], out)
    assert not (out / "comparison.json").exists()
    report.compare_runs([control.folder, other], out, allow_unlike=True)
    for path in (out / "summary.md", out / "report.html", *(out / "charts").glob("*.svg")):
        assert "UNLIKE RUNS" in path.read_text(), path.name
