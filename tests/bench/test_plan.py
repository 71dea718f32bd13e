"""The plan: the same for a seed, in equilibrium, stratified, skewed but owned by nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.plan import (
    HOT_CONVERSATIONS,
    LAST_OFFSET_US,
    OFFSETS_US,
    SECOND,
    SLICE_S,
    Plan,
    PlanOptions,
    attention_ns,
    causes,
    hot_set,
    intensity_of_rate,
    make,
    offsets_us,
    rate_of_intensity,
)
from bench.population import Population, PopulationOptions, build
from bench.record import Op

FULL = PlanOptions()


@pytest.fixture(scope="module")
def population() -> Population:
    return build(PopulationOptions(10_000))


@pytest.fixture(scope="module")
def plan(population: Population) -> Plan:
    return make(population, FULL)


def per_slice(at: np.ndarray, options: PlanOptions, weights: np.ndarray | None = None) -> np.ndarray:
    """Sums over each 10 s of the measured window."""
    slices = (at - round(options.warmup_s * SECOND)) // (SLICE_S * SECOND)
    measured = slices >= 0
    return np.bincount(slices[measured], None if weights is None else weights[measured])


def test_natural_traffic_of_ten_thousand_devices() -> None:
    assert rate_of_intensity(1, 6667) == pytest.approx(6.43, abs=0.01)
    assert intensity_of_rate(rate_of_intensity(15.5, 6667), 6667) == pytest.approx(15.5)


def test_the_same_seed_is_the_same_plan() -> None:
    def digest(seed: int, rate: float = 30) -> str:
        small = build(PopulationOptions(200, seed=seed))
        return make(small, PlanOptions(rate_per_s=rate, warmup_s=2, measure_s=10)).sha256

    assert digest(7) == digest(7)
    assert len({digest(7), digest(8), digest(7, 31)}) == 3


@pytest.mark.parametrize("seed", [1, 7, 8])
def test_every_ten_seconds_carry_the_same_load(seed: int) -> None:
    population = build(PopulationOptions(10_000, seed=seed))
    plan = make(population, FULL)
    conversation = plan.sends["conversation"].astype(np.int64)
    online = np.add.reduceat(population.device_counts[population.member], population.member_start[:-1])
    for what in (
        per_slice(plan.sends["at"], FULL),
        per_slice(plan.sends["at"], FULL, population.sizes[conversation] - 1),
        per_slice(plan.sends["at"], FULL, online[conversation] - 1),
    ):
        assert len(what) == 6
        assert np.abs(what / what.mean() - 1).max() < 0.05
    reads = per_slice(plan.reads["at"], FULL)
    assert abs(reads[0] / reads[-1] - 1) < 0.05
    effective = per_slice(plan.reads["at"], FULL, plan.reads["effective"])
    assert abs(effective[0] / effective[-1] - 1) < 0.05


@pytest.mark.slow
def test_marks_do_not_depend_on_the_length_of_the_run(population: Population) -> None:
    """In equilibrium from the first second: without sends before 0 the first 10 s would have half the
    reads."""
    options = PlanOptions(warmup_s=0, measure_s=600)
    reads = per_slice(make(population, options).reads["at"], options)
    assert abs(reads[:3].mean() / reads[-3:].mean() - 1) < 0.05


def test_sends_are_exact_per_second_and_go_to_members(population: Population, plan: Plan) -> None:
    assert set(np.bincount(plan.sends["at"] // SECOND)) == {int(PlanOptions().rate_per_s)}
    sender = population.device_person[plan.sends["device"]]
    for person, conversation in zip(sender[:500], plan.sends["conversation"][:500], strict=True):
        assert person in population.members_of(int(conversation))
    grouped = plan.sends["conversation"] >= population.direct
    assert grouped.mean() == pytest.approx(0.1, abs=0.002)


def test_busy_people_do_much_and_nobody_owns_it(population: Population, plan: Plan) -> None:
    shares = np.sort(np.bincount(population.device_person[plan.sends["device"]]))[::-1] / len(plan.sends)
    assert shares[0] < 0.005
    assert shares[: population.connected // 5].sum() > 0.45
    assert np.bincount(plan.sends["conversation"]).max() / len(plan.sends) < 0.005


def test_reads_are_of_receivers_on_their_own_devices(population: Population, plan: Plan) -> None:
    reads = plan.reads
    assert (population.device_person[reads["device"]] == reads["person"]).all()
    answered = reads[reads["send"] >= 0]
    sends = plan.sends[answered["send"]]
    assert (sends["conversation"] == answered["conversation"]).all()
    assert (answered["at"] == sends["at"] + answered["delay"]).all()
    assert (population.device_person[sends["device"]] != answered["person"]).all()
    assert reads["at"].min() >= 0
    assert reads["at"].max() < 75 * SECOND


def test_reads_of_a_send_are_found_by_bisection(plan: Plan) -> None:
    starts = plan.reads_of_sends()
    assert (plan.reads["send"][: starts[0]] == -1).all()
    for send in (0, 17, len(plan.sends) - 1):
        rows = plan.reads[starts[send] : starts[send + 1]]
        assert (rows["send"] == send).all()
        assert (np.diff(rows["device"].astype(np.int64)) > 0).all()


def test_what_is_seeded_unread_is_read_for_the_first_time_in_the_run(plan: Plan) -> None:
    unread = plan.unread_at_start
    behind = set(zip(unread.conversation.tolist(), unread.person.tolist(), strict=True))
    seeded = plan.reads[plan.reads["send"] < 0]
    first: dict[tuple[int, int], bool] = {}
    for row in seeded[np.argsort(seeded["at"], kind="stable")]:
        first.setdefault((int(row["conversation"]), int(row["person"])), bool(row["effective"]))
    due = [effective for pair, effective in first.items() if pair in behind]
    assert len(due) > 1000
    assert np.mean(due) > 0.85, "all but those who say or read something newer before"
    last = dict(zip(unread.last_conversation.tolist(), unread.last_sender.tolist(), strict=True))
    assert all(last[conversation] != person for conversation, person in behind)


def test_effective_follows_the_rule_of_the_client() -> None:
    """Played through by hand, event by event, as a device would see it."""
    population = build(PopulationOptions(60))
    plan = make(population, PlanOptions(rate_per_s=50, warmup_s=2, measure_s=20))
    has_news = set(
        zip(plan.unread_at_start.conversation.tolist(), plan.unread_at_start.person.tolist(), strict=True)
    )
    events: list[tuple[int, int, int]] = [(int(at), 0, row) for row, at in enumerate(plan.sends["at"])]
    events += [(int(at), 1, row) for row, at in enumerate(plan.reads["at"])]
    for _, kind, row in sorted(events):
        if kind == 0:
            conversation = int(plan.sends["conversation"][row])
            sender = int(population.device_person[plan.sends["device"][row]])
            has_news.discard((conversation, sender))
            has_news.update(
                (conversation, int(m)) for m in population.members_of(conversation) if m != sender
            )
        else:
            pair = int(plan.reads["conversation"][row]), int(plan.reads["person"][row])
            assert (pair in has_news) == bool(plan.reads["effective"][row])
            has_news.discard(pair)


def test_attention_is_the_documented_mixture() -> None:
    delays = attention_ns((np.arange(100_000) + 0.5) / 100_000, 0.5) / SECOND
    focused, later, much_later = delays[:50_000], delays[50_000:85_000], delays[85_000:]
    assert (focused.min(), focused.max()) == (pytest.approx(0.5, abs=0.01), pytest.approx(1.5, abs=0.01))
    assert np.median(later) == pytest.approx(30, rel=0.01)
    assert np.median(much_later) == pytest.approx(150, rel=0.01)
    assert np.log(later).std() == pytest.approx(1, abs=0.02)


def test_numbers_are_unique_over_all_planned_operations(plan: Plan) -> None:
    op, at = plan.operations()
    assert len(op) == len(at) == plan.count
    assert np.bincount(op, minlength=13)[[Op.SEND, Op.READ, Op.STATE, Op.SYNC]].tolist() == [
        len(plan.sends), len(plan.reads), len(plan.openings), len(plan.openings),
    ]  # fmt: skip
    assert op[plan.first_probe] == Op.PROBE_SEND
    assert op[plan.first_probe + 1] == Op.PROBE_READ
    assert at[plan.first_read] == plan.reads["at"][0]


def test_what_one_message_causes(population: Population, plan: Plan) -> None:
    found = causes(population, plan)
    assert 2.5 < found.receivers < 3.5
    assert found.rows == found.receivers
    assert found.devices == pytest.approx(found.receivers * 1.5 + 0.5, rel=0.05)
    assert 0.85 * found.receivers < found.read < found.receivers
    assert found.pushes > found.devices + found.receipts
    never = causes(population, plan, delivered_window_s=0).delivered
    assert never == pytest.approx(found.receivers * 1.5, rel=0.05)
    assert 0.6 * never < found.delivered < 0.9 * never  # a quarter reads within the second


def test_openings_by_nature_or_by_marks(population: Population, plan: Plan) -> None:
    assert len(plan.openings) / 75 == pytest.approx(PlanOptions().rate_per_s * 23 / 42, rel=0.01)
    asked = make(population, PlanOptions(reads_per_mark=2.0))
    assert len(asked.openings) == pytest.approx(2 * asked.reads["effective"].sum(), rel=0.01)


@pytest.fixture(scope="module")
def looks(population: Population) -> Plan:
    return make(population, PlanOptions(point_reads=True))


@pytest.mark.parametrize(("per_mark", "share"), [(None, 0.95), (1.0, 0.50)])
def test_point_reads_have_the_share_that_was_asked_for(
    population: Population, per_mark: float | None, share: float
) -> None:
    made = make(population, PlanOptions(point_reads=True, reads_per_mark=per_mark))
    marks = made.reads["effective"].sum()
    assert len(made.openings) / (len(made.openings) + marks) == pytest.approx(share, abs=0.005)


def test_point_reads_and_messages_fall_on_the_same_hot_set_by_zipf(
    population: Population, looks: Plan
) -> None:
    hot = hot_set(population)
    assert len(hot.conversations) == HOT_CONVERSATIONS
    assert hot.weights[0] == pytest.approx(10 * hot.weights[9])
    for table in (looks.openings, looks.sends):
        assert np.isin(table["conversation"], hot.conversations).all()
        share = np.mean(table["conversation"] == hot.conversations[0])
        assert share == pytest.approx(hot.weights[0], rel=0.15)


def test_who_looks_is_in_the_conversation(population: Population, looks: Plan) -> None:
    person = population.device_person[looks.openings["device"]]
    members = population.member[population.member_start[looks.openings["conversation"]][:, None] + [0, 1]]
    assert (members == person[:, None]).any(axis=1).all()
    assert 0.4 < np.mean(members[:, 0] == person) < 0.6


def test_a_point_read_is_one_operation_of_the_plan(looks: Plan) -> None:
    op, at = looks.operations()
    assert len(op) == len(at) == looks.count
    assert np.count_nonzero(op == Op.STATE) == len(looks.openings)
    assert not np.count_nonzero(op == Op.SYNC)


def test_point_reads_are_in_the_digest_and_the_same_for_a_seed(
    population: Population, looks: Plan, tmp_path: Path
) -> None:
    again = make(population, PlanOptions(point_reads=True))
    heavy = make(population, PlanOptions(point_reads=True, reads_per_mark=1.0))
    chat = make(population, PlanOptions(reads_per_mark=19.0))
    other = make(build(PopulationOptions(10_000, seed=2)), PlanOptions(point_reads=True))
    assert again.sha256 == looks.sha256
    assert len({plan.sha256 for plan in (looks, heavy, chat, other)}) == 4
    looks.save(tmp_path / "plan.npz")
    loaded = Plan.load(tmp_path / "plan.npz")
    assert (loaded.sha256, loaded.options) == (looks.sha256, looks.options)


def test_no_hot_set_where_nobody_who_is_there_talks_to_another() -> None:
    alone = build(PopulationOptions(2, people=2_000))
    with pytest.raises(ValueError, match="no two connected people"):
        hot_set(alone)


def test_each_kind_of_probes_stays_below_a_hundredth(plan: Plan) -> None:
    operations = len(plan.sends) * 2 + plan.reads["effective"].sum() + 2 * len(plan.openings)
    polled = np.count_nonzero(plan.probes["offset_us"] < 0)
    assert 0.002 * operations < 4 * polled < 0.02 * operations
    assert 0.002 * operations < 3 * (len(plan.probes) - polled) < 0.02 * operations


def test_looks_are_spread_evenly_over_the_ages(plan: Plan) -> None:
    offset = plan.probes["offset_us"][plan.probes["offset_us"] >= 0]
    counts = np.histogram(offset, [*OFFSETS_US, LAST_OFFSET_US])[0]
    assert counts.sum() == len(offset)
    assert counts.max() - counts.min() <= 0.25 * counts.max()
    edges = offsets_us(np.array([0, 1 / 24, 1 / 12, 11 / 12]))
    assert edges.tolist() == [0, 1_000, 2_000, 5_000_000]


def test_no_probe_follows_a_look_on_its_pair_before_it_has_looked(plan: Plan) -> None:
    polled = plan.probes["offset_us"] < 0
    assert not set(plan.probes["pair"][polled]) & set(plan.probes["pair"][~polled])
    end = round(plan.options.duration_s * SECOND)
    for pair in np.unique(plan.probes["pair"][~polled]):
        own = plan.probes[plan.probes["pair"] == pair]
        looked = own["at"] + own["offset_us"].astype(np.int64) * 1_000
        assert (own["at"][1:] > looked[:-1]).all()
        assert looked[-1] < end
    assert (np.diff(plan.probes["at"]) >= 0).all()


def test_a_saved_plan_is_the_same_plan(tmp_path: Path, plan: Plan) -> None:
    plan.save(tmp_path / "plan.npz")
    again = Plan.load(tmp_path / "plan.npz")
    assert again.sha256 == plan.sha256
    assert again.options == plan.options


def test_offline_members_receive_but_neither_send_nor_read() -> None:
    population = build(PopulationOptions(150, people=300))
    plan = make(population, PlanOptions(rate_per_s=50, warmup_s=1, measure_s=20))
    assert plan.reads["person"].max() < population.connected
    assert plan.sends["device"].max() < 150
    found = causes(population, plan)
    assert found.read < 0.6 * found.receivers


@pytest.mark.parametrize("devices", [2, 3, 7])
def test_the_smallest_populations_have_a_plan(devices: int) -> None:
    plan = make(build(PopulationOptions(devices)), PlanOptions(rate_per_s=5, warmup_s=1, measure_s=5))
    assert len(plan.sends) == 30
    assert len(plan.reads) > 0


def test_no_rate_and_no_time_are_refused() -> None:
    population = build(PopulationOptions(10))
    with pytest.raises(ValueError, match="above 0"):
        make(population, PlanOptions(rate_per_s=0))
    with pytest.raises(ValueError, match="above 0"):
        make(population, PlanOptions(measure_s=0))
