"""How often a probe asks again: every 5 ms, more rarely after 20 times, for 10 s."""

from __future__ import annotations

from typing import Final

POLL_NS: Final = 5_000_000
STEADY_POLLS: Final = 20
SLOWER: Final = 1.5
CENSORED_NS: Final = 10_000_000_000
"""What does not show for this long is censored."""


def next_poll(sent_ns: int, polls: int) -> int:
    """When to ask again after `polls` times, the last of which was sent at `sent_ns`."""
    return sent_ns + round(POLL_NS * SLOWER ** max(0, polls - STEADY_POLLS))
