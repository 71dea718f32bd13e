"""How many WebSockets the engine opens in a second: `python tests/speed/connects.py URL USERS` prints it.

TCP, handshake and their rows; what a client then says to sign in is measured with the server that answers
it."""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import gevent

from bench.load.device import Crowd, Device
from bench.load.engine import Engine
from bench.load.pacing import now_ns
from bench.population import PopulationOptions, build


class Silent(Device):
    """Connects, and says nothing."""

    __slots__ = ()

    def opened(self) -> None:
        self.signing_in = False
        self._engine.signed_in()


def main() -> None:
    url, users = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        engine = Engine(url, Path(folder), 0, on_fatal=sys.exit)
        crowd = Crowd(engine, build(PopulationOptions(4)), [0], secret=None)
        devices = [Silent(crowd, number, 0, 0) for number in range(users)]
        gc.collect()
        gc.freeze()
        start = now_ns()
        for device in devices:
            device.connect()
        while not all(device.is_ready for device in devices):
            gevent.sleep(0.01)
        print(users / (now_ns() - start) * 1e9)


if __name__ == "__main__":
    main()
