"""What does one request cost the server?

Every device READs a conversation of its own, again and again, at random times, SPEED_OPS times a second all
together: a Locust file for the speed tests.  All of it is read already, so nobody is told.

SPEED_TURN `k/n` is for n servers that are loaded in turn, SPEED_TURN_NS each: this is the load of number
k."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from bench.load.user import ChatUser, Step, Timeline
from bench.population import GROUP
from bench.record import Op
from schemes.protocol import Mark, Read

OPS_PER_S = float(os.environ.get("SPEED_OPS", "2000"))
TURN, TURNS = (int(part) for part in os.environ.get("SPEED_TURN", "0/1").split("/"))
TURN_NS = int(os.environ.get("SPEED_TURN_NS", "1000000000"))


class Reads(ChatUser):
    @classmethod
    def timeline(cls, plan: Timeline) -> Iterator[Step]:
        crowd, rng = plan.crowd, random.Random(1)
        population, options = crowd.population, crowd.population.options
        marks = []
        for device in crowd.devices:
            start, end = population.of_person_start[device.person : device.person + 2]
            conversation = int(population.of_person[rng.randrange(start, end)])
            is_group = population.kind(conversation) == GROUP
            seq = options.history_group if is_group else options.history_direct
            mark = Mark(population.conversation_id(conversation), seq)
            marks.append((device, Read([mark]), conversation, seq))

        def read(due: int, number: int) -> None:
            device, frame, conversation, seq = marks[int(rng.random() * len(marks))]
            crowd.engine.request(device, Op.READ, frame, due, conversation, seq, number)

        due, number = float(plan.t0_ns), 0
        while OPS_PER_S and due < plan.end_ns:
            turn = int(due - plan.t0_ns) // TURN_NS
            if turn % TURNS != TURN:
                due += (TURN - turn) % TURNS * TURN_NS - (due - plan.t0_ns) % TURN_NS
                continue
            yield int(due), read, (number,)
            due += rng.expovariate(OPS_PER_S) * 1e9
            number += 1
