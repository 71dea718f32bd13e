"""`python -m tests.proofs.other_time NANOSECONDS COMMAND…`: runs it with CLOCK_MONOTONIC moved by so much.

In a time namespace of its own (Linux 5.6, as root), so that nothing else on the machine is touched: what a
recorder on a host with a stepped clock would write."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWTIME = 0x80
BILLION = 1_000_000_000


def main() -> int:
    seconds, nanoseconds = divmod(int(sys.argv[1]), BILLION)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWTIME):
        raise SystemExit(f"no time namespace: {os.strerror(ctypes.get_errno())}")
    Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} {nanoseconds}\n")
    child = os.fork()  # the namespace is that of children
    if not child:
        os.execvp(sys.argv[2], sys.argv[2:])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
