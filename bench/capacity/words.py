"""How a search ended, in a sentence, and as an exit code.  Pure.

Loads are SEND/s at given users (`msg/s`), or users at their natural rate (`users`)."""

from __future__ import annotations

from typing import Final

from bench.capacity.estimate import CONFIDENCE
from bench.capacity.search import (
    EVERY,
    FOUND,
    GENERATOR,
    NOISY,
    NONE,
    TOO_SMALL,
    UNFINISHED,
    Found,
)
from bench.report.figures import digits

FAILED: Final = "failed"
"""How an arm ends whose visit did: its `why` says what happened."""
EXIT_CODES: Final = {
    FOUND: 0,
    NONE: 10,
    EVERY: 5,
    GENERATOR: 4,
    TOO_SMALL: 3,
    NOISY: 5,
    UNFINISHED: 5,
    FAILED: 4,
}
"""`bench capacity`'s, as far as the search decides it."""
UNITS: Final = {"rate": "msg/s", "users": "users"}


def interval(found: Found) -> str:
    """`141 [134, 149]`; without an interval the figure alone."""
    assert found.capacity is not None
    if found.interval is None:
        return digits(found.capacity)
    low, high = found.interval
    return f"{digits(found.capacity)} [{digits(low)}, {digits(high)}]"


def load(value: float, unit: str) -> str:
    """`141.0 msg/s`, `2,828 users`."""
    return f"{digits(value, 4)} {unit}"


def sentence(found: Found, arm: str, objective: str, unit: str) -> str:
    """What the search says of one arm."""
    held = "nothing that was tried" if found.held is None else load(found.held, unit)
    failed = "" if found.failed is None else load(found.failed, unit)
    if found.how == FOUND:
        unconfirmed = "" if found.checks else "; not confirmed by more steps at shares of it"
        return (
            f"{arm} carries {interval(found)} {unit} inside {objective}; what stops it is {found.binding} "
            f"({len(found.blocks)} blocks, {CONFIDENCE:.0%} interval{unconfirmed})."
        )
    if found.how == NONE:
        return (
            f"No load can meet {objective} with {arm}: it failed at {failed} already, by {found.binding}. "
            "Ask for less, or see the steps for how far it is off."
        )
    if found.how == EVERY:
        return (
            f"Every load that was tried meets {objective} with {arm}, up to {held}: this objective does not "
            "limit it here. Ask for more, or raise --high."
        )
    if found.how == GENERATOR:
        return (
            f"The generator binds before {arm} does: {found.why}. It held {objective} up to {held}; how much "
            "more it carries cannot be said from here. Give the generator more --workers or cores."
        )
    if found.how == TOO_SMALL:
        return (
            f"This machine is too small to search: even the least load could not be sent as planned "
            f"({found.why}). Lower --users, or use a machine with more cores."
        )
    if found.how == NOISY:
        return (
            f"The machine was too noisy to say what {arm} carries: a step said nothing each time it was "
            f"repeated ({found.why}). It held {objective} up to {held}. Quiet the machine and search again."
        )
    if found.how == FAILED:
        return f"The search of {arm} could not be carried out: {found.why}."
    if found.held is None and found.failed is None:
        return f"The search of {arm} did not get as far as an answer."
    between = f" and failed at {failed}" if failed else ""
    apart = found.held is None or found.failed is None or found.held < found.failed
    known = "That is a bracket, not a figure" if apart else "The two overlap: around it, chance decides"
    return (
        f"The search of {arm} is not finished ({len(found.blocks)} of 6 blocks): it held {objective} at "
        f"{held}{between}. {known}. Give it more --budget."
    )


def disagreements(found: Found) -> list[str]:
    """Shares of the figure that were measured once more, and say otherwise than they should."""
    return [
        f"at {check.share:.0%} of the figure the objective "
        + (
            f"held in {check.held} of {check.steps} steps ({check.binding})"
            if check.share < 1
            else f"still held in {check.held} of {check.steps} steps"
        )
        for check in found.checks
        if not check.agrees
    ]
