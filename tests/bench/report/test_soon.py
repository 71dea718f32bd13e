"""The t-visibility chart: what it says, and that every range of ages has its column."""

from __future__ import annotations

from bench.metrics.t_visibility import Bin
from bench.report import arms, canvas, soon

DB, QUEUE = arms.arms([{"scheme": "db", "model": "flags"}, {"scheme": "queue", "model": "flags"}])
BINS = (Bin(0, 2_000, 40, 10), Bin(2_000, 5_000, 0, 0), Bin(1_000_000, 2_000_000, 8, 8))


def test_one_arm_says_what_the_youngest_and_the_oldest_reads_saw() -> None:
    said = soon.finding([soon.soon(QUEUE, BINS)])
    assert said == (
        "Reads that show the mark: 25.0 % of 40 at 0–2 ms after its ACK; 100 % of 8 at 1–2 s after its ACK"
    )


def test_several_arms_are_held_against_each_other_at_the_youngest_age() -> None:
    both = [soon.soon(DB, (Bin(0, 2_000, 5, 5), *BINS[1:])), soon.soon(QUEUE, BINS)]
    assert soon.finding(both) == (
        "Reads that show the mark 0–2 ms after its ACK: db/flags 100 %; queue/flags 25.0 %"
    )


def test_the_sheet_has_a_column_for_each_range_and_a_bar_for_each_that_was_read() -> None:
    figure = soon.draw([soon.soon(QUEUE, BINS)], canvas.Words("t", "s", "n"))
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0–2\nms", "2–5\nms", "1–2\ns"]
    assert len(axes.collections) == 2
    assert [line.get_ydata()[0] for line in axes.lines] == [0.25, 1.0]  # type: ignore[index]
    assert axes.lines[1].get_alpha() == 0.4, "few reads are faint"
