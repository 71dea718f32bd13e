"""Who there is and who talks to whom: people, their devices, their conversations, from one seed.  Pure.

Everything is a numpy array indexed by person, device or conversation; those indexes are what the records hold
(`bench/record.py`), and `user_id`, `device_id` and `conversation_id` are their names on the wire.

People connect whole or not at all: the first `connected` people own exactly `devices` devices, the others are
offline members.  After them come the probe people and, after all other conversations, their conversations:
they take no part in the traffic.

When anything happens is the plan's business (`bench/plan.py`); it also says who has an unread message when
the run begins, which `seed_frames` turns into what SEED is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemes.protocol import SeedConversation, encode

Ints = npt.NDArray[np.int64]
Indexes = npt.NDArray[np.uint32]

DIRECT: Final = "direct"
GROUP: Final = "group"
PARTNERS: Final = 40
GROUPS_PER_PERSON: Final = 5
SMALL_GROUP: Final = (5, 20)
MEDIUM_GROUP: Final = (20, 50)
SMALL_SHARE: Final = 0.8
DEVICES_PER_PERSON: Final = 1.5
"""60 % have one device, 30 % two, 10 % three."""
TWO_DEVICES: Final = 0.3
THREE_DEVICES: Final = 0.1
PROBE_PAIRS: Final = 16
SEED_FRAME_BYTES: Final = 1 << 20
NOBODY: Final = 0xFFFFFFFF
"""No person, device or conversation, in an unsigned column."""


@dataclass(frozen=True)
class PopulationOptions:
    """What a population is made from.  `people` counts connected and offline ones; None: the connected
    only."""

    devices: int
    people: int | None = None
    seed: int = 1
    history_direct: int = 5
    history_group: int = 20
    probe_pairs: int = PROBE_PAIRS


@dataclass(frozen=True)
class Unread:
    """Who has not read the last messages of a conversation when the run begins, and who sent the last one.

    `conversation`, `person`, `count` are rows, one for each member behind; `last_sender[i]` sent the last
    message of `last_conversation[i]`."""

    conversation: Indexes
    person: Indexes
    count: Indexes
    last_conversation: Indexes
    last_sender: Indexes


@dataclass(frozen=True)
class Population:
    """Rows of a ragged table `x` of owner i are `x[x_start[i]:x_start[i + 1]]`."""

    options: PopulationOptions
    connected: int
    """People whose devices connect: indexes 0 to connected - 1."""
    people: int
    """All that take part in the traffic; probe people follow."""
    direct: int
    """Conversations 0 to direct - 1 have two members, `direct` to `direct + groups - 1` are groups."""
    groups: int
    device_person: Indexes
    first_device: Ints
    """Devices of person p: first_device[p] to first_device[p + 1] - 1; empty for those offline."""
    member: Indexes
    member_start: Ints
    of_person: Indexes
    """Each person's conversations, ascending."""
    of_person_start: Ints

    @property
    def devices(self) -> int:
        return self.options.devices

    @property
    def conversations(self) -> int:
        """All of them, the probes' included."""
        return len(self.member_start) - 1

    @property
    def sizes(self) -> Ints:
        """Members of each conversation."""
        return np.diff(self.member_start)

    @property
    def device_counts(self) -> Ints:
        """Connected devices of each person, 0 for offline and probe people."""
        return np.diff(self.first_device)

    def members_of(self, conversation: int) -> Indexes:
        return self.member[self.member_start[conversation] : self.member_start[conversation + 1]]

    def kind(self, conversation: int) -> str:
        return GROUP if self.direct <= conversation < self.direct + self.groups else DIRECT

    def conversation_id(self, conversation: int) -> str:
        return f"{self.kind(conversation)[0]}{conversation + 1}"

    def device_id(self, device: int) -> str:
        """`device-1` to `device-3`: unique within the person, as the protocol wants it."""
        return f"device-{device - int(self.first_device[self.device_person[device]]) + 1}"

    def probe_pair(self, pair: int) -> tuple[int, int, int]:
        """(the one who sends, the one who reads, their conversation)."""
        sender = self.people + 2 * pair
        return sender, sender + 1, self.direct + self.groups + pair

    def seed_conversations(self, unread: Unread | None = None) -> Iterator[SeedConversation]:
        """Every conversation as SEED loads it; all is read but what `unread` says.

        Nobody may be behind their own last message, so the sender of the last one is put where the
        arithmetic history ends; everyone else can then have at least that one message unread."""
        behind = _rows_by_conversation(unread)
        last: dict[int, int] = {}
        if unread is not None:
            senders = unread.last_sender.tolist()
            last.update(zip(unread.last_conversation.tolist(), senders, strict=True))
        bounds = self.member_start.tolist()
        members = (self.member.astype(np.int64) + 1).tolist()
        for index in range(self.conversations):
            kind = self.kind(index)
            history = self.options.history_group if kind == GROUP else self.options.history_direct
            numbers = members[bounds[index] : bounds[index + 1]]
            if index in last and history:
                _put_last(numbers, last[index] + 1, history)
            read_seq = [history] * len(numbers)
            for person, count in behind.get(index, ()):
                place = numbers.index(person + 1)
                read_seq[place] = max(history - count, _own_last(place, len(numbers), history))
            yield SeedConversation(f"{kind[0]}{index + 1}", kind, numbers, history, read_seq)

    def seed_frames(self, unread: Unread | None = None) -> Iterator[list[SeedConversation]]:
        """The same in batches of at most SEED_FRAME_BYTES when encoded; the sender marks the last one
        done."""
        batch: list[SeedConversation] = []
        size = 2
        for conversation in self.seed_conversations(unread):
            more = len(encode(conversation)) + 1
            if batch and size + more > SEED_FRAME_BYTES:
                yield batch
                batch, size = [], 2
            batch.append(conversation)
            size += more
        yield batch

    def seed_sha256(self, unread: Unread | None = None) -> str:
        """What the seeded data is, to find a copy of it again."""
        digest = hashlib.sha256()
        for batch in self.seed_frames(unread):
            digest.update(encode(batch))
        return digest.hexdigest()


def user_id(person: int) -> str:
    return f"u{person + 1}"


def index_of(name: str) -> int:
    """The index behind a user or conversation id: `u17` -> 16, `g5` -> 4.  NOBODY for a foreign id."""
    number = name[1:]
    return int(number) - 1 if number.isascii() and number.isdigit() and number != "0" else NOBODY


def _rows_by_conversation(unread: Unread | None) -> dict[int, list[tuple[int, int]]]:
    rows: dict[int, list[tuple[int, int]]] = {}
    if unread is not None:
        for index, person, count in zip(
            unread.conversation.tolist(), unread.person.tolist(), unread.count.tolist(), strict=True
        ):
            rows.setdefault(index, []).append((person, count))
    return rows


def _put_last(numbers: list[int], sender: int, history: int) -> None:
    last, place = (history - 1) % len(numbers), numbers.index(sender)
    numbers[last], numbers[place] = numbers[place], numbers[last]


def _own_last(place: int, size: int, history: int) -> int:
    return history - (history - 1 - place) % size if history > place else 0


# --- making one -------------------------------------------------------------------------------------------


def build(options: PopulationOptions) -> Population:
    """The population of these options: the same options always give the same one.

    Raises ValueError if nobody could talk to anybody."""
    connected = connected_people(options.devices)
    people = options.people if options.people is not None else connected
    if people < connected:
        raise ValueError(
            f"{options.devices} devices are {connected} people, but only {people} people were asked for: "
            f"give at least {connected}, or fewer users"
        )
    rng = np.random.default_rng([options.seed, 1])
    counts = _device_counts(options.devices, connected, rng)
    pairs = _direct_pairs(people, rng)
    sizes, group_members = _groups(people, rng)
    probes = np.arange(people, people + 2 * options.probe_pairs, dtype=np.int64)
    member = np.concatenate([pairs.ravel(), group_members, probes]).astype(np.uint32)
    lengths = np.concatenate([np.full(len(pairs), 2), sizes, np.full(options.probe_pairs, 2)])
    everyone = people + len(probes)
    of_person, of_person_start = _by_person(member, lengths, everyone)
    return Population(
        options=options,
        connected=connected,
        people=people,
        direct=len(pairs),
        groups=len(sizes),
        device_person=np.repeat(np.arange(connected, dtype=np.uint32), counts),
        first_device=_starts(np.concatenate([counts, np.zeros(everyone - connected, np.int64)])),
        member=member,
        member_start=_starts(lengths),
        of_person=of_person,
        of_person_start=of_person_start,
    )


def connected_people(devices: int) -> int:
    """How many people own this many devices.  Raises ValueError below 2: a person alone has nobody to talk
    to."""
    if devices < 2:
        raise ValueError(f"a conversation needs at least 2 users, got {devices}")
    return max(2, round(devices / DEVICES_PER_PERSON))


def _starts(lengths: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _device_counts(devices: int, people: int, rng: np.random.Generator) -> Ints:
    """1, 2 or 3 for each person, in the right shares as far as the sum allows, in random order."""
    three = round(THREE_DEVICES * people)
    two = round(TWO_DEVICES * people)
    missing = devices - (people + two + 2 * three)
    while missing < 0 and two == 0:
        three, two, missing = three - 1, two + 1, missing + 1
    two += missing
    counts = np.ones(people, np.int64)
    counts[:three] = 3
    counts[three : three + two] = 2
    return rng.permutation(counts)


def _direct_pairs(people: int, rng: np.random.Generator) -> Ints:
    """(n, 2): everyone has min(40, people - 1) partners.  A circulant graph over a shuffled circle: the
    distances are random, so that partners of partners are no more alike than by chance."""
    if people - 1 <= PARTNERS:
        first, second = np.triu_indices(people, k=1)
        pairs = np.stack([first, second], axis=1).astype(np.int64)
    else:
        distances = rng.choice(np.arange(1, (people - 1) // 2 + 1), size=PARTNERS // 2, replace=False)
        circle = rng.permutation(people)
        pairs = np.stack([np.tile(circle, len(distances)), _turned(circle, distances)], axis=1)
    flip = rng.random(len(pairs)) < 0.5
    pairs[flip] = pairs[flip][:, ::-1]
    return rng.permutation(pairs, axis=0)


def _turned(circle: Ints, distances: Ints) -> Ints:
    return np.concatenate([np.roll(circle, -int(distance)) for distance in distances])


def _groups(people: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """(sizes, members one group after the other).  Five times everyone is dealt out into groups, so everyone
    is in five and in no group twice.  Two people make no group."""
    if people < 3:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rounds = [_group_sizes(people, rng) for _ in range(GROUPS_PER_PERSON)]
    members = [rng.permutation(people) for _ in range(GROUPS_PER_PERSON)]
    return np.concatenate(rounds), np.concatenate(members)


def _group_sizes(people: int, rng: np.random.Generator) -> Ints:
    """Sizes with sum `people`: 80 % of 5 to 20, 20 % of 20 to 50; what is left over makes some one larger."""
    if people < 2 * SMALL_GROUP[0]:
        return np.array([people])
    guess = people // SMALL_GROUP[0] + 1
    spread = rng.permutation((np.arange(guess) + 0.5) / guess)
    small = SMALL_GROUP[0] + np.floor(spread / SMALL_SHARE * (SMALL_GROUP[1] - SMALL_GROUP[0] + 1))
    medium = MEDIUM_GROUP[0] + np.floor(
        (spread - SMALL_SHARE) / (1 - SMALL_SHARE) * (MEDIUM_GROUP[1] - MEDIUM_GROUP[0] + 1)
    )
    sizes = np.where(spread < SMALL_SHARE, small, medium).astype(np.int64)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), people, side="right")]
    left = people - int(sizes.sum())
    if left >= SMALL_GROUP[0] or not len(sizes):
        return np.append(sizes, left)
    sizes[np.argsort(sizes, kind="stable")[: min(left, len(sizes))]] += 1
    sizes[0] += people - int(sizes.sum())
    return sizes


def _by_person(member: Indexes, lengths: Ints, everyone: int) -> tuple[Indexes, Ints]:
    conversation = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    order = np.argsort(member, kind="stable")
    return conversation[order], _starts(np.bincount(member, minlength=everyone))
