"""What does one request cost the generator?

A READ on a random device at random times, SPEED_OPS of them a second, and nothing else: a Locust file for the
speed tests, run as `bench run` runs a scenario."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from bench.load.user import ChatUser, Step, Timeline
from bench.record import Op
from schemes.protocol import Mark, Read

OPS_PER_S = float(os.environ.get("SPEED_OPS", "2000"))


class Paced(ChatUser):
    @classmethod
    def timeline(cls, plan: Timeline) -> Iterator[Step]:
        devices, engine, rng = plan.crowd.devices, plan.crowd.engine, random.Random(1)

        def read(due: int, number: int) -> None:
            device = devices[int(rng.random() * len(devices))]
            engine.request(device, Op.READ, Read([Mark("d77", 812)]), due, 76, 812, number)

        due, number = float(plan.t0_ns), 0
        while OPS_PER_S and due < plan.end_ns:
            yield int(due), read, (number,)
            due += rng.expovariate(OPS_PER_S) * 1e9
            number += 1
