"""One finding as a small space-time diagram: who did what when, what should have been seen, what was seen.

Pure: a finding of findings.jsonl -> inline SVG in the colours of the page around it.  A row per operation,
sorted into a lane per connection; time runs to the right, long pauses are cut out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.checks.findings import accused
from bench.checks.sentences import span as seconds
from bench.report.explaining import label, lane_of, stage_words
from bench.report.stretches import Axis, axis, span
from bench.results import Json

WIDTH: Final = 1080
GUTTER: Final = 186
RIGHT: Final = 1060
PAUSE: Final = 70
ROW: Final = 62
TOP: Final = 14
BAR: Final = 16
FOOT: Final = 44
BOLD, SMALL = 7.6, 6.0
"""Mean widths of a character of the two sizes of labels, generously."""
NEAR: Final = 24
"""Ticks this near to the right end of a stretch have no label, those at the left one to the right of them."""
SOFT: Final = "var(--soft)"
TONES: Final = {"accused": "var(--bad)", "filler": "var(--open)", "evidence": "var(--blue)"}


@dataclass(frozen=True)
class _Row:
    record: Json
    tone: str
    lane: str
    top: float
    left: float
    right: float
    open: bool

    @property
    def middle(self) -> float:
        return self.top + ROW / 2 + 4


def timeline(finding: Json) -> str:
    """The picture; empty for a finding none of whose records has a time."""
    spans = [one for record in finding["records"] if (one := span(record)) is not None]
    if not spans:
        return ""
    scale = axis(spans, GUTTER, RIGHT, PAUSE)
    rows = _rows(finding, scale)
    height = TOP + ROW * len(rows) + FOOT
    about = escape(finding["says"], quote=True)
    head = f'<svg viewBox="0 0 {WIDTH} {height}" class="timeline" role="img" aria-label="{about}">'
    parts = [*_lanes(rows), *_meanwhile(rows), *_axis(scale, TOP + ROW * len(rows)), *_arrows(rows)]
    parts += [part for row in rows for part in _bar(row, finding)]
    return "\n".join([head, *parts, "</svg>"])


def _rows(finding: Json, scale: Axis) -> list[_Row]:
    """Records of one lane stand together, lanes in the order of their first record."""
    records: list[Json] = finding["records"]
    lanes = list(dict.fromkeys(lane_of(record) for record in records))
    ordered = sorted(records, key=lambda record: lanes.index(lane_of(record)))
    rows = []
    for number, record in enumerate(ordered):
        tone = "filler" if record["part"] == "filler" else "evidence"
        tone = "accused" if record is accused(finding) else tone
        at = span(record)
        left = scale.stretches[0].left if at is None else scale.x(at.begin)
        right = left if at is None else scale.x(at.end)
        if at is not None and at.open:
            right = next(one.right for one in scale.stretches if at.begin <= one.end)
        rows.append(
            _Row(record, tone, lane_of(record), TOP + ROW * number, left, right, at is not None and at.open)
        )
    return rows


def _lanes(rows: Sequence[_Row]) -> list[str]:
    parts, before = [], ""
    for row in rows:
        if row.lane != before:
            who, _, which = row.lane.partition(" · ")
            parts.append(_tag("line", x1=0, x2=WIDTH, y1=row.top, y2=row.top, stroke="var(--rule)"))
            parts.append(_text(6, row.middle - 2, who, weight=600))
            parts.append(_text(6, row.middle + 14, which, SOFT))
        before = row.lane
    return parts


def _meanwhile(rows: Sequence[_Row]) -> list[str]:
    """The time of the writes, through all rows: what overlaps them stands out."""
    height = ROW * len(rows)
    return [
        _rect(row.left, TOP, max(2.0, row.right - row.left), height, TONES["evidence"], fill_opacity=0.13)
        for row in rows
        if row.record["part"] == "write" and span(row.record) is not None
    ]


def _axis(scale: Axis, top: float) -> list[str]:
    parts = [_text(6, top + 18, "since the run began", SOFT, size=11)]
    for stretch in scale.stretches:
        parts.append(_tag("line", x1=stretch.left, x2=stretch.right, y1=top, y2=top, stroke=SOFT))
        ticks = stretch.ticks()
        for tick in ticks:
            x = stretch.x(tick)
            words = f"{tick:.6g} s" if tick == ticks[0] else f"+{seconds(tick - ticks[0])}"
            anchor = "start" if x - stretch.left < NEAR else "middle"
            parts.append(_tag("line", x1=x, x2=x, y1=TOP, y2=top + 4, stroke="var(--rule)"))
            if tick == ticks[0] or stretch.right - x > NEAR:
                parts.append(_text(x, top + 18, words, SOFT, anchor=anchor, size=11))
    for left, right, cut in scale.pauses():
        middle = (left + right) / 2
        slashes = f"M{middle - 7:.1f} {top + 6} l6 -12 M{middle + 1:.1f} {top + 6} l6 -12"
        parts.append(_rect(left, TOP, right - left, top - TOP, "var(--shade)"))
        parts.append(_tag("path", d=slashes, stroke=SOFT, fill="none"))
        parts.append(_text(middle, top + 18, seconds(cut), SOFT, anchor="middle", size=11))
        parts.append(_text(middle, top + 31, "cut out", SOFT, anchor="middle", size=11))
    if scale.pauses():
        parts.append(_text(6, top + 31, "each stretch to its own scale", SOFT, size=11))
    return parts


def _bar(row: _Row, finding: Json) -> list[str]:
    colour, middle = TONES[row.tone], row.middle
    style: dict[str, str | float] = {"stroke": colour, "stroke_width": 1.5, "fill_opacity": 0.85}
    if row.tone == "filler" or row.open:
        style |= {"stroke_dasharray": "4 3", "fill_opacity": 0.35}
    width = row.right - row.left
    if width < 1:
        diamond = f"M{row.left:.1f} {middle - 8} l8 8 l-8 8 l-8 -8 z"
        shape = _tag("path", d=diamond, fill=colour, **style)
    else:
        shape = _rect(row.left, middle - BAR / 2, max(3.0, width), BAR, colour, rx=2, **style)
    above, below = label(row.record, finding), stage_words(row.record)
    return [
        shape,
        _text(_fit(row.left, above, BOLD), middle - BAR / 2 - 5, above, weight=600, halo=True),
        _text(_fit(row.left, below, SMALL), middle + BAR / 2 + 12, below, SOFT, size=11, halo=True),
    ]


def _fit(left: float, words: str, character: float) -> float:
    return max(GUTTER, min(left, WIDTH - 4 - len(words) * character))


def _arrows(rows: Sequence[_Row]) -> list[str]:
    """From what should have been seen (whole), and from who is suspected (dashed), to what was seen."""
    seen = next(row for row in rows if row.tone == "accused")
    return [
        part
        for row in rows
        if row is not seen and row.record["part"] != "before" and row.right <= seen.left
        for part in _arrow(row, seen)
    ]


def _arrow(row: _Row, seen: _Row) -> list[str]:
    x1, y1, x2, y2 = row.right, row.middle, seen.left - 2, seen.middle
    bend = max(24.0, (x2 - x1) / 2)
    path = f"M{x1:.1f} {y1} C{x1 + bend:.1f} {y1} {x2 - bend:.1f} {y2} {x2:.1f} {y2}"
    head = f"M{x2 - 7:.1f} {y2 - 4} L{x2:.1f} {y2} L{x2 - 7:.1f} {y2 + 4}"
    style: dict[str, str | float] = {"fill": "none", "stroke": TONES[row.tone], "stroke_width": 1.5}
    dashes: dict[str, str | float] = {"stroke_dasharray": "5 4"} if row.tone == "filler" else {}
    return [_tag("path", d=path, **style, **dashes), _tag("path", d=head, **style)]


# --- SVG --------------------------------------------------------------------------------------------------


def _tag(name: str, **attributes: str | float) -> str:
    said = " ".join(
        f'{key.replace("_", "-")}="{value if isinstance(value, str) else round(value, 2)}"'
        for key, value in attributes.items()
    )
    return f"<{name} {said}/>"


def _rect(x: float, y: float, width: float, height: float, fill: str, **more: str | float) -> str:
    return _tag("rect", x=x, y=y, width=width, height=height, fill=fill, **more)


def _text(
    x: float,
    y: float,
    words: str,
    colour: str = "var(--ink)",
    *,
    anchor: str = "start",
    size: float = 12.5,
    weight: int = 400,
    halo: bool = False,
) -> str:
    around = ' stroke="var(--paper)" stroke-width="4" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}"{around}>{escape(words)}</text>'
    )
