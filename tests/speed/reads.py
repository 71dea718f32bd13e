"""What does one request cost the server?

Every device READs a conversation of its own, again and again, at random times, SPEED_OPS times a second all
together: a Locust file for the speed tests.  All of it is read already, so nobody is told."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from bench.load.user import ChatUser, Step, Timeline
from bench.population import GROUP
from bench.record import Op
from schemes.protocol import Mark, Read

OPS_PER_S = float(os.environ.get("SPEED_OPS", "2000"))


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
            yield int(due), read, (number,)
            due += rng.expovariate(OPS_PER_S) * 1e9
            number += 1
