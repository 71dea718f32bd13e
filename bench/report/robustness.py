"""Chart 10 of a capacity study, robustness: the ratio of two arms' capacities in each setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from bench.capacity.ratios import Ratio
from bench.report import canvas, figures

NOTE: Final = (
    "Right of 1 the first of a pair carries more. Interval: the widest that the intervals of both capacities "
    "allow. Filled: apart from 1. Arms whose ACK outlives different things are no pair."
)
ONE_SETTING: Final = (
    "Every pair has one setting only, so that nothing says how robust its ratio is: --mysql-driver both, or "
    "--beside a study with another setting, gives it more."
)


MARKS: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10)


def one_setting(found: Sequence[Ratio]) -> bool:
    """Whether no pair was measured in several."""
    return len({ratio.pair for ratio in found}) == len(found)


def finding(found: Sequence[Ratio]) -> str:
    said = []
    for pair in dict.fromkeys(ratio.pair for ratio in found):
        of_pair = [ratio for ratio in found if ratio.pair == pair]
        values = sorted(ratio.value for ratio in of_pair)
        ends = dict.fromkeys(figures.digits(value) for value in (values[0], values[-1]))
        many = f" in {len(values)} settings" if len(values) > 1 else ""
        ratio = f"{' to '.join(ends)} times what {pair[1]} does{many}"
        said.append(f"{pair[0]} carries {ratio}{_how_sure([one.apart for one in of_pair])}")
    return f"Capacity, ratio of two arms: {'; '.join(said)}"


def _how_sure(apart: Sequence[bool]) -> str:
    if all(apart):
        return ""
    return f" (apart from 1 in {sum(apart)})" if any(apart) else " (not apart from 1)"


def draw(found: Sequence[Ratio], words: canvas.Words) -> canvas.Sheet:
    figure = canvas.sheet(words, 0.9 + 0.34 * len(found))
    axes = figure.subplots()
    axes.set_xscale("log")
    low = min(1.0, *(ratio.interval[0] for ratio in found))
    high = max(1.0, *(ratio.interval[1] for ratio in found))
    axes.set_xlim(low / 1.2, high * 1.2)
    axes.axvline(1.0, color=canvas.INK, linewidth=1.0)
    for place, ratio in enumerate(found):
        axes.plot(ratio.interval, [place, place], color=ratio.colour, linewidth=1.8)
        face = ratio.colour if ratio.apart else canvas.PAPER
        axes.plot(ratio.value, place, "o", color=ratio.colour, markerfacecolor=face, markersize=7)
    texts = [f"{' / '.join(ratio.pair)}\n{ratio.setting}" for ratio in found]
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_yticks(range(len(found)), texts)
    plain = FuncFormatter(lambda value, _: figures.digits(value))
    if high / low < 20:
        marks = [
            mark
            for mark in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10)
            if low / 1.2 <= mark <= high * 1.2
        ]
        axes.xaxis.set_major_locator(FixedLocator(marks))
    else:
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("capacity of the first / capacity of the second")
    return figure
