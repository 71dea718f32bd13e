"""What a finding says in one sentence, from its records.  Pure.

A sentence names the two operations at fault and why, so that nobody needs to know the check to read it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.results import Json


def span(seconds: float) -> str:
    """41.2 s, 5.12 ms, 640 µs."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if abs(seconds) * scale >= 0.9995:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def operation(record: Json) -> str:
    """STATE, probe READ, READ acknowledgement: what it is called."""
    name = str(record["op"]).replace("PROBE_ONCE", "PROBE_STATE").replace("PROBE_", "probe ")
    return f"{name} acknowledgement" if record["part"] == "read" and name.endswith("READ") else name


def reader(record: Json) -> str:
    """The STATE of u17 on session 0x1000003."""
    return f"the {operation(record)} of {record['user_id']} on session {record['session']:#x}"


def was_complete(record: Json, whose: str = "") -> str:
    """What makes a later read wrong; `whose` names who did it, if not the user of the record."""
    value, by = record["value"], whose or record.get("user_id")
    if record["op"] == "seed":
        return f"the cursor started at {value}"
    if record["part"] == "read":
        seen = "had been shown" if operation(record).endswith("STATE") else "had been told of"
        return f"{by} {seen} {value} by a {operation(record)}"
    if record["op"].endswith("SEND"):
        return f"the {operation(record)} of message {value} by {by} was acknowledged"
    return f"the {operation(record)} up to {value} by {by} was acknowledged"


def stale(read: Json, witness: Json, age_s: float, whose: str = "") -> str:
    return capital(
        f"{reader(read)} began {span(age_s)} after {was_complete(witness, whose)}, and shows {read['value']}."
    )


def suspected(filler: Json, suspects: int) -> str:
    """Who may have put the old value into the cache."""
    which = "the only read" if suspects == 1 else f"the last of {suspects} reads"
    return (
        f" Suspected: {reader(filler)}, {which} that asked MySQL before the newer value was committed and "
        "could fill the cache after its delete."
    )


def superseded(read: Json, write: Json, higher: Json) -> str:
    return capital(
        f"{reader(read)} shows {read['value']}, which was first written by an operation that began when "
        f"{higher['value']} was complete already: the cursor can never have been at {write['value']}."
    )


def unwritten(read: Json) -> str:
    return capital(
        f"{reader(read)} shows {read['value']}, and nobody had begun to write that before it was answered."
    )


def lost(asked: Sequence[Json], held: Json) -> str:
    """`asked`: the acknowledged write that reached furthest, if any."""
    why = was_complete(asked[0]) if asked else "more was acknowledged"
    return capital(f"{why}, and after the drain the store holds {held['value']}.")


def phantom(attempted: int, held: Json) -> str:
    return (
        f"After the drain the store holds {held['value']}, and nobody ever asked for more than {attempted}."
    )


def given_twice(sends: Sequence[Json]) -> str:
    first, second = sends
    return (
        f"The SEND of {first['user_id']} and the SEND of {second['user_id']} were both acknowledged as "
        f"message {first['value']}."
    )


def stale_at_end(read: Json, held: Json, asked: Sequence[Json], age_s: float | None) -> str:
    """`asked`: the first acknowledged write that the read does not show, `age_s` old then."""
    why = f", {span(age_s)} after {was_complete(asked[0])}" if asked and age_s is not None else ""
    return capital(
        f"{reader(read)} shows {read['value']}{why}; the store holds {held['value']}, and nothing was on its "
        "way."
    )


def _pushed(push: Json) -> str:
    """MESSAGE 7, READ up to 7 at version 3 as change 12."""
    kind = str(push["op"]).removeprefix("push ")
    if kind == "MESSAGE":
        return f"MESSAGE {push['value']}"
    version = "" if push["version"] is None else f" at version {push['version']}"
    change = "" if push["change_id"] is None else f" as change {push['change_id']}"
    return f"{kind} up to {push['value']}{version}{change}"


def _told(push: Json) -> str:
    return f"{push['user_id']} on session {push['session']:#x}"


def push_again(_first: Json, again: Json, age_s: float) -> str:
    return f"{_pushed(again)} came to {_told(again)} once more, {span(age_s)} after it had come."


def push_late(newer: Json, late: Json, age_s: float) -> str:
    return f"{_pushed(late)} came to {_told(late)} {span(age_s)} after {_pushed(newer)}."


def version_again(before: Json, after: Json) -> str:
    return (
        f"{_pushed(after)} came to {_told(after)}, though the same device had been told of {_pushed(before)} "
        "before: the server's counter ran backwards."
    )


def receipt_early(receipt: Json, message: Json, age_s: float) -> str:
    return f"{_told(message)} got the receipt {_pushed(receipt)} {span(age_s)} before {_pushed(message)}."


def push_lost(stream: str, value: int, who: str, shown_by: Sequence[Json], *, later: bool) -> str:
    """`shown_by`: the operation or push that proves that there was something to be told."""
    why = f" ({was_complete(shown_by[0])})" if shown_by and shown_by[0]["part"] != "push" else ""
    end = "something later of it did" if later else "it stayed subscribed until nothing was on its way"
    return f"{value} of {stream} never came to {who}{why}, though {end}."


def unread(read: Json, low: int, high: int, kind: str) -> str:
    between = f"{low}" if low == high else f"{low} to {high}"
    return capital(
        f"{reader(read)} shows {read['value']} unread, where {between} were possible by what had been sent "
        f"and read ({kind})."
    )


def total(read: Json, added: int) -> str:
    return capital(
        f"{reader(read)} says {read['value']} unread in total, and its own items add up to {added}."
    )


def apart(cursor: str, store: int, cache: int | None, api: int | None, age_s: float | None) -> str:
    """`cursor`: read or delivered."""
    others = [f"{name} {value}" for name, value in (("the cache holds", cache), ("the API shows", api))
              if value is not None]  # fmt: skip
    since = f"; more than the lowest had been acknowledged for {span(age_s)}" if age_s is not None else ""
    return f"Of this {cursor} cursor the store holds {store}, {', '.join(others)}{since}."


def _page(sync: Json, since: int, following: int) -> str:
    return f"the SYNC of {sync['user_id']} on session {sync['session']:#x} from {since} to {following}"


def hole(sync: Json, since: int, following: int, witness: Json, *, heard_s: float | None) -> str:
    """`witness`: what shows that there was such a change; `heard_s`: how long after the page the device heard
    of it, None if it never did."""
    change = f"change {witness['change_id']}" if witness.get("change_id") else "a change"
    after = "never was" if heard_s is None else f"was {span(heard_s)} later"
    return capital(
        f"{_page(sync, since, following)} leaves out {change} that {was_told(witness)}: its device will not "
        f"ask for it again, and {after} told of it."
    )


def was_told(record: Json) -> str:
    if record["part"] == "push":
        return f"{_told(record)} had been pushed"
    if record["part"] == "write":
        return f"the acknowledged {operation(record)} up to {record['value']} made"
    return f"a {operation(record)} of {record['user_id']} lists"


def gap_of_ids(sync: Json, since: int, following: int) -> str:
    return capital(
        f"{_page(sync, since, following)} has fewer changes than ids, and nobody ever saw the others."
    )


def page(sync: Json, since: int, following: int, fault: str) -> str:
    return capital(f"{_page(sync, since, following)}: {fault}.")


def told_apart(what: str, kind: str, first: Json, second: Json) -> str:
    """`what`: version 7, change 12."""
    return f"{what} came as {_seen(first)} and as {_seen(second)}: {kind}."


def _seen(record: Json) -> str:
    if record["part"] == "push":
        return f"{_pushed(record)} to {_told(record)}"
    return f"{record['value']} in {reader(record)}"


def device_knows(device: int, knows: int, store: int) -> str:
    return (
        f"Device {device} was told of {knows} at most, by all STATEs, SYNCs and pushes that came to it, and "
        f"after the drain the store holds {store}."
    )


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def plain(kind: str, records: Sequence[Json]) -> str:
    """For a check that has no sentence of its own: what kind, and what the records are."""
    told = [f"{operation(record)} {record['value']}" for record in records]
    return capital(f"{kind}: {', then '.join(told)}.")
