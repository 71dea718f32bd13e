"""How a figure is written: three digits that matter, a unit, never a blank for what is missing.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

MISSING: Final = "–"
"""In tables whose caption or note gives the reason; elsewhere use `unavailable`."""


def digits(value: float, significant: int = 3) -> str:
    """`value` with so many significant digits, thousands separated, no exponent: 0.61, 31.2, 1,470."""
    if value == 0:
        return "0"
    magnitude = _magnitude(value)
    decimals = significant - 1 - magnitude
    if decimals <= 0:
        return f"{round(value, decimals):,.0f}"
    rounded = round(value, decimals)
    return f"{rounded:,.{max(0, significant - 1 - _magnitude(rounded))}f}"


def _magnitude(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])


def ms(us: float | None, significant: int = 3) -> str:
    """Microseconds as milliseconds without the unit; MISSING when the sample can't support the figure."""
    return MISSING if us is None else digits(us / 1000, significant)


def duration(us: float) -> str:
    """Microseconds in the unit that reads best: 640 µs, 2.93 ms, 1.47 s."""
    if abs(us) < 1_000:
        return f"{digits(us)} µs"
    if abs(us) < 1_000_000:
        return f"{digits(us / 1_000)} ms"
    return f"{digits(us / 1_000_000)} s"


def ages(from_us: int, to_us: int) -> str:
    """A range of ages: 0–2 ms, 1–2 s."""
    if to_us <= 1_000_000:
        return f"{from_us // 1000}–{to_us // 1000} ms"
    return f"{from_us / 1e6:g}–{to_us / 1e6:g} s"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Per second, without the unit."""
    return MISSING if value is None else digits(value)


def percent(share: float | None, significant: int = 3) -> str:
    return MISSING if share is None else f"{digits(100 * share, significant)} %"


def mebibytes(value: float | None) -> str:
    """Bytes as MiB without the unit."""
    return MISSING if value is None else digits(value / 2**20)


def cores(value: float | None) -> str:
    """CPU cores, two decimals: finer than the sampling allows would be a pretence."""
    return MISSING if value is None else f"{value:.2f}"


def unavailable(reason: str | None) -> str:
    return f"not available: {reason or 'not measured'}"


def times(ratio: float) -> str:
    """A ratio: 3.2 ×."""
    return f"{digits(ratio, 2)} ×"


def between(both: Sequence[float | None], write: Callable[[float], str]) -> str:
    """An interval: [11.9, 13.1]; without an upper end [11.9, –]."""
    low, high = (MISSING if end is None else write(end) for end in both)
    return f"[{low}, {high}]"


def joined(parts: list[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "us": ms,
    "s": digits,
    "number": digits,
    "count": count,
    "share": percent,
    "bytes": mebibytes,
}
"""Unit of a figure -> how it is written."""
