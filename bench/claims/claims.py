"""The article's claims, each with what was measured of it and what that allows to say.  Pure.

`judge` reads what `bench.claims.study` left and adds: to each cell its figures, and the claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.claims import judge as judging
from bench.claims.grid import BASE_TIMES, BURST_TIMES, CONTROL, DB, QUEUE, REDIS, stand_name
from bench.claims.judge import NOT_COMPARABLE, NOT_REPRODUCED, REPRODUCED, Judged
from bench.metrics import intervals
from bench.metrics.intervals import ENOUGH, Block, Ratio

LATENCY_TIMES: Final = 15.0
LATENCY_MS: Final = (15.0, 1.0)
QPS_TIMES: Final = 10.0
QPS: Final = (1_000.0, 10_000.0)
OBJECTIVE_MS: Final = 100.0
"""Of a closed block: p99 of its looks.  A throughput counts only inside it."""
STALE_LOOKS: Final = 1_000
"""Looks from which on seeing no stale one says something."""

Json = dict[str, Any]
Pick = Callable[[Json], float | None]


@dataclass(frozen=True)
class Quantity:
    """A ratio that each cell has: `above` over `below`.  `pick`: an arm's figure in a block."""

    name: str
    heading: str
    unit: str
    above: str
    below: str
    claimed: float
    pick: Pick


LATENCY: Final = Quantity(
    "latency", "mean latency of reads, db / redis", "ms", DB, REDIS, LATENCY_TIMES,
    lambda arm: _thousandth(arm["open"]["look_us"]),
)  # fmt: skip
STORES: Final = Quantity(
    "stores", "of it in the stores, db / redis", "ms", DB, REDIS, LATENCY_TIMES,
    lambda arm: _thousandth(arm["open"]["store_us"]),
)  # fmt: skip
THROUGHPUT: Final = Quantity(
    "throughput", "requests per second, redis / db", "/s", REDIS, DB, QPS_TIMES,
    lambda arm: arm["closed"]["requests_per_s"],
)  # fmt: skip
QUANTITIES: Final = (LATENCY, STORES, THROUGHPUT)


def judge(content: Json) -> Json:
    """The same with `figures` in each cell, `claims`, `table`, `quote` and `verdict`."""
    cells = [cell | {"figures": _figures(cell)} for cell in content["cells"]]
    judged = content | {"cells": cells}
    claims = [
        _of_ratio(judged, LATENCY, "15 ms → 1 ms: mean latency falls to a fifteenth"),
        _latency_in_ms(judged),
        _of_ratio(judged, STORES, "the same of the time in the stores alone"),
        _of_ratio(judged, THROUGHPUT, "1,000 → 10,000+ QPS: throughput rises tenfold"),
        _throughput_per_s(judged),
        _read_mostly(judged),
        _burst(judged),
        *_three_columns(judged),
    ]
    return judged | {"claims": claims, "table": _table(judged), "verdict": _verdict(judged, claims)}


def setting(cell: Json) -> str:
    return f"{_stand(cell)}, {cell['reads_per_mark']:g} reads per mark"


def _stand(cell: Json) -> str:
    direct, group = cell["history"]
    return stand_name((direct, group), cell["pool_ratio"])


# --- a cell -----------------------------------------------------------------------------------------------


def _figures(cell: Json) -> Json:
    """{quantity: {arms: {arm: {value, interval}}, ratio, interval, blocks, control}}; None where nothing
    was measured."""
    return {quantity.name: _quantity(cell, quantity) for quantity in QUANTITIES}


def _quantity(cell: Json, quantity: Quantity) -> Json | None:
    above, below = (_blocks(cell, arm, quantity.pick) for arm in (quantity.above, quantity.below))
    ratio = _ratio(above, below)
    if ratio is None:
        return None
    arms = {arm: _of_arm(cell, arm, quantity.pick) for arm in (DB, REDIS, CONTROL)}
    control = _ratio(
        *(
            _blocks(cell, CONTROL if arm == REDIS else arm, quantity.pick)
            for arm in (quantity.above, quantity.below)
        )
    )
    return {
        "arms": {arm: figure for arm, figure in arms.items() if figure is not None},
        "ratio": ratio.value,
        "interval": None if ratio.interval is None else list(ratio.interval),
        "blocks": ratio.blocks,
        "control": None if control is None else control.value,
    }


def _blocks(cell: Json, arm: str, pick: Pick) -> list[float | None]:
    return [pick(block["arms"][arm]) if arm in block["arms"] else None for block in cell["blocks"]]


def _ratio(above: Sequence[float | None], below: Sequence[float | None]) -> Ratio | None:
    """Block by block, of the blocks that have both."""
    pairs = [(Block(one), Block(other)) for one, other in zip(above, below, strict=True) if one and other]
    return intervals.ratio([one for one, _ in pairs], [other for _, other in pairs], paired=True)


def _of_arm(cell: Json, arm: str, pick: Pick) -> Json | None:
    blocks = [Block(value) for value in _blocks(cell, arm, pick) if value is not None]
    if not blocks:
        return None
    both = intervals.interval(blocks)
    value = intervals.middle([block.value for block in blocks])
    return {"value": value, "interval": None if both is None else list(both)}


def _as_ratio(entry: Json | None) -> Ratio | None:
    if entry is None:
        return None
    both = entry["interval"]
    return Ratio(entry["ratio"], None if both is None else (both[0], both[1]), True, entry["blocks"])


def _inside(cell: Json) -> bool:
    """Whether the closed blocks of both arms held the objective."""
    return all(
        (worst := _of_arm(cell, arm, lambda found: found["closed"]["look_p99_us"])) is not None
        and worst["value"] <= OBJECTIVE_MS * 1000
        for arm in (DB, REDIS)
    )


# --- claims -----------------------------------------------------------------------------------------------


def _claim(
    name: str, claim: str, judged: Judged, *, where: str = "", measured: str = "", entry: Json | None = None,
    would: str = "", verdicts: Mapping[str, int] | None = None,
) -> Json:  # fmt: skip
    return {
        "name": name,
        "claim": claim,
        "setting": where,
        "measured": measured,
        "ratio": None if entry is None else entry["ratio"],
        "interval": None if entry is None else entry["interval"],
        "verdict": judged.verdict,
        "why": judged.why,
        "would": would,
        "cells": dict(verdicts or {}),
    }


def _of_ratio(content: Json, quantity: Quantity, claim: str) -> Json:
    """The best cell stands for the claim, which names none: it is reproduced if it is in some cell."""
    found = []
    for cell in content["cells"]:
        entry = cell["figures"][quantity.name]
        judged = judging.ratio(_as_ratio(entry), quantity.claimed)
        if quantity is THROUGHPUT and entry is not None and not _inside(cell):
            judged = Judged(NOT_COMPARABLE, f"reads took more than {OBJECTIVE_MS:g} ms (p99)")
        found.append((cell, entry, judged))
    verdicts = {
        verdict: sum(judged.verdict == verdict for _, _, judged in found)
        for verdict in (REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE)
    }
    decided = [one for one in found if one[1] is not None and one[2].verdict != NOT_COMPARABLE]
    if not decided:
        why = found[0][2].why if found else "nothing was measured"
        return _claim(quantity.name, claim, Judged(NOT_COMPARABLE, why), verdicts=verdicts)
    cell, entry, judged = max(decided, key=lambda one: (one[2].verdict == REPRODUCED, one[1]["ratio"]))
    why = judged.why
    if judged.verdict == NOT_REPRODUCED:
        why = f"in none of {len(decided)} cells; the nearest is told here, where {why}"
    return _claim(
        quantity.name, claim, Judged(judged.verdict, why), where=setting(cell),
        measured=_from_to(entry, quantity), entry=entry,
        would="" if judged.verdict == REPRODUCED else _would(cell, quantity), verdicts=verdicts,
    )  # fmt: skip


def _from_to(entry: Json, quantity: Quantity) -> str:
    return " → ".join(f"{arm} {measured(entry['arms'][arm], quantity.unit)}" for arm in (DB, REDIS))


def measured(figure: Json, unit: str) -> str:
    """`12.4 ms [11.9, 13.1]`"""
    space = "" if unit.startswith("/") else " "
    said = f"{_digits(figure['value'])}{space}{unit}"
    if figure["interval"] is None:
        return said
    low, high = figure["interval"]
    return f"{said} [{_digits(low)}, {_digits(high)}]"


def _would(cell: Json, quantity: Quantity) -> str:
    """What would have to be true for it, from the cell that came nearest."""
    entry, stores = cell["figures"][quantity.name], cell["figures"][STORES.name]
    arms = {arm: figure["value"] for arm, figure in entry["arms"].items()}
    limit = "" if entry["control"] is None else f" Without any store it would be {entry['control']:.3g}."
    if quantity is THROUGHPUT:
        return (
            f"db would have to carry no more than {_digits(arms[REDIS] / QPS_TIMES)}/s here instead of "
            f"{_digits(arms[DB])}/s, or redis {_digits(arms[DB] * QPS_TIMES)}/s.{limit}"
        )
    wanted = LATENCY_TIMES * arms[REDIS]
    if quantity is STORES:
        return (
            f"a read would have to cost MySQL {_digits(wanted)} ms instead of {_digits(arms[DB])} ms, at "
            "what it costs redis."
        )
    if stores is None:
        return f"a read of db would have to take {_digits(wanted)} ms.{limit}"
    own = stores["arms"][DB]["value"]
    needed = own + wanted - arms[DB]
    return (
        f"MySQL would have to need {_digits(needed)} ms for such a read instead of {_digits(own)} ms, "
        f"{needed / own:.3g} times as long, while redis stays as it is.{limit}"
    )


def _latency_in_ms(content: Json) -> Json:
    why = "the article names neither hardware nor mix nor percentile: milliseconds of another machine"
    entry, where = _nearest_in_ms(content)
    said = "" if entry is None else _from_to(entry, LATENCY)
    return _claim(
        "latency_ms", "15 ms, and 1 ms, as such", Judged(NOT_COMPARABLE, why), where=where, measured=said
    )


def _nearest_in_ms(content: Json) -> tuple[Json | None, str]:
    known = [
        (cell["figures"]["latency"], setting(cell)) for cell in content["cells"] if cell["figures"]["latency"]
    ]
    return min(known, key=lambda one: abs(one[0]["arms"][DB]["value"] - LATENCY_MS[0]), default=(None, ""))


def _throughput_per_s(content: Json) -> Json:
    known = [cell for cell in content["cells"] if cell["figures"]["throughput"] and _inside(cell)]
    best = max(known, key=lambda cell: cell["figures"]["throughput"]["arms"][REDIS]["value"], default=None)
    ceilings = [
        cell["figures"]["throughput"]["arms"][CONTROL]["value"]
        for cell in known
        if CONTROL in cell["figures"]["throughput"]["arms"]
    ]
    figure = None if best is None else best["figures"]["throughput"]["arms"][REDIS]
    judged = judging.absolute(
        None if figure is None else figure["value"], QPS[1], max(ceilings, default=None)
    )
    return _claim(
        "throughput_per_s", "10,000+ QPS with the cache, as such", judged,
        where="" if best is None else setting(best),
        measured="" if best is None else _from_to(best["figures"]["throughput"], THROUGHPUT),
    )  # fmt: skip


def _read_mostly(content: Json) -> Json:
    """The cache's gain where reads prevail, over its gain where half are marks, stand by stand."""
    claim = "cache-aside suits read-mostly work"
    stands: dict[str, list[Json]] = {}
    for cell in content["cells"]:
        stands.setdefault(_stand(cell), []).append(cell)
    found = []
    for where, cells in stands.items():
        most, least = (pick(cells, key=lambda cell: cell["reads_per_mark"]) for pick in (max, min))
        if most is least:
            continue
        gains = [_gains(cell) for cell in (most, least)]
        both = sorted(gains[0].keys() & gains[1].keys())
        more = _ratio([gains[0][n] for n in both], [gains[1][n] for n in both])
        gain = _as_ratio(most["figures"]["throughput"])
        marks = f"{most['reads_per_mark']:g} against {least['reads_per_mark']:g} reads per mark"
        found.append((f"{where}, {marks}", more, gain, most))
    judged = [(judging.better(gain), judging.better(more)) for _, more, gain, _ in found]
    known = [i for i, (one, two) in enumerate(judged) if NOT_COMPARABLE not in (one.verdict, two.verdict)]
    if not known:
        why = judged[0][0].why if judged else "only one mix was measured"
        return _claim("read_mostly", claim, Judged(NOT_COMPARABLE, why))
    good = [i for i in known if {one.verdict for one in judged[i]} == {REPRODUCED}]
    shown = next((i for i in known if i not in good), known[0])
    where, more, gain, most = found[shown]
    could = "stands" if len(known) == len(judged) else f"stands that can tell (of {len(judged)})"
    said = f"{len(good)} of {len(known)} {could} gain from the cache, and more so where reads prevail"
    verdict = REPRODUCED if len(good) == len(known) else NOT_REPRODUCED
    entry = None if more is None else {"ratio": more.value, "interval": list(more.interval or ())}
    gained = "" if gain is None else f"throughput redis / db {gain.value:.3g} where reads prevail"
    return _claim("read_mostly", claim, Judged(verdict, said), where=where, measured=gained, entry=entry)


def _gains(cell: Json) -> dict[int, float]:
    """redis / db of throughput by place among the cell's blocks."""
    found = {}
    for number, block in enumerate(cell["blocks"]):
        db, redis = (THROUGHPUT.pick(block["arms"][arm]) for arm in (DB, REDIS))
        if db and redis:
            found[number] = redis / db
    return found


def _burst(content: Json) -> Json:
    claim = "the queue absorbs bursts"
    blocks = content["burst"].get("blocks") or []
    if not blocks:
        return _claim("burst", claim, Judged(NOT_COMPARABLE, "nothing was measured"))
    marks = {arm: [block["arms"][arm]["burst"]["mark_us"] for block in blocks] for arm in (DB, QUEUE)}
    ratio = _ratio(marks[DB], marks[QUEUE])
    judged = judging.better(ratio)
    left = sum(bool(block["arms"][QUEUE]["left"]) for block in blocks)
    if left:
        judged = Judged(NOT_REPRODUCED, f"after {left} of {len(blocks)} bursts the queue did not drain")
    middle = {arm: intervals.middle([v for v in of if v]) / 1000 for arm, of in marks.items() if any(of)}
    drains = intervals.middle([block["arms"][QUEUE]["drain_s"] for block in blocks])
    rate = content["burst"]["db_per_s"]
    said = ", ".join(f"{arm} {_digits(value)} ms" for arm, value in middle.items())
    entry = None if ratio is None else {"ratio": ratio.value, "interval": list(ratio.interval or ()) or None}
    return _claim(
        "burst", claim, judged,
        where=f"{_digits(BASE_TIMES * rate)}, then {_digits(BURST_TIMES * rate)} operations/s, half marks",
        measured=f"a message and its mark: {said}; drained {_digits(drains)} s after", entry=entry,
    )  # fmt: skip


def stale(content: Json, arm: str) -> tuple[int, int]:
    """(looks that showed less than their person's acknowledged marks, looks)."""
    parts = [
        block["arms"][arm] for cell in content["cells"] for block in cell["blocks"] if arm in block["arms"]
    ]
    parts += [block["arms"][arm] for block in content["burst"].get("blocks") or () if arm in block["arms"]]
    found = [part[name] for part in parts for name in ("open", "closed", "before", "burst") if name in part]
    return sum(one["stale"] for one in found), sum(one["looks"] for one in found)


def _three_columns(content: Json) -> list[Json]:
    missing = "of its cells only the models are legible, and they are of Kafka, ZooKeeper and DynamoDB"
    single = "one machine and one server process: nothing here was scaled out"
    return [
        _claim("column_throughput", "table: throughput", Judged(NOT_COMPARABLE, missing)),
        _consistency(content, DB, "table: strong consistency of the database", strong=True),
        _consistency(content, QUEUE, "table: eventual consistency behind a queue", strong=False),
        _claim("column_scaling", "table: horizontal scaling", Judged(NOT_COMPARABLE, single)),
    ]


def _consistency(content: Json, arm: str, claim: str, *, strong: bool) -> Json:
    behind, looks = stale(content, arm)
    said = f"{behind:,} of {looks:,} reads showed less than their reader's own acknowledged mark"
    if not behind and looks < STALE_LOOKS:
        judged = Judged(NOT_COMPARABLE, f"fewer than {STALE_LOOKS:,} reads and none of them stale")
    elif strong:
        judged = (
            Judged(NOT_REPRODUCED, "a read was stale")
            if behind
            else Judged(REPRODUCED, "no read was stale; that no other history shows one is not proven")
        )
    else:
        judged = (
            Judged(REPRODUCED, "marks are acknowledged before reads show them")
            if behind
            else Judged(NOT_REPRODUCED, "no read was stale here")
        )
    return _claim(f"consistency_{arm}", claim, judged, measured=said)


def _table(content: Json) -> list[Json]:
    """The three columns, per scheme, as measured."""
    found = []
    for arm in (DB, REDIS, QUEUE):
        behind, looks = stale(content, arm)
        if looks:
            found.append(
                {
                    "scheme": arm,
                    "throughput": _best(content, arm),
                    "stale": behind,
                    "looks": looks,
                    "scaling": None,
                }
            )
    return found


def _best(content: Json, arm: str) -> Json | None:
    """Of the cells: where the arm carried most."""
    entries = [
        (cell["figures"]["throughput"]["arms"].get(arm), setting(cell))
        for cell in content["cells"]
        if cell["figures"]["throughput"]
    ]
    known = [(figure, where) for figure, where in entries if figure is not None]
    if not known:
        return None
    figure, where = max(known, key=lambda one: one[0]["value"])
    return {**figure, "setting": where}


def _verdict(content: Json, claims: Sequence[Json]) -> Json:
    counts = {
        verdict: sum(claim["verdict"] == verdict for claim in claims)
        for verdict in (REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE)
    }
    reasons = [f"not measured: {name}" for name in content["left_out"]]
    reasons += [
        f"{setting(cell)}: {len(cell['blocks'])} good blocks, {ENOUGH} make an interval"
        for cell in content["cells"]
        if len(cell["blocks"]) < ENOUGH
    ]
    if content["interrupted"]:
        reasons.append("interrupted: what was measured until then is judged")
    status = "INCONCLUSIVE" if reasons else "VALID"
    code = 130 if content["interrupted"] else 5 if reasons else 0
    return {"status": status, "reasons": reasons, "counts": counts, "exit_code": code}


def _digits(value: float) -> str:
    from bench.report.figures import digits

    return digits(value)


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000
