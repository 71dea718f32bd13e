"""One load process from connect to the last row: engine, devices, timeline and what is asked of them.

Locust's part (users, statistics) is `user.py`; who gives the orders is `worker.py`, or `standalone.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Final

import gevent
from gevent.event import Event

from bench.load.closed import Closed
from bench.load.config import LoadConfig
from bench.load.device import Crowd, Device
from bench.load.engine import Engine
from bench.load.final_read import FinalRead
from bench.load.live_checks import LiveChecks
from bench.load.pacing import now_ns
from bench.load.shares import share_of
from bench.load.stalls import Stalls
from bench.load.stamps import StampedEngine
from bench.load.timeline import Timeline
from bench.plan import Plan
from bench.population import Population
from bench.record import Phase

PING_EVERY_NS: Final = 50_000_000
DRAIN_POLL_S: Final = 0.05
SETTLE_NS: Final = 10_000_000
"""After the end of the window, before what never fell due is told."""
HORIZON: Final = 4
"""Deadlines after which the live checks forget what came before the last rise of a cursor."""


class LoadProcess:
    """Load worker `worker`, or the probe users' process if there is no load worker of that number.

    `on_fatal(reason)` is called once if the run cannot go on."""

    def __init__(
        self,
        config: LoadConfig,
        population: Population,
        plan: Plan,
        worker: int,
        on_fatal: Callable[[str], None],
    ) -> None:
        self.config = config
        self.population = population
        self.plan = plan
        self.worker = worker
        self._share = share = share_of(population, worker, config.workers, config.probe_devices)
        self._people = share.people.tolist()
        engine = StampedEngine if worker == config.workers else Engine
        self.engine: Engine = engine(
            config.host,
            config.memory_folder,
            worker,
            in_flight=config.in_flight,
            deadline_s=config.deadline_s,
            on_fatal=on_fatal,
            live=LiveChecks(
                len(population.of_person_start) - 1,
                population.conversations,
                horizon_ns=HORIZON * round(config.deadline_s * 1e9),
            ),
        )
        self.crowd = Crowd(
            self.engine,
            population,
            share.devices.tolist(),
            secret=config.secret,
            delivered_window_s=config.delivered_window_s,
            door=config.door,
            trace=config.trace,
        )
        self.stalls = Stalls(self.engine.hub.loop)
        self.stalls.start()
        closed = Closed(self.engine.tasks) if config.arrivals == "closed" else None
        self.timeline = Timeline(self.crowd, plan, config.nonce, share, closed)
        self.crowd.on_message = self.timeline.arrived
        self.crowd.keep_alive(now_ns(), PING_EVERY_NS)
        self._unclaimed: Iterator[Device] = iter(self.crowd.devices)
        self._probes_connected = False

    @property
    def wanted(self) -> int:
        """Devices that this process is to connect."""
        return len(self.crowd.devices)

    def claim(self) -> Device | None:
        """The next device that no user has yet; None when all are taken."""
        if not self._probes_connected:
            self._probes_connected = True
            for pair in self.timeline.probe_pairs:
                for device in pair.devices:
                    device.connect()
        return next(self._unclaimed, None)

    def freeze_gc(self) -> None:
        """Collects now, and not again before `stop`: with thousands of sockets one collection takes 100
        ms."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def begin(self, t0_ns: int, on_finished: Callable[[], None]) -> None:
        """The warm-up starts at t0_ns; `on_finished` is called when the measured window is over, what came
        until then is confirmed and no reply is outstanding, or the deadline has passed.

        Nothing is marked after that: store and cache are compared next."""
        options, enter = self.plan.options, self.engine.phases.enter
        self.timeline.begin(t0_ns)
        measure_ns = t0_ns + round(options.warmup_s * 1e9)
        self.engine.pacer.at(t0_ns, lambda due: enter(Phase.WARMUP, due))
        self.engine.pacer.at(measure_ns, lambda due: enter(Phase.MEASURE, due))
        self.engine.pacer.at(self.timeline.end_ns, lambda due: enter(Phase.DRAIN, due))
        passed = Event()
        self.engine.pacer.at(self.timeline.end_ns + SETTLE_NS, lambda _: passed.set())
        gevent.spawn(self._end, passed, on_finished)

    def follow(self, plan: Plan, nonce: str) -> None:
        """Another plan of the same people for the same connections, once the last one has ended; `begin`
        starts it.  `nonce` tells its messages from all others."""
        self.plan = plan
        self.timeline = Timeline(self.crowd, plan, nonce, self._share, before=self.timeline)
        self.crowd.on_message = self.timeline.arrived
        self.crowd.over = False

    def _end(self, passed: Event, on_finished: Callable[[], None]) -> None:
        """`passed`: what was due in the window has had its turn, however late this process was."""
        passed.wait()
        self.timeline.finish()
        deadline_ns = now_ns() + self.engine.deadline_ns
        while self._is_busy() and now_ns() < deadline_ns:
            gevent.sleep(DRAIN_POLL_S)
        self.timeline.give_up()
        self.crowd.over = True
        on_finished()

    def _is_busy(self) -> bool:
        return bool(self.crowd.gathering or self.timeline.busy or self.engine.outstanding())

    def final_read(self, on_done: Callable[[int, int], None]) -> None:
        """Reads the state of its people on fresh connections; `on_done(people read, people not)`."""
        self.engine.phases.enter(Phase.FINAL, now_ns())
        FinalRead(self.crowd, self._people, on_done).start()

    def stop(self) -> None:
        """Closes every connection and the files."""
        for device in self.crowd.devices:
            device.close()
        for pair in self.timeline.probe_pairs:
            for device in pair.devices:
                device.close()
        self.engine.stop()
        self.stalls.stop()
        gc.enable()
