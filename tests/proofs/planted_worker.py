"""A load worker that also uses a core: `python -m tests.proofs.planted_worker SHARE -m bench.load.worker …`.

By a thread that holds no lock of the interpreter, so that the worker is busy in the kernel's books and can
still send."""

from __future__ import annotations

import _thread
import hashlib
import runpy
import sys
import time

PERIOD_S = 0.02
ROUNDS = 2_000
now, sleep = time.monotonic, time.sleep
"""As they are before gevent replaces them."""


def burn(share: float) -> None:
    while True:
        began, used = now(), time.thread_time()
        while time.thread_time() - used < share * PERIOD_S:
            hashlib.pbkdf2_hmac("sha256", b"planted", b"salt", ROUNDS)
        sleep(max(0.0, PERIOD_S - (now() - began)))


if __name__ == "__main__":
    _thread.start_new_thread(burn, (float(sys.argv[1]),))
    module = sys.argv[3]
    sys.argv = sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
