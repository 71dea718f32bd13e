"""The arms of the contract suite: every scheme with every option that changes how it keeps state."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from schemes import SCHEMES

VARIED = ("model", "guard", "queue-order")
"""Options of the descriptors that make an arm of their own; the others keep their defaults."""
OUTBOX = {"model": "flags", "queue-order": "db_first", "publish": "outbox"}
"""One model is enough: the outbox is written the same way by both."""


@dataclass(frozen=True)
class Arm:
    """One way to run one scheme."""

    scheme: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "-".join((self.scheme, *self.options.values()))

    @property
    def queued_reads(self) -> bool:
        """READ is acknowledged before it is applied."""
        return self.options.get("queue-order") == "queue_first"

    @property
    def asynchronous(self) -> bool:
        """STATE may answer with an older state until the scheme has drained."""
        return self.scheme == "queue"


def arms_of(scheme: str) -> list[Arm]:
    varied = {name: option for name, option in SCHEMES[scheme].options.items() if name in VARIED}
    combinations = itertools.product(*(option.values for option in varied.values()))
    return [Arm(scheme, dict(zip(varied, values, strict=True))) for values in combinations]


ARMS = [arm for scheme in SCHEMES for arm in arms_of(scheme)] + [Arm("queue", OUTBOX)]
