"""`bench noise` as a document: how small an effect this machine can see.  Pure."""

from __future__ import annotations

from typing import Final

from bench.metrics.noise import POWER
from bench.noise import METRICS
from bench.report import comparison, figures
from bench.report.document import Document, Table
from bench.report.figures import MISSING
from bench.results import Json

CAVEATS: Final = (
    "Noise is this machine's, today, at this load, with these versions: another load has another.",
    "The throughput of a load that is carried is the plan's, also that of a slower server.",
    "From n pairs the smallest visible effect is itself known to about ±1/√(2n) of it: a fifth from ten.",
)


def noise_document(content: Json, metrics: Json) -> Document:
    """`content` as in comparison.json of both sides, `metrics` of `bench.noise.assess`."""
    first = comparison.comparison_document(content)
    run = content["arms"][0]["summary"]["run"]
    return Document(
        title=f"{run['scenario']}: {run.get('arm') or run['scheme']} against itself",
        first=first.first,
        load=first.load,
        verdict=first.verdict,
        good=first.good,
        answer=_answer(metrics),
        tables=(_table(metrics),),
        caveats=CAVEATS,
        last=verdict_line(content, metrics),
    )


def _answer(metrics: Json) -> tuple[str, ...]:
    different = [METRICS[name] for name, entry in metrics.items() if entry["different"]]
    if not different:
        return ()
    why = "one figure of 20 does by chance; if it happens again, something drifts faster than sides change"
    return (f"{figures.joined(different)}: the two sides differ although they are the same ({why}).",)


def _table(metrics: Json) -> Table:
    sizes = sorted({int(n) for entry in metrics.values() for n in entry["visible"] or ()})
    rows = tuple(
        (
            METRICS[name],
            _value(entry),
            _ratio(entry),
            str(len(entry["pairs"])),
            *(percent((entry["visible"] or {}).get(str(n))) for n in sizes),
        )
        for name, entry in metrics.items()
    )
    note = (
        f"An effect of this size is found in {POWER:.0%} of comparisons of so many blocks per side, at 5 % "
        f"two-sided; drawn from the pairs recorded here. {MISSING} fewer than six pairs, or nothing known."
    )
    columns = ("", "value", "A / B", "pairs", *(f"visible, {n} blocks" for n in sizes))
    return Table("Smallest visible effect", columns, rows, note)


def _value(entry: Json) -> str:
    if entry["value"] is None:
        return MISSING
    write = figures.FORMATS[entry["unit"]]
    return f"{write(entry['value'])}{' ms' if entry['unit'] == 'us' else ''}"


def _ratio(entry: Json) -> str:
    if entry["ratio"] is None:
        return MISSING
    both = entry["interval"]
    return f"{entry['ratio']:.3f}" if both is None else f"{entry['ratio']:.3f} [{both[0]:.3f}, {both[1]:.3f}]"


def percent(share: float | None) -> str:
    return MISSING if share is None else figures.percent(share, 2)


def verdict_line(content: Json, metrics: Json) -> str:
    """`VERDICT <timing> <correctness> <scheme> <scenario> blocks=… visible.READ.p99=4.2% … exit=…`."""
    verdict, run = content["verdict"], content["arms"][0]["summary"]["run"]
    n = min(len(arm["run_ids"]) for arm in content["arms"])
    told = [
        f"visible.{name}={100 * entry['visible'][str(len(entry['pairs']))]:.3g}%"
        for name, entry in metrics.items()
        if entry["visible"] and str(len(entry["pairs"])) in entry["visible"]
    ]
    words = [f"blocks={n}", *told, f"exit={verdict['exit_code']}"]
    said = " ".join((verdict["status"], verdict["correctness"], run["scheme"], run["scenario"], *words))
    return f"VERDICT {said}"
