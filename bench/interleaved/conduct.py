"""Two climbs (`bench/capacity/climb.py`) that take turns: while one carries its load, the other stands still.

Each has a thread of its own, in which it is set up, waits for its turn and is put away; the main thread gives
the turns, A B B A, so that each block of load makes two pairs and what drifts evenly favours neither.  The
n-th load is the same on both sides: the same people, the same seed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.capacity.climb import Climb, Measured, Wanted
from bench.compare import Run
from bench.gate.metrics import METRICS, TAILS
from bench.gate.sequential import Block, Pair
from bench.interleaved.share import Share
from bench.interleaved.sides import Side
from bench.options import Arm, RunOptions
from bench.results import Json, RunFolder
from bench.runner import Load, NotStored, Progress, Say, Show, conduct
from bench.services import Stack

ORDER: Final = (0, 1, 1, 0)
TOPIC: Final = "readstate-side-"
NOT_OF_A_BLOCK: Final = frozenset({"work_ledger", "send_lag_steady", "enough_samples", "warm_up"})
"""Guards that hold a scheme to what is declared *here*, and those that ask for more time than a block has;
how many samples a figure needs it says itself."""
OF_TAILS: Final = frozenset({"send_lag"})
"""Guards that object to the latest hundredth of what was sent, which is in no median and in no CPU."""


class SideFailed(Exception):
    """One side did not start, or did not go on.  `exit_code` is what a run that ended so would have."""

    def __init__(self, message: str, *, started: bool) -> None:
        super().__init__(message)
        self.started = started


class _InTurn:
    """One side, from its first turn to its end."""

    climb: Climb

    def __init__(self, folder: RunFolder, side: Side) -> None:
        self.folder, self.side = folder, side
        self._orders: queue.Queue[Wanted | None] = queue.Queue()
        self._told: queue.Queue[Measured | Exception | None] = queue.Queue()
        self._thread = threading.Thread(target=self._carry_out, name=f"side {side.label}")
        self.steps = 0

    def wanted(self) -> Wanted | None:
        return self._orders.get()

    def tell(self, measured: Measured) -> None:
        self._told.put(measured)

    def _carry_out(self) -> None:
        try:
            conduct(self.climb, self.folder)
        except Exception as why:  # noqa: BLE001  told in the main thread
            self._told.put(why)
        else:
            self._told.put(None)

    def step(self, wanted: Wanted) -> Measured:
        """Carries out one load.  Raises SideFailed, NotStored."""
        if not self._thread.ident:
            self._thread.start()
        self._orders.put(wanted)
        found = self._told.get()
        if isinstance(found, Measured):
            self.steps += 1
            return found
        if isinstance(found, NotStored):
            raise found
        ended = self.folder.manifest()["ended"]
        raise SideFailed(f"{self.side.label}: {ended['message'] or found}", started=bool(self.steps))

    def end(self) -> None:
        """Everybody's state is read, then all is stopped and stored."""
        if self._thread.ident:
            self._orders.put(None)
            self._thread.join()


@dataclass(frozen=True)
class Pace:
    """Seconds: of each load, and of all of them together."""

    warmup_s: float = 1.0
    measure_s: float = 5.0
    budget_s: float = 600.0


class Interleaved:
    """Both sides, set up and warm.  A context manager: leaving it ends both and leaves their folders."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        arm: Arm,
        options: RunOptions,
        pace: Pace,
        stack: Stack,
        out: Path,
        *,
        say: Say,
        show: Show,
        leave_out: tuple[str, ...] = (),
    ) -> None:
        """`options` have the rate; each side's record goes to `out`/a and `out`/b.  `leave_out`: parts of the
        harness that B goes without."""
        self._pace, self._show = pace, show
        self._stopped = False
        self._wanted = Wanted(options.rate_per_s or 0.0, pace.warmup_s, pace.measure_s)
        named = replace(options, warmup_s=pace.warmup_s, duration_s=pace.measure_s)
        self.sides = tuple(
            self._side(number, side, arm, named, stack, out / "ab"[number], say)
            for number, (side, named) in enumerate(
                zip(sides, (named, replace(named, leave_out=leave_out)), strict=True)
            )
        )
        self.runs: tuple[list[Run], list[Run]] = ([], [])
        """Those whose blocks were not disturbed."""
        self.block_s = 0.0
        self._began = 0.0

    def _side(
        self,
        number: int,
        side: Side,
        arm: Arm,
        options: RunOptions,
        stack: Stack,
        path: Path,
        say: Say,
    ) -> _InTurn:
        path.mkdir(parents=True)
        folder = RunFolder(path)
        folder.logs.mkdir(exist_ok=True)
        if "topic" in arm.options:
            arm = replace(arm, options={**arm.options, "topic": f"{TOPIC}{'ab'[number]}"})
        found = _InTurn(folder, side)
        found.climb = Climb(
            arm,
            Load.of(options),
            options,
            folder,
            lambda text: say(f"{'AB'[number]}: {text}"),
            self._shown,
            found.wanted,
            found.tell,
        )
        found.climb.setting_up.given = Share(stack, number, allow_wipe=options.places.allow_wipe)
        found.climb.setting_up.source = side.source
        return found

    def _shown(self, progress: Progress) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self._show(progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = kind is not None
        for side in self.sides:
            side.end()

    def warm_up(self) -> None:
        """One load on each side that counts for nothing; afterwards the clock of the budget runs."""
        began = 0.0
        for side in self.sides:
            side.step(self._wanted)
            began = time.monotonic()
            side.step(self._wanted)
            self.block_s += 2 * (time.monotonic() - began)
        self._began = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Since both sides are warm."""
        return time.monotonic() - self._began

    @property
    def blocks(self) -> int:
        """How many there is time for."""
        return max(1, int(self._pace.budget_s / self.block_s))

    def turns(self) -> list[tuple[int, Measured]]:
        """A B B A.  Raises SideFailed, NotStored."""
        began = time.monotonic()
        steps = [(side, self.sides[side].step(self._wanted)) for side in ORDER]
        self.block_s = time.monotonic() - began
        return steps

    def block(self, figures: Sequence[str]) -> Block | None:
        """A B B A; None: there is no time for it.  Raises SideFailed, NotStored."""
        if self._pace.budget_s - self.spent_s < self.block_s:
            return None
        steps = self.turns()
        left_out = NOT_OF_A_BLOCK | (
            frozenset[str]() if any(f.endswith(TAILS) for f in figures) else OF_TAILS
        )
        disturbed = next((why for _, step in steps if (why := _objection(step.summary, left_out))), "")
        broken = next((why for side, step in steps if side == 1 and (why := _broken(step.summary))), "")
        if disturbed or broken:
            return Block((), disturbed, broken)
        ones, others = ([run_of(step, side) for s, step in steps if s == side] for side in (0, 1))
        self.runs[0].extend(ones)
        self.runs[1].extend(others)
        return Block(tuple(_pair(one, other, figures) for one, other in zip(ones, others, strict=True)))


def run_of(step: Measured, side: int) -> Run:
    """The n-th loads of both sides stand beside each other."""
    place = step.folder.path.name
    turn: Json = {"series": "interleaved", "block": int(place), "side": "AB"[side]}
    return Run(f"{'ab'[side]}/{place}", step.summary, step.folder.manifest() | {"repeat": turn})


def _pair(one: Run, other: Run, figures: Sequence[str]) -> Pair:
    found: Mapping[str, tuple[float, float]] = {
        name: (mine.value, theirs.value)
        for name in figures
        if (mine := METRICS[name].of(one)) is not None and (theirs := METRICS[name].of(other)) is not None
    }
    return Pair(found)


def _objection(figures: Json, leaving_out: frozenset[str]) -> str:
    """Of the guards of timing, but for some."""
    reasons = figures["verdict"]["reasons"]
    return next(
        (
            f"{reason['guard']}: {reason['message']}"
            for reason in reasons
            if reason.get("verdict") not in (None, "warn") and reason["guard"] not in leaving_out
        ),
        "",
    )


def _broken(figures: Json) -> str:
    return next(
        (
            f"the promise {one['promise']!r} was broken: {one['violations']} of {one['eligible']} "
            f"({one['name']})"
            for one in figures["consistency"]["checks"]
            if one["promised"] and one["verdict"] == "fail"
        ),
        "",
    )
