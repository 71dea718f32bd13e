"""What `db` costs: MySQL alone."""

from __future__ import annotations

from collections.abc import Mapping

from schemes.ledger import Counts, Event
from schemes.stores.ledger import FLAGS, asks, states, writes


def declare(options: Mapping[str, str], done: Counts, noted: Counts) -> list[Event]:
    model = options.get("model", FLAGS)
    return [*asks(done, noted), *states(done), *writes(model, done, noted)]
