from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bench.gate import ranks, sequential
from bench.gate.sequential import Block, Outcome, Pair, Seen, Source, decide, levels, plan

FIVE = {"cpu_s_per_1000_messages": 0.1, "READ.p50": 0.15, "messages_per_s": 0.05, "READ.p99": 0.25,
        "lag.receipt.p99": 0.25}  # fmt: skip
NOISE = {"cpu_s_per_1000_messages": 0.02, "READ.p50": 0.06, "messages_per_s": 0.002, "READ.p99": 0.15,
         "lag.receipt.p99": 0.15}  # fmt: skip
BLOCKS = 25


def source(
    seed: int, worse: dict[str, float] | None = None, noise: float = 1.0, shape: str = "normal"
) -> Source:
    """ABBA blocks without end; throughput is worse where it is lower."""
    rng = np.random.default_rng(seed)

    def drawn() -> float:
        return float(rng.standard_normal() if shape == "normal" else rng.standard_t(2))

    def pair() -> Pair:
        figures = {}
        for name, deviation in NOISE.items():
            sign = -1 if name == "messages_per_s" else 1
            effect = sign * math.log1p((worse or {}).get(name, 0.0))
            figures[name] = (100 * math.exp(noise * deviation * drawn()),
                             100 * math.exp(effect + noise * deviation * drawn()))  # fmt: skip
        return Pair(figures)

    return lambda _number: Block((pair(), pair()))


def gate(blocks: Source, most: int = BLOCKS) -> Outcome:
    return decide(blocks, plan(most, len(FIVE)), FIVE)


ALL_WORSE = dict.fromkeys(("cpu_s_per_1000_messages", "READ.p50"), 0.2)


# --- one gate -----------------------------------------------------------------------------------------------


def test_what_did_not_change_is_acquitted_and_what_did_is_accused() -> None:
    assert gate(source(1)).verdict == "acquitted"
    found = gate(source(1, ALL_WORSE))
    assert found.verdict == "accused"
    assert "CPU per message is +18.9% [" in found.reason
    assert "worse, tolerance 10%" in found.reason
    assert found.pairs < 2 * BLOCKS


def test_less_throughput_is_worse_and_more_is_not() -> None:
    assert gate(source(2, {"messages_per_s": -0.3})).verdict == "acquitted"  # 1 / 0.7 as much
    found = gate(source(2, {"messages_per_s": 0.3}))
    assert found.verdict == "accused"
    assert "throughput" in found.reason


def test_noise_leaves_it_open_and_says_what_could_have_been_missed() -> None:
    found = gate(source(3, noise=20))
    assert found.verdict == "open"
    assert found.pairs == 2 * BLOCKS
    assert "could have been missed" in found.reason
    assert "READ p99: up to +" in found.reason


def test_the_end_of_time_leaves_it_open() -> None:
    blocks = source(4, ALL_WORSE)
    found = gate(lambda number: blocks(number) if number < 2 else None)
    assert (found.verdict, found.blocks) == ("open", 2)
    assert "anything (4 pairs)" in found.reason


def test_no_block_at_all_is_open() -> None:
    found = gate(lambda _number: None)
    assert (found.verdict, found.pairs) == ("open", 0)


def test_a_figure_that_never_comes_leaves_it_open() -> None:
    whole = source(5)

    def lacking(number: int) -> Block:
        block = whole(number)
        assert block is not None
        return Block(
            tuple(Pair({k: v for k, v in p.figures.items() if k != "READ.p99"}) for p in block.pairs)
        )

    found = gate(lacking)
    assert found.verdict == "open"
    assert "READ p99: anything (0 pairs)" in found.reason


@pytest.mark.parametrize("worse", [None, ALL_WORSE])
def test_while_a_core_burns_nobody_is_accused_or_acquitted(worse: dict[str, float] | None) -> None:
    whole = source(6, worse)

    def burning(number: int) -> Block | None:
        block = whole(number)
        if number >= 40 or block is None:
            return None
        return Block(block.pairs, disturbed="foreign load: 0.9 cores" if number % 2 else "")

    found = gate(burning)
    assert found.verdict == "open"
    assert "blocks were disturbed: foreign load" in found.reason


def test_one_disturbed_block_is_left_out() -> None:
    whole = source(7)

    def once(number: int) -> Block | None:
        block = whole(number)
        assert block is not None
        bad = tuple(Pair(dict.fromkeys(FIVE, (1.0, 99.0))) for _ in block.pairs)
        return Block(bad, disturbed="steal") if number == 0 else block

    found = gate(once)
    assert found.verdict == "acquitted"
    assert found.disturbed == ("steal",)
    assert found.blocks == found.pairs / 2 + 1


def test_a_broken_promise_ends_it_at_once() -> None:
    found = gate(lambda number: Block((), broken="durable: 3 reads were lost"))
    assert (found.verdict, found.reason, found.blocks) == ("broken", "durable: 3 reads were lost", 1)


def test_each_look_is_shown() -> None:
    shown: list[int] = []

    def show(number: int, seen: Sequence[Seen]) -> None:
        assert len(seen) == len(FIVE)
        shown.append(number)

    found = decide(source(8), plan(BLOCKS, len(FIVE)), FIVE, show)
    assert shown == list(range(1, found.blocks + 1))


def test_a_plan_for_other_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="plan is for 2 figures"):
        decide(source(9), plan(BLOCKS, 2), FIVE)


# --- the levels ---------------------------------------------------------------------------------------------


def test_one_look_has_the_whole_level_that_ranks_can_have() -> None:
    (level,) = levels((20,), 0.05)
    chances = ranks.signed_ranks(20)
    assert level == pytest.approx(float(chances[chances <= 0.05].max()), rel=1e-3)


@pytest.mark.parametrize(("looks", "bound"), [(2, 2.178), (5, 2.413)])
def test_even_bounds_stop_as_pocock_s_table_says(looks: int, bound: float) -> None:
    """S. J. Pocock, Biometrika 64, 1977, table 1: 5 % two-sided, so 2.5 % on either side."""
    process, level = sequential._Process(), 0.5 * math.erfc(bound / math.sqrt(2))
    stopped = 0.0
    for look in range(1, looks + 1):
        process.go_on_to(look / looks)
        stopped += process.stop_above(level)
    assert stopped == pytest.approx(0.025, rel=0.02)


def test_the_level_for_a_chance_stops_with_that_chance() -> None:
    process = sequential._Process()
    for time in (0.25, 0.5, 1.0):
        process.go_on_to(time)
        assert process.stop_above(process.level_for(0.01)) == pytest.approx(0.01, rel=0.05)


def test_nothing_is_said_before_ranks_can_say_it() -> None:
    planned = plan(BLOCKS, 5)
    for pairs, level in zip(planned.looks, planned.accuse, strict=True):
        assert level == 0 or level >= 0.5**pairs
    assert planned.accuse[0] == 0 < planned.accuse[-1]


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "heavy"])
def test_all_looks_together_keep_the_level(shape: str) -> None:
    """20,000 walks without a change, one figure at 5 %: 5 % of them and three sigma (0.46 %)."""
    looks = plan(20, 1).looks
    chosen, rng = levels(looks, 0.05), np.random.default_rng(3)
    draws = rng.standard_normal((20_000, looks[-1])) if shape == "normal" else rng.standard_t(
        2, (20_000, looks[-1])
    )  # fmt: skip
    crossed = np.zeros(len(draws), bool)
    for n, level in zip(looks, chosen, strict=True):
        if level:
            rank = np.argsort(np.argsort(np.abs(draws[:, :n]), axis=1), axis=1) + 1
            negative = (rank * (draws[:, :n] < 0)).sum(axis=1)
            crossed |= ranks.signed_ranks(n)[negative] <= level * (1 + 1e-9)
    assert 0.035 < crossed.mean() < 0.0546


# --- many gates ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "heavy"])
def test_two_hundred_alike_sides_are_hardly_ever_accused(shape: str) -> None:
    """5 % of 200 and three sigma; the tolerances are next to nothing, so that significance alone decides."""
    none = dict.fromkeys(FIVE, 1e-9)
    planned = plan(BLOCKS, len(none))
    accused = sum(
        decide(source(seed, shape=shape), planned, none).verdict == "accused" for seed in range(200)
    )
    assert accused <= 19


@pytest.mark.slow
def test_twenty_percent_is_found_early_and_lies_inside_the_interval() -> None:
    found = [gate(source(1_000 + seed, ALL_WORSE)) for seed in range(100)]
    assert sum(each.verdict == "accused" for each in found) >= 98
    assert np.median([each.pairs for each in found]) <= 14  # 168 s of 6 s blocks
    for name in ALL_WORSE:
        seen = [next(s for s in each.figures if s.figure == name) for each in found]
        held = [s.interval is not None and s.interval[0] <= 0.2 <= s.interval[1] for s in seen]
        assert sum(held) >= 93


@pytest.mark.slow
def test_a_change_of_the_tolerance_is_hardly_ever_acquitted() -> None:
    """The control of acquitting: 5 % of 100 and three sigma."""
    at = {"READ.p99": 0.25}
    passed = sum(gate(source(2_000 + seed, at)).verdict == "acquitted" for seed in range(100))
    assert passed <= 11
