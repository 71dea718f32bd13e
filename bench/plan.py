"""The whole timeline of a run, computed before it starts: (population, options) -> tables.  Pure.

A SEND, an opening and a probe happen at their planned time.  A READ reacts: it is planned at `send +
attention`, on a device drawn for it, and is carried out then or when the message has arrived there, if later.
DELIVERED is not planned: devices confirm what arrives.

*In equilibrium from the first second*: sends are drawn from long before 0 too; those are not carried out, but
what they leave unread is seeded (`unread_at_start`), and the reads of it that are due later are planned.
*Stratified, not a lottery*: within each second the number of sends is fixed, and targets and attention are
drawn by strata, so that every 10 s carry the same load as far as their number allows.

Times are nanoseconds after the start of the warm-up.  A planned operation's `plan` number, by which records
name it, is its row in the sequence sends, reads, openings (STATE, SYNC), probes (SEND, READ).

*Point reads* (`point_reads`, scenarios/point_reads.py): instead of openings one STATE of one conversation, by
name; what is read, and what is talked in, is drawn from the same hot set (`hot_set`).
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.population import Ints, Population, Unread
from bench.record import Op

Rows = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SECOND: Final = 1_000_000_000
SLICE_S: Final = 10
SENDS_PER_PERSON_AND_S: Final = 42 / (12.1 * 3600)
"""42 messages a day in 12.1 attentive hours: 6.4 SEND/s for the 6,667 people of 10,000 devices."""
OPENINGS_PER_SEND: Final = 23 / 42
"""23 app openings a day."""
BODY_BYTES: Final = ((0.70, 256), (0.25, 1024), (0.05, 4096))
ALTERNATING: Final = 0.7
"""How often the next message of a direct conversation comes from the other one."""
FOCUSED, LATER, MUCH_LATER = 0.50, 0.35, 0.15
FOCUSED_S: Final = (0.5, 1.5)
"""Around 1 s: at exactly 1 s a group would read in lock-step."""
LATER_MEDIAN_S: Final = 60.0
MUCH_LATER_MEDIAN_S: Final = 300.0
SIGMA: Final = 1.0
DELIVERED_WINDOW_S: Final = 1.0
"""How long a device gathers what it confirms; what its person has read by then needs no confirmation."""
POINT_READS: Final = "point_reads"
"""The scenario whose plan is of point reads."""
POINT_READS_PER_MARK: Final = 19.0
"""95 STATEs to 5 READs."""
HOT_CONVERSATIONS: Final = 1_000
FULL_DURATION_S: Final = 600.0
"""Both medians shrink with a shorter run."""
HORIZON_MEDIANS: Final = 10
"""How long before 0 sends are drawn, in the longest median: 0.2 % of all attention is longer."""
STRATA: Final = 16
PROBE_SHARE: Final = 0.01
"""Of all operations, for each of the two kinds of probes."""
OPERATIONS_PER_PROBE: Final = 4
"""SEND, READ and two STATE."""
OPERATIONS_PER_LOOK: Final = 3
"""SEND, READ and one STATE."""
OFFSETS_US: Final = (
    0, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000
)  # fmt: skip
"""How long after its acknowledgement a READ is looked for once: evenly often between each of these and the
next."""
LAST_OFFSET_US: Final = 6_000_000
SETTLING_US: Final = 500_000
"""Beside its offset, how long a look keeps its pair: SEND and READ."""

SENDS: Final = np.dtype([("at", "<i8"), ("device", "<u4"), ("conversation", "<u4"), ("body", "<u4")])
READS: Final = np.dtype(
    [
        ("at", "<i8"),
        ("delay", "<i8"),
        ("send", "<i8"),  # row of sends; -1: the message is seeded
        ("person", "<u4"),
        ("device", "<u4"),
        ("conversation", "<u4"),
        ("effective", "<u4"),  # 1: finds something new, if every message arrives in time
    ]
)
"""Ordered by (send, device), so that a device finds its read of a message by bisection."""
OPENINGS: Final = np.dtype([("at", "<i8"), ("device", "<u4"), ("conversation", "<u4")])
"""`conversation`: of a point read; 0 where the app is opened."""
PROBES: Final = np.dtype(
    [
        ("at", "<i8"),
        ("pair", "<u4"),
        ("offset_us", "<i4"),  # looked at once, so long after the acknowledgement; -1: until it shows
    ]
)


@dataclass(frozen=True)
class PlanOptions:
    """`rate_per_s`: SENDs of everybody together.  `reads_per_mark`: STATE per READ, instead of the natural
    ratio of openings to sends.  `seed` belongs to the population, so that a plan and its people match."""

    rate_per_s: float = 115.0
    warmup_s: float = 15.0
    measure_s: float = 60.0
    group_share: float = 0.1
    reads_per_mark: float | None = None
    probes: bool = True
    draw: int = 0
    """Another number is another plan of the same kind: a step that is repeated is not the same step."""
    point_reads: bool = False
    """An opening is one STATE of one hot conversation; `reads_per_mark` None: POINT_READS_PER_MARK."""

    @property
    def duration_s(self) -> float:
        return self.warmup_s + self.measure_s

    @property
    def per_opening(self) -> int:
        """Operations that an opening is: a STATE, and unless it is a point read a SYNC."""
        return 1 if self.point_reads else 2

    @property
    def attention_factor(self) -> float:
        """What the medians of the slow attention are multiplied by."""
        return min(1.0, self.measure_s / FULL_DURATION_S)


@dataclass(frozen=True)
class Causes:
    """What one message causes, on average over the planned sends; MESSAGE and UPDATE frames are pushes."""

    receivers: float
    devices: float
    """Devices that get the MESSAGE: the receivers' and the sender's others."""
    delivered: float
    """DELIVERED operations before batching: one for each device of the receivers who do not read at once."""
    read: float
    """READ operations that find something new."""
    receipts: float
    """UPDATE `read/` frames to peers and senders."""
    pushes: float
    """All frames: MESSAGE, `read/` to peers, senders and own other devices, `delivered/` to the direct
    peer."""
    rows: float
    """Rows of message_read_status in the flags model: one for each receiver."""


@dataclass(frozen=True)
class Plan:
    """The timeline.  See the module's docstring for times and numbers."""

    options: PlanOptions
    sends: Rows
    reads: Rows
    openings: Rows
    probes: Rows
    unread_at_start: Unread
    later: Rows = field(default_factory=lambda: np.zeros(0, READS))
    """Reads that are due after the end, for a plan that follows (`make`).  Not saved."""

    @property
    def first_read(self) -> int:
        """Plan number of the first READ; sends start at 0."""
        return len(self.sends)

    @property
    def first_opening(self) -> int:
        """Plan number of the first opening's STATE; its SYNC, if it has one, is the next."""
        return self.first_read + len(self.reads)

    @property
    def first_probe(self) -> int:
        """Plan number of the first probe's SEND; its READ is the next."""
        return self.first_opening + self.options.per_opening * len(self.openings)

    @property
    def count(self) -> int:
        return self.first_probe + 2 * len(self.probes)

    @property
    def sha256(self) -> str:
        """The same digest means the same operations."""
        digest = hashlib.sha256()
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def operations(self) -> tuple[npt.NDArray[np.uint8], Ints]:
        """(op, at), indexed by plan number.  A probe's READ is planned at its SEND's time: it waits for
        it."""
        op = np.empty(self.count, np.uint8)
        op[: self.first_read] = Op.SEND
        op[self.first_read : self.first_opening] = Op.READ
        op[self.first_opening : self.first_probe] = Op.STATE
        if not self.options.point_reads:
            op[self.first_opening + 1 : self.first_probe : 2] = Op.SYNC
        op[self.first_probe :: 2] = Op.PROBE_SEND
        op[self.first_probe + 1 :: 2] = Op.PROBE_READ
        at = [
            self.sends["at"],
            self.reads["at"],
            np.repeat(self.openings["at"], self.options.per_opening),
            np.repeat(self.probes["at"], 2),
        ]
        return op, np.concatenate(at)

    def reads_of_sends(self) -> Ints:
        """Reads of send i are rows r[i] to r[i + 1] - 1; those of seeded messages are before r[0]."""
        return np.searchsorted(self.reads["send"], np.arange(len(self.sends) + 1)).astype(np.int64)

    def save(self, path: Path) -> None:
        """Writes `plan.npz`, from which `load` gives the same plan.  Raises OSError."""
        options = np.array(
            [np.nan if value is None else float(value) for value in asdict(self.options).values()]
        )
        with path.open("wb") as file:
            np.savez(file, options=options, **self._arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Raises OSError or ValueError for what is no saved plan."""
        with np.load(path) as saved:
            values = [None if np.isnan(value) else float(value) for value in saved["options"]]
            named: dict[str, Any] = dict(zip(PlanOptions.__dataclass_fields__, values, strict=True))
            whole = {"draw": int(named["draw"])}
            whole |= {name: bool(named[name]) for name in ("probes", "point_reads")}
            options = PlanOptions(**named | whole)
            tables = {name: saved[name] for name in ("sends", "reads", "openings", "probes")}
            unread = Unread(**{name: saved[f"unread_{name}"] for name in Unread.__dataclass_fields__})
        return cls(options=options, unread_at_start=unread, **tables)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        tables = {name: getattr(self, name) for name in ("sends", "reads", "openings", "probes")}
        unread = {
            f"unread_{name}": getattr(self.unread_at_start, name) for name in Unread.__dataclass_fields__
        }
        return tables | unread


def rate_of_intensity(intensity: float, people: int) -> float:
    """SEND/s of `intensity` times the natural traffic of this many connected people."""
    return intensity * people * SENDS_PER_PERSON_AND_S


def intensity_of_rate(rate_per_s: float, people: int) -> float:
    """How many times the natural traffic of this many connected people this is."""
    return rate_per_s / (people * SENDS_PER_PERSON_AND_S)


def make(population: Population, options: PlanOptions, before: Plan | None = None) -> Plan:
    """The plan of these options; the seed is the population's.  Raises ValueError for a rate or time of 0.

    With `before`, that plan was carried out by the same people, who stood still since: nothing is seeded, and
    what they had not yet read then is read in this one."""
    if min(options.rate_per_s, options.measure_s) <= 0 or options.warmup_s < 0:
        raise ValueError(
            f"rate and duration must be above 0, got {options.rate_per_s} SEND/s for {options.measure_s} s "
            f"after {options.warmup_s} s of warm-up"
        )
    rng = np.random.default_rng([population.options.seed, 2, *([options.draw] if options.draw else [])])
    talk = _talk(population, options, rng)
    receipts = _Receipts(population, options, talk, rng)
    end = round(options.duration_s * SECOND)
    first = int(np.searchsorted(talk.at, 0))
    sends = np.zeros(len(talk.at) - first, SENDS)
    sends["at"], sends["conversation"] = talk.at[first:], talk.conversation[first:]
    sends["device"], sends["body"] = talk.device[first:], talk.body[first:]
    due = receipts.reads(first)
    if before is not None:
        due = _after(before, due)
    reads, later = due[due["at"] < end], due[due["at"] >= end]
    marks_per_s = float(reads["effective"].sum()) / options.duration_s
    openings = _openings(population, options, marks_per_s, rng)
    plan = Plan(options, sends, reads, openings, np.zeros(0, PROBES), receipts.unread(first), later)
    return replace(plan, probes=_probes(population, plan, rng)) if options.probes else plan


def _after(before: Plan, due: Rows) -> Rows:
    """The reads of this plan's own messages, and those that the plan before did not come to."""
    left = before.later.copy()
    left["at"] -= round(before.options.duration_s * SECOND)
    left["send"] = -1
    return _by_send(np.concatenate([left, due[due["send"] >= 0]]))


def _by_send(reads: Rows) -> Rows:
    return reads[np.lexsort((reads["at"], reads["device"], reads["send"]))]


# --- who says something, when, to whom --------------------------------------------------------------------


@dataclass(frozen=True)
class _Talk:
    """All sends in order of time, those before 0 included."""

    at: Ints
    conversation: Ints
    sender: Ints
    device: Ints
    body: Ints


def _talk(population: Population, options: PlanOptions, rng: np.random.Generator) -> _Talk:
    horizon_s = HORIZON_MEDIANS * MUCH_LATER_MEDIAN_S * options.attention_factor
    at = _arrivals(options.rate_per_s, -horizon_s, options.duration_s, options.warmup_s, rng)
    if options.point_reads:
        hot, n = hot_set(population), len(at)
        conversation, sender = hot.draw(population, rng.random(n), rng.random(n))
        return _Talk(at, conversation, sender, _device_of(population, sender, rng), _bodies(n, rng))
    activity = _skewed(population.connected, population.connected, rng)
    activity = np.concatenate([activity, np.zeros(len(population.first_device) - 1 - population.connected)])
    grouped = _every(len(at), options.group_share, rng)
    grouped &= population.groups > 0
    conversation = np.empty(len(at), np.int64)
    sender = np.empty(len(at), np.int64)
    conversation[~grouped], sender[~grouped] = _direct_talk(population, activity, int((~grouped).sum()), rng)
    per_slice = round(options.rate_per_s * SLICE_S * options.group_share)
    conversation[grouped], sender[grouped] = _group_talk(
        population, activity, int(grouped.sum()), per_slice, rng
    )
    return _Talk(at, conversation, sender, _device_of(population, sender, rng), _bodies(len(at), rng))


def _arrivals(
    rate_per_s: float, from_s: float, to_s: float, aligned_s: float, rng: np.random.Generator
) -> Ints:
    """Times in ns, ascending.  Each second (counted from the end of the warm-up) has the same number, at
    times drawn at random: a Poisson process, given its counts."""
    low, high = int(np.floor(from_s - aligned_s)), int(np.ceil(to_s - aligned_s))
    seconds = np.arange(low, high + 1)
    counts = np.diff(np.floor(seconds * rate_per_s + rng.random()).astype(np.int64))
    at = np.repeat(seconds[:-1], counts) + rng.random(int(counts.sum())) + aligned_s
    at_ns = np.sort((at * SECOND).astype(np.int64))
    return at_ns[(at_ns >= round(from_s * SECOND)) & (at_ns < round(to_s * SECOND))]


def _every(count: int, share: float, rng: np.random.Generator) -> Flags:
    """One of each 1/share, at a random place in its block."""
    chosen = np.zeros(count, np.bool_)
    if share > 0:
        block = 1 / share
        places = (np.arange(int(count / block) + 1) + rng.random(int(count / block) + 1)) * block
        chosen[places[places < count].astype(np.int64)] = True
    return chosen


def _skewed(count: int, ranks: int, rng: np.random.Generator) -> Floats:
    """Zipf-Mandelbrot weights in random order: 1 / (rank + ranks / 100), so that the busiest hundredth does
    much and nobody owns it (0.3 % for the first of 6,667)."""
    ranked: Floats = 1.0 / (rng.permutation(count).astype(np.float64) + 1 + max(5.0, ranks / 100))
    return ranked


def _stratified(count: int, rng: np.random.Generator, block: int = STRATA) -> Floats:
    """Uniform in [0, 1), each block of consecutive draws having one in each of its strata."""
    block = max(1, block)
    blocks = -(-count // block)
    strata = np.argsort(rng.random((blocks, block)), axis=1)
    drawn: Floats = ((strata + rng.random((blocks, block))) / block).ravel()[:count]
    return drawn


def _pick(weights: Floats, low: Ints, high: Ints, uniform: Floats) -> Ints:
    """For each draw a row of [low, high), by weight."""
    total = np.concatenate([np.zeros(1), np.cumsum(weights)])
    target = total[low] + uniform * (total[high] - total[low])
    rows: Ints = np.clip(np.searchsorted(total, target, side="right") - 1, low, high - 1)
    return rows


def _direct_talk(
    population: Population, activity: Floats, count: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """(conversation, sender): who starts by activity, with whom by Zipf over their partners, and then 70 %
    alternating."""
    starter = _pick(activity, np.zeros(count, np.int64), np.full(count, len(activity)), rng.random(count))
    closeness = np.where(population.of_person < population.direct, 1.0, 0.0)
    closeness /= 1.0 + _ranks_within(population.of_person_start, rng)
    start = population.of_person_start
    row = _pick(closeness, start[starter], start[starter + 1], rng.random(count))
    conversation: Ints = population.of_person[row].astype(np.int64)
    pair = population.member[population.member_start[conversation][:, None] + np.arange(2)].astype(np.int64)
    other = np.where(pair[:, 0] == starter, pair[:, 1], pair[:, 0])
    second = _alternating(conversation, rng)
    first_speaker = np.minimum(starter, other)
    second_speaker = np.maximum(starter, other)
    speaker = np.where(second, second_speaker, first_speaker)
    return conversation, np.where(speaker < population.connected, speaker, starter)


@dataclass(frozen=True)
class HotSet:
    """Direct conversations of connected people, the hottest first, and how often each is chosen (sum 1)."""

    conversations: Ints
    weights: Floats

    def draw(self, population: Population, uniform: Floats, side: Floats) -> tuple[Ints, Ints]:
        """(conversation, which of its two people) for uniform draws of both."""
        rows = np.searchsorted(np.cumsum(self.weights), uniform, side="right")
        conversation = self.conversations[np.minimum(rows, len(self.conversations) - 1)]
        person = population.member[population.member_start[conversation] + (side >= 0.5)]
        return conversation, person.astype(np.int64)


def hot_set(population: Population, size: int = HOT_CONVERSATIONS) -> HotSet:
    """Zipf's: the conversation of rank r is chosen 1 / (r + 1) as often as that of rank 0.

    Raises ValueError if no two connected people talk to each other."""
    rng = np.random.default_rng([population.options.seed, 4])
    pairs = population.member[: 2 * population.direct].reshape(-1, 2)
    hot = rng.permutation(np.flatnonzero((pairs < population.connected).all(axis=1)))[:size]
    if not len(hot):
        raise ValueError("no two connected people talk to each other: ask for more users, or fewer people")
    weights = 1 / (np.arange(len(hot)) + 1.0)
    return HotSet(hot.astype(np.int64), weights / weights.sum())


def _ranks_within(starts: Ints, rng: np.random.Generator) -> Ints:
    """A random rank 0, 1, 2, ... for each row among the rows of its owner."""
    lengths = np.diff(starts)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((rng.random(len(owner)), owner))
    ranks = np.empty(len(owner), np.int64)
    ranks[order] = np.arange(len(owner)) - np.repeat(starts[:-1], lengths)
    return ranks


def _alternating(conversation: Ints, rng: np.random.Generator) -> Flags:
    """Whether the second of the two speaks: within each conversation the speaker changes with probability
    0.7."""
    order = np.argsort(conversation, kind="stable")
    fresh = (
        np.concatenate([[True], np.diff(conversation[order]) != 0]) if len(order) else np.zeros(0, np.bool_)
    )
    turns = rng.random(len(order)) < np.where(fresh, 0.5, ALTERNATING)
    total = np.cumsum(turns)
    before = np.maximum.accumulate(np.where(fresh, total - turns, 0))
    second = np.empty(len(order), np.bool_)
    second[order] = (total - before) % 2 == 1
    return second


def _group_talk(
    population: Population, activity: Floats, count: int, per_slice: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """(conversation, sender): groups by popularity and size, in strata of size; then a member by activity."""
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    groups = np.arange(population.direct, population.direct + population.groups)
    sizes = population.sizes[groups]
    spoken = np.add.reduceat(activity[population.member], population.member_start[:-1])[groups] > 0
    weights = _skewed(len(groups), len(groups), rng) * sizes * spoken
    by_size = np.argsort(sizes, kind="stable")
    block = min(STRATA, per_slice)
    drawn = _stratified(count, rng, block)
    rows = _pick(weights[by_size], np.zeros(count, np.int64), np.full(count, len(groups)), drawn)
    conversation = groups[by_size[rows]].astype(np.int64)
    low, high = population.member_start[conversation], population.member_start[conversation + 1]
    place = _pick(activity[population.member], low, high, rng.random(count))
    return conversation, population.member[place].astype(np.int64)


def _device_of(population: Population, person: Ints, rng: np.random.Generator) -> Ints:
    """One of each person's devices; the people must be connected."""
    counts = population.device_counts[person]
    return population.first_device[person] + np.floor(rng.random(len(person)) * counts).astype(np.int64)


def _bodies(count: int, rng: np.random.Generator) -> Ints:
    shares, sizes = zip(*BODY_BYTES, strict=True)
    bounds = np.cumsum(shares)[:-1]
    return np.array(sizes, np.int64)[np.searchsorted(bounds, _stratified(count, rng, 20), side="right")]


# --- who reads it, when, where ----------------------------------------------------------------------------


class _Receipts:
    """One row for each message and receiver, and what a device will find when it wants to read."""

    def __init__(
        self, population: Population, options: PlanOptions, talk: _Talk, rng: np.random.Generator
    ) -> None:
        self.population, self.talk = population, talk
        self.send, self.person = _receivers(population, talk)
        connected = self.person < population.connected
        self.send, self.person = self.send[connected], self.person[connected]
        self.conversation = talk.conversation[self.send]
        self.delay = attention_ns(_stratified(len(self.send), rng), options.attention_factor)
        self.at = talk.at[self.send] + self.delay
        self.device = _device_of(population, self.person, rng)
        self.effective, self.behind = self._follow()

    def _follow(self) -> tuple[Flags, Flags]:
        """Follows each (conversation, person) through time.  A read finds something new when the event just
        before it there is a message; a message is still unread at 0 when no read and no own message lies
        between it and 0."""
        talk, rows = self.talk, len(self.send)
        people = len(self.population.first_device)
        key = np.concatenate([self.conversation, self.conversation, talk.conversation]) * people
        key += np.concatenate([self.person, self.person, talk.sender])
        at = np.concatenate([talk.at[self.send], self.at, talk.at])
        is_message = np.arange(len(key)) < rows
        order = np.lexsort((at, key))
        key, at, ordered = key[order], at[order], is_message[order]
        same = np.concatenate([[False], key[1:] == key[:-1]])
        after_message = same & np.concatenate([[False], ordered[:-1]])
        before_zero = at < 0
        marks = np.cumsum(~ordered & before_zero)
        last = np.append(np.flatnonzero(~same)[1:], len(key)) - 1 if len(key) else np.zeros(0, np.int64)
        marks_at_end = np.repeat(marks[last], np.diff(np.append(-1, last)))
        behind = ordered & before_zero & (marks == marks_at_end)
        flags = np.zeros((2, len(key)), np.bool_)
        flags[0, order], flags[1, order] = after_message, behind
        return flags[0, rows : 2 * rows], flags[1, :rows]

    def reads(self, first_send: int) -> Rows:
        """The reads due from 0 on: of sends from `first_send` on, and of what is seeded."""
        seeded = self.send < first_send
        rows = np.flatnonzero(self.at >= 0)
        reads = np.zeros(len(rows), READS)
        reads["send"] = np.where(seeded[rows], -1, self.send[rows] - first_send)
        for name in ("at", "delay", "person", "device", "conversation", "effective"):
            reads[name] = getattr(self, name)[rows]
        return _by_send(reads)

    def unread(self, first_send: int) -> Unread:
        """What to seed: the members behind at 0, and each spoken-in conversation's last sender."""
        rows = np.flatnonzero(self.behind)
        pairs = np.stack([self.conversation[rows], self.person[rows]], axis=1)
        unique, counts = np.unique(pairs.reshape(-1, 2), axis=0, return_counts=True)
        spoken, newest = np.unique(self.talk.conversation[:first_send][::-1], return_index=True)
        kept = np.isin(spoken, unique[:, 0])
        return Unread(
            conversation=unique[:, 0].astype(np.uint32),
            person=unique[:, 1].astype(np.uint32),
            count=counts.astype(np.uint32),
            last_conversation=spoken[kept].astype(np.uint32),
            last_sender=self.talk.sender[:first_send][::-1][newest[kept]].astype(np.uint32),
        )


def _receivers(population: Population, talk: _Talk) -> tuple[Ints, Ints]:
    """(send, person): every member of the conversation but the sender, offline ones included."""
    low = population.member_start[talk.conversation]
    lengths = population.member_start[talk.conversation + 1] - low
    send = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(send)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(low, lengths)
    person = population.member[place].astype(np.int64)
    others = person != talk.sender[send]
    return send[others], person[others]


def attention_ns(uniform: Floats, factor: float) -> Ints:
    """How long until somebody looks, for uniform draws: 50 % about 1 s, 35 % and 15 % lognormal, their
    medians multiplied by `factor`."""
    grid = (np.arange(4096) + 0.5) / 4096
    normal = np.array([NormalDist().inv_cdf(float(p)) for p in grid])
    seconds = FOCUSED_S[0] + uniform / FOCUSED * (FOCUSED_S[1] - FOCUSED_S[0])
    for start, share, median in (
        (FOCUSED, LATER, LATER_MEDIAN_S),
        (FOCUSED + LATER, MUCH_LATER, MUCH_LATER_MEDIAN_S),
    ):
        slow = uniform >= start
        z = np.interp((uniform[slow] - start) / share, grid, normal)
        seconds[slow] = median * factor * np.exp(SIGMA * z)
    return (seconds * SECOND).astype(np.int64)


# --- what else happens ------------------------------------------------------------------------------------


def _openings(
    population: Population, options: PlanOptions, marks_per_s: float, rng: np.random.Generator
) -> Rows:
    rate = options.rate_per_s * OPENINGS_PER_SEND
    per_mark = options.reads_per_mark
    if per_mark is None and options.point_reads:
        per_mark = POINT_READS_PER_MARK
    if per_mark is not None:
        rate = per_mark * marks_per_s
    at = _arrivals(rate, 0, options.duration_s, options.warmup_s, rng)
    openings = np.zeros(len(at), OPENINGS)
    openings["at"] = at
    if options.point_reads:
        hot, n = hot_set(population), len(at)
        openings["conversation"], person = hot.draw(population, rng.random(n), rng.random(n))
        openings["device"] = _device_of(population, person, rng)
        return openings
    openings["device"] = rng.integers(0, population.devices, len(at))
    return openings


def _probes(population: Population, plan: Plan, rng: np.random.Generator) -> Rows:
    """Of each kind as many as a hundredth of all operations allows.  The first half of the pairs, in turn, is
    asked until the READ shows; the second half looks once."""
    pairs = population.options.probe_pairs
    operations = len(plan.sends) * (1 + 2 * causes(population, plan).read)
    operations += plan.options.per_opening * len(plan.openings)
    rate = PROBE_SHARE * operations / plan.options.duration_s if pairs else 0.0
    polled = (pairs + 1) // 2
    at = _arrivals(rate / OPERATIONS_PER_PROBE, 0, plan.options.duration_s, plan.options.warmup_s, rng)
    probes = np.zeros(len(at), PROBES)
    probes["at"], probes["pair"], probes["offset_us"] = at, np.arange(len(at)) % max(1, polled), -1
    looks = _looks(plan.options, rate / OPERATIONS_PER_LOOK, range(polled, pairs), rng)
    both = np.concatenate([probes, looks])
    return both[np.argsort(both["at"], kind="stable")]


def _looks(options: PlanOptions, per_s: float, pairs: range, rng: np.random.Generator) -> Rows:
    """Probes that look once.  A pair takes the next one when it has looked, so that no later READ shows in
    an earlier one's place; what finds no free pair, or would look after the end, is left out, whatever its
    offset would have shown."""
    at = _arrivals(per_s if len(pairs) else 0.0, 0, options.duration_s, options.warmup_s, rng)
    offset_us = offsets_us(_stratified(len(at), rng, len(OFFSETS_US)))
    end = round(options.duration_s * SECOND)
    free = [(0, pair) for pair in pairs]
    kept = []
    for start, offset in zip(at.tolist(), offset_us.tolist(), strict=True):
        until = start + (offset + SETTLING_US) * 1000
        if free[0][0] <= start and until < end:
            kept.append((start, heapq.heapreplace(free, (until, free[0][1]))[1], offset))
    return np.array(kept, PROBES)


def offsets_us(uniform: Floats) -> Ints:
    """Offsets for uniform draws: each interval of OFFSETS_US equally often, evenly within it."""
    ends = np.array([*OFFSETS_US, LAST_OFFSET_US], np.float64)
    place = uniform * len(OFFSETS_US)
    offsets: Ints = np.interp(place, np.arange(len(ends)), ends).astype(np.int64)
    return offsets


def causes(population: Population, plan: Plan, delivered_window_s: float = DELIVERED_WINDOW_S) -> Causes:
    """What one planned message causes on average, if every message arrives at once; `read` in equilibrium.

    Whoever reads within `delivered_window_s` confirms by that, on all devices."""
    conversation = plan.sends["conversation"].astype(np.int64)
    sender = population.device_person[plan.sends["device"]].astype(np.int64)
    n = max(1, len(conversation))
    counts = population.device_counts
    online = np.add.reduceat(counts[population.member], population.member_start[:-1])[conversation]
    receivers = float((population.sizes[conversation] - 1).sum()) / n
    received = float((online - counts[sender]).sum()) / n
    direct = conversation < population.direct
    marks = plan.reads[plan.reads["effective"] > 0]
    per_send = len(marks) / n
    at_once = marks["person"][marks["delay"] < delivered_window_s * SECOND]
    read_at_once = float(counts[at_once].sum()) / n
    own = float((counts[marks["person"]] - 1).sum()) / n
    receipts = float(_told(population, plan, marks).sum()) / n
    reached = float(np.where(direct, counts[sender] * (online > counts[sender]), 0).sum()) / n
    return Causes(
        receivers=receivers,
        devices=float((online - 1).sum()) / n,
        delivered=received - read_at_once,
        read=per_send,
        receipts=receipts,
        pushes=float((online - 1).sum()) / n + own + receipts + reached,
        rows=receivers,
    )


def _told(population: Population, plan: Plan, marks: Rows) -> Ints:
    """Devices that each mark's receipt goes to: those of the sender of the message that it answers."""
    sender_devices = np.append(population.device_counts[population.device_person[plan.sends["device"]]], 1)
    told: Ints = sender_devices[marks["send"]]
    return told
