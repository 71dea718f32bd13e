"""The picture of a finding: what is where, in which colour, and that it is sound SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from bench.report.stretches import Span, axis, span
from bench.report.timeline import RIGHT, TONES, WIDTH, timeline
from bench.results import Json
from tests.bench.report.findings_made_up import (
    FILLER,
    HELD,
    SEED,
    STALE,
    STALE_FILL,
    WRITE,
    finding,
    record,
)


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def bars(svg: str, tone: str) -> list[dict[str, str]]:
    """The bars of a tone, without the band that shows the time of a write."""
    return [
        element.attrib
        for element in ET.fromstring(svg).iter("rect")
        if element.attrib["fill"] == TONES[tone] and "stroke" in element.attrib
    ]


def test_a_stale_fill_names_both_operations_at_fault_and_why() -> None:
    said = words(timeline(STALE_FILL))
    assert (
        "STATE (shows 7), suspected: read MySQL before the commit, filled the cache after the delete" in said
    )
    assert "READ up to 9: commits, then deletes the cached value" in said
    assert "STATE shows 7  ✗ should show 9 for 41.2 s already" in said
    assert "server 90 ms: MySQL 8.1 ms, Redis 1.2 ms" in said
    assert {"session 0x1b", "session 0x1a", "session 0x1c (final read)"} <= set(said)


def test_the_fill_is_drawn_around_the_write_and_the_pause_is_cut_out() -> None:
    svg = timeline(STALE_FILL)
    (fill,), (write,), (stale,) = (bars(svg, tone) for tone in ("filler", "evidence", "accused"))

    def ends(bar: dict[str, str]) -> tuple[float, float]:
        return float(bar["x"]), float(bar["x"]) + float(bar["width"])

    assert ends(fill)[0] < ends(write)[0] < ends(write)[1] < ends(fill)[1] < ends(stale)[0]
    assert "stroke-dasharray" in fill
    assert "stroke-dasharray" not in write
    assert {"41.1 s", "cut out", "each stretch to its own scale"} <= set(words(svg))


@pytest.mark.parametrize(
    "records",
    [
        (FILLER, WRITE, STALE),
        (SEED, STALE),
        (WRITE, HELD),
        (record("write", "SEND", 9, 2.0, None), STALE),
        (FILLER, record("write", "PROBE_READ", 9, 1.0, 0.01), WRITE, STALE, HELD),
        (
            {"part": "push", "op": "push READ", "op_id": None, "value": 8, "received_s": 3.0, "user_id": "u3",
             "session": 9, "device": 1},
            {"part": "push", "op": "push READ", "op_id": None, "value": 6, "received_s": 3.0, "user_id": "u3",
             "session": 9, "device": 1},
        ),
    ],
)  # fmt: skip
def test_every_shape_of_finding_is_sound_svg_inside_its_frame(records: tuple[Json, ...]) -> None:
    svg = timeline(finding(*records))
    root = ET.fromstring(svg)
    height = float(root.attrib["viewBox"].split()[3])
    for element in root:
        for name in ("x", "x1", "x2"):
            assert 0 <= float(element.attrib.get(name, 0)) <= WIDTH
        for name in ("y", "y1", "y2"):
            assert 0 <= float(element.attrib.get(name, 0)) <= height
        assert float(element.attrib.get("width", 1)) > 0
    assert "&lt;" in svg  # the sentence is escaped
    assert "http" not in svg


def test_what_nobody_answered_is_open_to_the_right() -> None:
    svg = timeline(finding(record("write", "READ", 9, 2.0, None), STALE))
    (bar,) = bars(svg, "evidence")
    assert "stroke-dasharray" in bar
    assert "READ up to 9, never answered" in words(svg)


def test_without_a_time_there_is_no_picture() -> None:
    assert timeline(finding(SEED)) == ""


# --- the axis -----------------------------------------------------------------------------------------------


def test_what_lies_close_together_is_one_stretch() -> None:
    one = axis([Span(1.0, 1.1), Span(1.2, 1.25), Span(1.02, 1.03)], 0, 100, 10)
    assert len(one.stretches) == 1
    assert one.pauses() == []
    assert 0 < one.x(1.0) < one.x(1.1) < one.x(1.2) < one.x(1.25) < 100


def test_long_pauses_are_cut_and_stretches_are_as_wide_as_they_have_spans() -> None:
    two = axis([Span(1.0, 1.1), Span(1.05, 1.06), Span(60.0, 60.1)], 0, 100, 10)
    first, second = two.stretches
    assert (first.left, second.right) == (0, 100)
    assert (first.right - first.left) == pytest.approx(2 * (second.right - second.left))
    ((left, right, cut),) = two.pauses()
    assert right - left == pytest.approx(10)
    assert cut == pytest.approx(58.9, abs=0.1)


@pytest.mark.parametrize("length", [0.0, 1e-6, 0.003, 0.1, 7.0, 400.0])
def test_ticks_are_few_round_and_inside(length: float) -> None:
    (one,) = axis([Span(12.3456, 12.3456 + length)], 0, RIGHT, 10).stretches
    ticks = one.ticks()
    assert 2 <= len(ticks) <= 6
    assert all(one.begin <= tick <= one.end for tick in ticks)
    apart = {b - a for a, b in pairwise(ticks)}
    assert all(re.fullmatch(r"[125]e[+-]\d\d", f"{step:.0e}") for step in apart)
    assert max(apart) == pytest.approx(min(apart))


def test_a_span_is_from_sent_to_acknowledged_or_a_moment() -> None:
    assert span(WRITE) == Span(2.04, 2.05)
    assert span(HELD) == Span(60.0, 60.0)
    assert span(record("write", "READ", 9, 2.0, None)) == Span(2.0, 2.0, open=True)
    assert span(SEED) is None
