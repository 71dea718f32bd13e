"""Is this machine fit for a run?  What it has is looked at (`look.py`), then judged (`judge.py`, pure).

A finding that prevents a run is `bad`, one that makes figures doubtful is `warn`; each says what to type."""

from bench.doctor.judge import BAD, NOTE, OK, WARN, Finding, judge
from bench.doctor.look import Look, look

__all__ = ["BAD", "NOTE", "OK", "WARN", "Finding", "Look", "judge", "look"]
