"""Free loopback ports below 32768: above, the kernel hands them to clients, and a run has ten thousand."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 20_000, 32_767


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could bind the port now (TIME_WAIT of an earlier one does not matter)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(n: int, rng: random.Random | None = None) -> list[int]:
    """`n` different ports that are free now, at random, so that two runs starting at once rarely agree.

    Whoever binds them must still be ready to ask again.
    """
    candidates = list(range(LOWEST, HIGHEST + 1))
    (rng or random.SystemRandom()).shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == n:
            break
        if is_free(port):
            found.append(port)
    if len(found) < n:
        raise OSError(f"only {len(found)} free ports between {LOWEST} and {HIGHEST}, {n} wanted")
    return found


def answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
