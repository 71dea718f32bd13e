"""What a proof has measured so far, a JSON line each: one that is interrupted goes on with the next.  Kept
beside the page that is made of it, and committed: a proof of hours may be made on several days."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    path: Path

    def known(self) -> dict[str, Row]:
        """By key; of several rows of one key the last."""
        if not self.path.exists():
            return {}
        rows = (json.loads(line) for line in self.path.read_text().splitlines())
        return {row["key"]: row for row in rows}

    def keep(self, key: str, found: Row) -> Row:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"key": key, "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", **found}) + "\n")
        return found

    def once(self, key: str, make: Callable[[], Row]) -> Row:
        """What is known of this already, or is found out now and kept."""
        known = self.known()
        if key in known:
            return known[key]
        print(key, file=sys.stderr, flush=True)
        return self.keep(key, make())
