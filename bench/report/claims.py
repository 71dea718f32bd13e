"""`bench claims` as a document, and its chart: the ratio of each cell against the article's.  Pure."""

from __future__ import annotations

from typing import Final

from matplotlib.axes import Axes

from bench.claims import claims as judged
from bench.claims.claims import QUANTITIES, Quantity
from bench.claims.grid import CONTROL, DB, REDIS, pool
from bench.claims.judge import NOT_COMPARABLE, NOT_REPRODUCED, REPRODUCED
from bench.report import canvas
from bench.report.arms import LOOKS
from bench.report.document import Document, Table
from bench.report.figures import MISSING
from bench.results import Json

CAVEATS: Final = (
    "Everything shares one machine and small reference servers; ratios travel better than milliseconds.",
    "A read is STATE of one conversation by name; a mark is a message and its READ: both empty cached keys.",
    "Nobody is subscribed, so that pushes, which a messenger needs, cost nothing here.",
    "Reproduced means: in at least one cell of this grid. Blocks know nothing of another day.",
)
NOTE: Final = (
    "Points: the middle of the blocks' ratios, each block's arms side by side; bars: 95 % intervals (hollow: "
    "fewer than six blocks). Dashed: the article's figure; solid: 1, no difference. Grey x: the control, "
    "which has no store, in the place of redis."
)
QUERY: Final = (
    "import json\n\ncells = json.load(open('claims.json'))['cells']\n"
    "[(c['history'], c['pool_ratio'], c['reads_per_mark'],\n"
    "  {name: f and (f['ratio'], f['interval']) for name, f in c['figures'].items()}) for c in cells]"
)


def claims_document(content: Json) -> Document:
    verdict = content["verdict"]
    return Document(
        title="The article's figures, put to the test",
        first=_first(content),
        load=_load(content),
        verdict=(f"{verdict['status']}: {_counted(verdict['counts'])}", *verdict["reasons"]),
        good=verdict["status"] == "VALID" or None,
        answer=(quote(content),),
        tables=(_claims(content), _grid(content), _columns(content)),
        caveats=CAVEATS,
        last=verdict_line(content),
    )


def _first(content: Json) -> str:
    cpu = content["machine"]
    return f"{cpu['cpu']}, {cpu['cores']} cores · client: core 0 · everything under test beside it"


def _load(content: Json) -> tuple[str, ...]:
    pace = content["pace"]
    people = f"{content['users']} devices of {content['people']} people"
    blocks = f"{pace['blocks']} blocks in rotated order"
    latency = f"{pace['open_s']:g} s open, at {pace['load']:.0%} of what the slowest arm carries"
    closed = f"{pace['closed_s']:g} s closed, {pace['at_once']} at once"
    objective = f"p99 of reads below {judged.OBJECTIVE_MS:g} ms"
    return (
        f"point_reads · {people} · seed {content['seed']} · {blocks} · model flags",
        f"latency: {latency}, the same for all; throughput: {closed}, {objective}",
    )


def _counted(counts: Json) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in (REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE))


def quote(content: Json) -> str:
    """A paragraph to quote."""
    claims = {claim["name"]: claim for claim in content["claims"]}
    parts = []
    for name, what, article in (
        ("latency", "a read of one conversation was answered", "15 times as fast"),
        ("throughput", "requests per second were", "10 times as many"),
    ):
        claim = claims[name]
        if claim["ratio"] is None:
            parts.append(f"Of “{article}” nothing can be said: {claim['why']}.")
            continue
        times = ratio(claim)
        said = (
            f"{what} {times} times as {'fast' if name == 'latency' else 'many'} with Redis in front of MySQL"
        )
        parts.append(
            f"At best ({claim['setting']}) {said}; the article's {article} was {claim['verdict']}"
            + (f": {claim['would']}" if claim["would"] else ".")
        )
    for name in ("read_mostly", "burst"):
        claim = claims[name]
        parts.append(
            f"That {claim['claim']} was {_said(claim)}.".replace("was not comparable", "is not comparable")
        )
    return " ".join(parts)


def _said(claim: Json) -> str:
    return f"{claim['verdict']} ({claim['why']})"


def ratio(claim: Json) -> str:
    if claim["ratio"] is None:
        return MISSING
    said = f"{claim['ratio']:.3g}"
    if not claim["interval"]:
        return said
    low, high = claim["interval"]
    return f"{said} [{low:.3g}, {high:.3g}]"


def _claims(content: Json) -> Table:
    rows = tuple(
        (claim["claim"], claim["verdict"], ratio(claim), claim["measured"] or MISSING)
        for claim in content["claims"]
    )
    return Table("Claims", ("", "verdict", "ratio", "measured"), rows)


def why_table(content: Json) -> Table:
    """In which setting, why, and what would have to be true."""
    rows = tuple(
        (claim["claim"], claim["setting"] or MISSING, claim["why"], claim["would"] or MISSING)
        for claim in content["claims"]
    )
    return Table("Why, and what would have to be true", ("", "setting", "why", "for it to hold"), rows)


def _grid(content: Json) -> Table:
    rows = []
    for cell in content["cells"]:
        entries = [cell["figures"][quantity.name] for quantity in QUANTITIES]
        hits = cell.get("cache_hit_ratio")
        said = MISSING if hits is None else f"{hits:.0%}"
        rows.append((judged.setting(cell), *map(_entry, entries), said, str(len(cell["blocks"]))))
    columns = ("", *(f"{quantity.name}, {quantity.claimed:g}×" for quantity in QUANTITIES), "hits", "blocks")
    note = (
        "Ratios with 95 % intervals. latency: db / redis, mean of reads at equal load; stores: of it in "
        "MySQL and Redis; throughput: redis / db; hits: of the keys that redis asked for. × is the article's."
    )
    return Table("Grid", columns, tuple(rows), note)


def _entry(entry: Json | None) -> str:
    return MISSING if entry is None else ratio(entry)


def _columns(content: Json) -> Table:
    rows = []
    for row in content["table"]:
        best = row["throughput"]
        rows.append(
            (
                row["scheme"],
                MISSING if best is None else judged.measured(best, "/s"),
                f"{row['stale']:,} of {row['looks']:,} reads stale",
                "not comparable",
            )
        )
    note = (
        "Throughput: the best cell's. Stale: showed less than the reader's own acknowledged mark. Scaling: "
        "one machine, one server process."
    )
    return Table("Three columns", ("", "throughput", "consistency", "horizontal scaling"), tuple(rows), note)


def figures_table(content: Json) -> Table:
    """The arms' own figures of each cell."""
    rows = []
    for cell in content["cells"]:
        for quantity in QUANTITIES:
            entry = cell["figures"][quantity.name]
            if entry is not None:
                arms = (entry["arms"].get(arm) for arm in (DB, REDIS, CONTROL))
                said = (MISSING if arm is None else judged.measured(arm, quantity.unit) for arm in arms)
                rows.append((f"{judged.setting(cell)}: {quantity.name}", *said))
    return Table("The arms' own figures", ("", DB, REDIS, "control"), tuple(rows))


def provenance(content: Json) -> tuple[str, ...]:
    voids = sum(len(cell["void"]) for cell in content["cells"])
    return (
        f"begun {content['started_at']}, {content['duration_s']:g} s, seed {content['seed']}",
        f"{voids} blocks were void and are not in any figure; claims.json has them, and why",
        *(
            f"{where}, {arm}: "
            + ", ".join(f"{of['engine']} {of['version']}" for of in told["services"].values())
            for where, arms in content["places"].items()
            for arm, told in arms.items()
            if told["services"]
        ),
    )


def verdict_line(content: Json) -> str:
    """`VERDICT <timing> UNKNOWN claims point_reads reproduced=… latency=… exit=…`: no final read was made."""
    verdict = content["verdict"]
    counts = [f"{name.replace(' ', '_')}={count}" for name, count in verdict["counts"].items()]
    known = [
        f"{claim['name']}={claim['ratio']:.3g}" for claim in content["claims"] if claim["ratio"] is not None
    ]
    said = " ".join([*counts, *known, f"exit={verdict['exit_code']}"])
    return f"VERDICT {verdict['status']} UNKNOWN claims point_reads {said}"


# --- the chart --------------------------------------------------------------------------------------------


def finding(content: Json) -> str:
    """Also the chart's text for those who do not see it."""
    said = []
    for quantity in QUANTITIES:
        known = [e["ratio"] for cell in content["cells"] if (e := cell["figures"][quantity.name])]
        if known:
            said.append(
                f"{quantity.name} {min(known):.2g} to {max(known):.2g} (article: {quantity.claimed:g})"
            )
    return f"Redis in front of MySQL, in {len(content['cells'])} settings: " + "; ".join(said)


def draw(content: Json, words: canvas.Words) -> canvas.Sheet:
    """Three panels, a row per cell."""
    cells = content["cells"]
    figure = canvas.sheet(words, 1.1 + 0.27 * len(cells))
    panels = figure.subplots(1, len(QUANTITIES), sharey=True, sharex=True)
    panels[0].set_xscale("log")
    panels[0].set_xlim(*_limits(cells))
    for axes, quantity in zip(panels, QUANTITIES, strict=True):
        canvas.log_ms(axes.xaxis)
        _panel(axes, quantity, cells)
    panels[0].set_yticks(range(len(cells)), [_row_name(cell) for cell in cells])
    panels[0].set_ylim(len(cells) - 0.5, -0.9)
    return figure


def _row_name(cell: Json) -> str:
    direct, group = cell["history"]
    return f"{direct}/{group} · {pool(cell['pool_ratio'])} · {cell['reads_per_mark']:g} reads/mark"


def _limits(cells: list[Json]) -> tuple[float, float]:
    values = [1.0, *(quantity.claimed for quantity in QUANTITIES)]
    for cell in cells:
        for entry in filter(None, cell["figures"].values()):
            values += [entry["ratio"], *(entry["interval"] or ()), entry["control"] or 1.0]
    return min(values) / 1.4, max(values) * 1.4


def _panel(axes: Axes, quantity: Quantity, cells: list[Json]) -> None:
    colour, grey = LOOKS["redis", "flags"].colour, LOOKS["memory", ""].colour
    axes.axvline(1.0, color=canvas.SOFT, linewidth=0.9)
    axes.axvline(quantity.claimed, color=canvas.ALARM, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.text(
        quantity.claimed / 1.06, -0.55, f"article: {quantity.claimed:g}", color=canvas.ALARM, ha="right",
        va="center", fontsize=8,
    )  # fmt: skip
    for row, cell in enumerate(cells):
        entry = cell["figures"][quantity.name]
        if entry is None:
            continue
        if entry["control"] is not None:
            axes.plot(entry["control"], row, "x", color=grey, markersize=6)
        axes.plot(entry["interval"] or [entry["ratio"]] * 2, [row, row], color=colour, linewidth=1.8)
        filled = colour if entry["interval"] else canvas.PAPER
        axes.plot(entry["ratio"], row, "o", color=colour, markerfacecolor=filled, markersize=5)
    axes.set_title(quantity.heading)
    axes.set_xlabel("ratio")


def words(content: Json) -> canvas.Words:
    return canvas.Words(finding(content), " · ".join(_load(content)[:1]), NOTE)
