"""From a run's rows to the data of its charts.  Decides which rows count; the arithmetic is each chart's own.

Columns are read when needed and given back, so that ten minutes of 10,000 users fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bench.metrics import lags, queue_lag, t_visibility, visible
from bench.metrics.history import History
from bench.metrics.operations import timed_best
from bench.metrics.resources import series
from bench.record import Op, Outcome
from bench.report import cpu, flow, heatmap, soon, spectrum, stages, visibility
from bench.report.arms import Arm
from bench.report.phases import Event, Phases
from bench.results import Json, RunFolder

SHOWN: Final = (Op.READ, Op.SEND, Op.STATE, Op.SYNC)
"""Operations that have a panel, in their order."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChartData:
    """All that is drawn of one run."""

    arm: Arm
    curves: tuple[spectrum.Curve, ...]
    maps: tuple[heatmap.HeatMap, ...]
    hidden: tuple[visibility.Hidden, ...]
    soon: soon.Soon
    flow: flow.Flow
    demand: cpu.Demand
    splits: tuple[stages.Split, ...]


def chart_data(folder: RunFolder, arm: Arm, summary: Json) -> ChartData:
    """Raises ResultsError for a damaged table."""
    history = History(folder)
    phases, events = _phases(history), _events(history)
    measured = lags.collect(history)
    operations = summary["operations"]
    splits = [stages.split(arm, op.name, operations[op.name]) for op in SHOWN if op.name in operations]
    return ChartData(
        arm,
        curves=tuple(_curve(history, arm, op) for op in SHOWN),
        maps=tuple(_map(history, arm, op, phases, events) for op in SHOWN),
        hidden=_hidden(history, arm, measured),
        soon=_soon(history, arm),
        flow=_flow(history, arm, measured, phases, events),
        demand=_demand(history, arm),
        splits=tuple(split for split in splits if split is not None),
    )


def _phases(history: History) -> Phases:
    window = history.window
    return Phases(
        (window.start - window.measure) / 1e9,
        (window.measure_end - window.measure) / 1e9,
        (window.drain_end - window.measure) / 1e9,
    )


def _events(history: History) -> tuple[Event, ...]:
    """Deaths; the manifest has their seconds from the start of the run."""
    window = history.window
    offset = (window.measure - window.start) / 1e9
    deaths = history.manifest.get("deaths") or []
    return tuple(Event(death["at_s"] - offset, f"{death['component']} died") for death in deaths)


def _curve(history: History, arm: Arm, op: Op) -> spectrum.Curve:
    took = timed_best(history, op)
    unanswered = int(np.count_nonzero(~took.answered))
    return spectrum.curve(arm, op.name, took.latency_us, took.service_us[took.answered], unanswered)


def _map(history: History, arm: Arm, op: Op, phases: Phases, events: Sequence[Event]) -> heatmap.HeatMap:
    """All phases, as `timed` has it for the measured one."""
    operations = history.operations
    rows = history.rows(op)
    outcome = operations["outcome"][rows]
    counted = np.isin(outcome, (Outcome.OK, Outcome.FAIL, Outcome.INFO)) & (operations["sent"][rows] > 0)
    begin = history.window.measure
    intended_s = _since(operations["intended"][rows], begin)
    counted &= (intended_s >= phases.begin) & (intended_s <= phases.end) & (operations["attempt"][rows] == 0)
    rows = rows[counted]
    took_us = (operations["acknowledged"][rows] - operations["intended"][rows]) / 1e3
    answered = operations["outcome"][rows] != Outcome.INFO
    return heatmap.heat_map(arm, op.name, intended_s[counted], took_us, answered, phases, events)


def _hidden(history: History, arm: Arm, measured: dict[str, lags.Lag]) -> tuple[visibility.Hidden, ...]:
    curves = [visibility.hidden(arm, name, lag) for name, lag in measured.items()]
    for name, seen in visible.collect(history).items():
        if isinstance(seen, str):
            curves.append(visibility.nothing(arm, name, seen))
        else:
            curves.append(visibility.hidden_polled(arm, name, seen))
    behind = queue_lag.collect(history)
    if isinstance(behind, str):
        curves.append(visibility.nothing(arm, "queue", behind))
    else:
        curves.append(visibility.hidden_queue(arm, behind))
    return tuple(curves)


def _soon(history: History, arm: Arm) -> soon.Soon:
    return soon.soon(arm, t_visibility.bins(t_visibility.looks(history)))


def _flow(
    history: History,
    arm: Arm,
    measured: dict[str, lags.Lag],
    phases: Phases,
    events: Sequence[Event],
) -> flow.Flow:
    """Of READs of which somebody had to be told who was there to the end, or was told before leaving."""
    operations, begin = history.operations, history.window.measure
    pairs = (measured["own_device"], measured["receipt"])
    known = np.concatenate([lag.observed | lag.outlived for lag in pairs])
    operation = np.concatenate([lag.operation for lag in pairs])[known]
    arrived = _since(
        operations["sent"][operation] + np.concatenate([lag.time for lag in pairs])[known], begin
    )
    arrived[~np.concatenate([lag.observed for lag in pairs])[known]] = np.inf
    rows, write = np.unique(operation, return_inverse=True)
    told = np.full(len(rows), -np.inf)
    np.maximum.at(told, write, arrived)
    told[np.isinf(told)] = np.nan
    acknowledged = _since(operations["acknowledged"][rows], begin)
    acknowledged[operations["outcome"][rows] != Outcome.OK] = np.nan
    return flow.flow(arm, _since(operations["intended"][rows], begin), acknowledged, told, phases, events)


def _since(times: Ints, begin: int) -> Floats:
    seconds: Floats = (times - begin) / 1e9
    return seconds


def _demand(history: History, arm: Arm) -> cpu.Demand:
    sends = history.measured_rows(Op.SEND)
    messages = int(np.count_nonzero(history.outcome(sends, Outcome.OK)))
    return cpu.demand(arm, series(history), history.window, messages)
