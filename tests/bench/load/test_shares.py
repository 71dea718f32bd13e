"""Who carries out what: everything is owned once, and probe users are like the others, and few."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load.shares import LOAD_SHARE, SAMPLES, choose_probe_users, share_of
from bench.plan import SECOND, Plan, PlanOptions, make
from bench.population import Population, PopulationOptions, build


def made(users: int, rate: float = 40, measure_s: float = 20) -> tuple[Population, Plan]:
    population = build(PopulationOptions(users))
    return population, make(population, PlanOptions(rate_per_s=rate, warmup_s=1, measure_s=measure_s))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("probe_devices", [(), (0,), (3, 4, 60), tuple(range(0, 61, 5))])
def test_every_device_pair_and_person_is_owned_once(workers: int, probe_devices: tuple[int, ...]) -> None:
    population = build(PopulationOptions(61))
    processes = range(workers + bool(probe_devices))
    shares = [share_of(population, process, workers, probe_devices) for process in processes]
    assert sorted(np.concatenate([share.devices for share in shares]).tolist()) == list(range(61))
    pairs = population.options.probe_pairs
    assert sorted(np.concatenate([share.pairs for share in shares]).tolist()) == list(range(pairs))
    people = [*range(population.connected), *range(population.people, population.people + 2 * pairs)]
    assert sorted(np.concatenate([share.people for share in shares]).tolist()) == people
    if probe_devices:
        assert tuple(shares[-1].devices) == probe_devices
        assert len(shares[-1].pairs) == pairs, "the probe pairs are timed where little else goes on"


def test_workers_get_as_many_devices_as_locust_gives_them_users() -> None:
    """Locust hands users out in turn."""
    population = build(PopulationOptions(61))
    sizes = [len(share_of(population, worker, 4, tuple(range(10, 16))).devices) for worker in range(4)]
    assert sizes == [14, 14, 14, 13]


@pytest.mark.parametrize(("users", "expected"), [(9, 0), (10, 1), (61, 6), (500, 50), (2_000, 200)])
def test_a_tenth_of_few_users_are_probe_users(users: int, expected: int) -> None:
    population, plan = made(users)
    chosen = choose_probe_users(population, plan)
    assert len(set(chosen.devices)) == len(chosen.devices) == expected
    assert list(chosen.devices) == sorted(chosen.devices)
    assert chosen.planned_share <= LOAD_SHARE


def test_they_do_a_tenth_of_each_operation_where_that_is_too_little() -> None:
    population, plan = made(2_000, rate=100, measure_s=60)
    chosen = choose_probe_users(population, plan)
    own = np.isin(np.arange(2_000), chosen.devices)
    done = {name: getattr(plan, name)["device"] for name in ("sends", "reads", "openings")}
    for name, device in done.items():
        assert own[device].mean() == pytest.approx(0.1, rel=0.2), name
    planned = sum(weight * own[done[name]].sum() for name, weight in zip(done, (1, 1, 2), strict=True))
    whole = sum(weight * len(done[name]) for name, weight in zip(done, (1, 1, 2), strict=True))
    assert planned / whole == pytest.approx(chosen.planned_share)
    assert 0.09 < chosen.planned_share <= LOAD_SHARE


@pytest.mark.slow
def test_no_more_of_many_users_than_give_enough_samples() -> None:
    population, plan = made(8_000, rate=400, measure_s=120)
    chosen = choose_probe_users(population, plan)
    assert 200 < len(chosen.devices) < 800
    own = np.isin(np.arange(8_000), chosen.devices)
    for table in (plan.sends, plan.reads[plan.reads["effective"] > 0], plan.openings):
        measured = table["at"] >= SECOND
        assert own[table["device"][measured]].sum() >= SAMPLES


def test_two_hundred_are_wanted_even_if_fewer_gave_enough_samples() -> None:
    population, plan = made(2_100, rate=1_000, measure_s=24)
    assert len(choose_probe_users(population, plan).devices) == 200


def test_the_same_plan_has_the_same_probe_users() -> None:
    population, plan = made(500)
    assert choose_probe_users(population, plan) == choose_probe_users(*made(500))
    other = build(PopulationOptions(500, seed=2))
    assert choose_probe_users(other, make(other, plan.options)) != choose_probe_users(population, plan)
