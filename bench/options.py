"""What `bench run` was asked for, as one value; presets, and what cannot be asked for.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from schemes import SCHEMES
from schemes.protocol import CONTROL_PATH, PATH

ALL = "all"
CONTROL = "memory"
ARRIVALS = ("open", "closed")
USERS_MAX = 100_000
RATE_MAX = 100_000.0
DURATION_MAX_S = 24 * 3600.0


ARTICLE, PROCESS, POWER = "article", "process", "power"
DURABILITIES = (PROCESS, POWER, ARTICLE)
"""Classes that `--durability` sets the stores to (`bench/services/terms.py`)."""
DRIVERS = ("aiomysql", "asyncmy")
"""Client libraries of MySQL."""
BOTH = "both"
LEAVE_OUT = ("probes", "probe_users", "samplers", "stamps")
"""Parts of the harness that a run can do without, to see what they cost (`tests/proofs/own_effect.py`)."""
STORE_RTTS_MS = {"0": 0.0, "1ms": 1.0, "2ms": 2.0}
POOL_RATIO_MAX = 100.0
FOREIGN = "url"
"""What the results call a server that somebody else runs, unless `--label` names it."""
PROMISES = ("convergence", "read_your_writes", "monotonic_reads", "linearizable")
"""What may be said of a foreign server; `durable` it says itself, in WELCOME."""
OF_OUR_OWN = (
    "scheme", "cache", "mysql_driver", "services", "mysql_url", "redis_url", "kafka_bootstrap", "port",
    "auth", "durability", "store_rtt", "pool_ratio",
)  # fmt: skip
"""Options of a server that the harness starts, by parameter name: they say nothing about one that runs."""
OF_A_TARGET = ("token_secret", "control_secret", "server_pid", "promise", "write_population")


class BadOptions(Exception):
    """Options that make no run: what came, what was expected, what to do (exit code 2)."""


@dataclass(frozen=True)
class Preset:
    users: int
    duration_s: float
    help: str


PRESETS: Mapping[str, Preset] = {
    "ci": Preset(200, 30.0, "200 users for 30 s"),
    "dev": Preset(2_000, 120.0, "2,000 users for 2 minutes"),
    "full": Preset(10_000, 600.0, "10,000 users for 10 minutes"),
}


@dataclass(frozen=True)
class Places:
    """Where the services are; None: whatever `services` finds."""

    services: str = "auto"
    mysql_url: str | None = None
    redis_url: str | None = None
    kafka_bootstrap: str | None = None
    allow_wipe: bool = False


_URL: Final = re.compile(r"(ws://(?:\[[0-9a-fA-F:.]+\]|[^/:?#@\s]+)(?::(\d{1,5}))?)(/[^?#\s]*)?")


@dataclass(frozen=True)
class Target:
    """A server that runs already, and that the harness neither starts nor stops.

    `token_secret` None: it looks at no tokens.  `control_secret` None: its `/control` is left alone.  `pids`
    are its processes on this machine, if it is known which."""

    url: str
    token_secret: str | None = None
    control_secret: str | None = None
    pids: tuple[int, ...] = ()
    promises: tuple[str, ...] = ("convergence",)

    @property
    def control_url(self) -> str:
        """The control door is at the same host and port."""
        found = _URL.fullmatch(self.url)
        assert found is not None, self.url
        return f"{found[1]}{CONTROL_PATH}"


def target_url(text: str) -> str:
    """A WebSocket address with its path.  Raises BadOptions."""
    found = _URL.fullmatch(text)
    if found is None or not 0 < int(found[2] or 80) < 65536:
        why = " TLS is not spoken here." if text.startswith("wss:") else ""
        raise BadOptions(f"--url is ws://host:port{PATH}, got {text!r}.{why}")
    return text if found[3] not in (None, "/") else f"{found[1]}{PATH}"


@dataclass(frozen=True)
class RunOptions:
    """Times in seconds, rates per second.  `rate_per_s` None: `intensity` decides; both None: 115 SEND/s.
    With a `target`, `scheme` is only its name."""

    scheme: str
    scheme_options: Mapping[str, str] = field(default_factory=dict)
    scenario: str = "steady_chat"
    users: int = 2_000
    people: int | None = None
    rate_per_s: float | None = None
    intensity: float | None = None
    duration_s: float = 60.0
    warmup_s: float = 15.0
    seed: int = 1
    workers: int = 1
    repeat: int = 1
    history: tuple[int, int] = (5, 20)
    reads_per_mark: float | None = None
    delivered_window_s: float = 1.0
    arrivals: str = "open"
    cache: str = "cold"
    mysql_driver: str = "aiomysql"
    durability: str = ARTICLE
    store_rtt_ms: float = 0.0
    pool_ratio: float | None = None
    pin: str = "auto"
    port: int | None = None
    auth: str = "hmac"
    web: bool = False
    fail_if: tuple[str, ...] = ()
    fail_fast: bool = False
    leave_out: tuple[str, ...] = ()
    label: str = ""
    out: Path = Path("results")
    places: Places = Places()
    target: Target | None = None
    command: str = ""


@dataclass(frozen=True)
class Arm:
    """One scheme with its options: one run each.  `driver`: of MySQL, where both are measured; None: what
    all arms have."""

    scheme: str
    options: Mapping[str, str]
    driver: str | None = None

    @property
    def name(self) -> str:
        """`db/cursor`: the scheme and what differs from its defaults."""
        known = SCHEMES.get(self.scheme)
        defaults = known.options if known is not None else {}
        changed = [value for name, value in self.options.items() if value != defaults[name].default]
        return "/".join((self.scheme, *changed, *([self.driver] if self.driver else ())))

    def driver_of(self, options: RunOptions) -> str:
        """The client library of MySQL that its run uses."""
        return self.driver or options.mysql_driver


def arms(options: RunOptions) -> list[Arm]:
    """The runs that one command makes.  `all`: the control, the three schemes on the chosen model, and `db`
    on the other model, so that what the model is worth is not credited to the place.  With both drivers each
    arm that has MySQL is there with either."""
    if options.target is not None:
        return [Arm(options.scheme, {})]
    chosen = _arms(options)
    if options.mysql_driver != BOTH:
        return chosen
    drivers = {arm.scheme: DRIVERS if "mysql" in SCHEMES[arm.scheme].needs else (None,) for arm in chosen}
    return [replace(arm, driver=driver) for arm in chosen for driver in drivers[arm.scheme]]


def _arms(options: RunOptions) -> list[Arm]:
    if options.scheme != ALL:
        return [_arm(options.scheme, options.scheme_options)]
    models = SCHEMES["db"].options["model"]
    model = options.scheme_options.get("model", models.default)
    other = next(value for value in models.values if value != model)
    chosen = [_arm(name, _applicable(name, options.scheme_options)) for name in SCHEMES]
    return [*chosen, _arm("db", {"model": other})]


def _applicable(scheme: str, given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if name in SCHEMES[scheme].options}


def _arm(scheme: str, given: Mapping[str, str]) -> Arm:
    known = SCHEMES[scheme].options
    if unknown := [name for name in given if name not in known]:
        offered = ", ".join(f"--{name}" for name in known) or "no options of its own"
        raise BadOptions(f"--{unknown[0]} is no option of the {scheme} scheme, which has {offered}.")
    if conflict := SCHEMES[scheme].conflict(given):
        raise BadOptions(conflict)
    return Arm(scheme, {name: given.get(name, about.default) for name, about in known.items()})


def check_target(said: Collection[str], label: str) -> None:
    """Raises BadOptions for options that contradict each other.  `said`: the parameters that were given."""
    flags = {name: f"--{name.replace('_', '-')}" for name in said}
    if "url" not in said:
        if wrong := [flags[name] for name in OF_A_TARGET if name in said]:
            raise BadOptions(
                f"{wrong[0]} is about a server that runs already: name it with --url ws://host:port{PATH}."
            )
        if "scheme" not in said:
            raise BadOptions(
                f"Say what to measure: --scheme {'|'.join((*SCHEMES, ALL))}, or --url ws://host:port{PATH} "
                "for a server that runs already."
            )
        return
    ours = (*OF_OUR_OWN, *(name.replace("-", "_") for about in SCHEMES.values() for name in about.options))
    if wrong := [flags[name] for name in ours if name in said]:
        raise BadOptions(
            f"--url measures a server as it runs, and {wrong[0]} is about one that bench starts: "
            "leave one of the two out."
        )
    if label in (*SCHEMES, ALL) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}|", label):
        raise BadOptions(
            "With --url the --label is the name in the results: up to 40 letters, digits, '-', '_' and '.', "
            f"and none of {', '.join((*SCHEMES, ALL))}; got {label!r}."
        )


def _check_repeat(target: Target, options: RunOptions) -> None:
    if target.control_secret is None or not options.places.allow_wipe:
        raise BadOptions(
            f"--repeat {options.repeat} with --url: a run changes what the server holds, so that it must be "
            "loaded anew for each. Give --control-secret and --allow-wipe if its /control can RESET and "
            "SEED, or leave --repeat out."
        )


def _check_pool(ratio: float | None) -> None:
    if ratio is not None and not 0 < ratio <= POOL_RATIO_MAX:
        raise BadOptions(
            "--pool-ratio is bytes of MySQL's buffer pool per byte of seeded data, above 0 and at most "
            f"{POOL_RATIO_MAX:g}, got {ratio:g}."
        )


def check(options: RunOptions) -> None:
    """Raises BadOptions for what would make no run, or a number that looks right and isn't."""
    if not 1 <= options.users <= USERS_MAX:
        raise BadOptions(f"--users is 1 to {USERS_MAX}, got {options.users}.")
    if options.people is not None and options.people < options.users / 3:
        raise BadOptions(
            f"--people {options.people} cannot own {options.users} devices: a person has at most three. "
            f"Ask for at least {-(-options.users // 3)}, or leave --people out."
        )
    if options.rate_per_s is not None and options.intensity is not None:
        raise BadOptions("--rate and --intensity are two ways to say the same thing: give one.")
    if options.target is not None and options.repeat > 1:
        _check_repeat(options.target, options)
    for name, value in (("--rate", options.rate_per_s), ("--intensity", options.intensity)):
        if value is not None and not 0 < value <= RATE_MAX:
            raise BadOptions(f"{name} is above 0 and at most {RATE_MAX:g}, got {value:g}.")
    if options.reads_per_mark is not None and not 0 <= options.reads_per_mark <= 1000:
        raise BadOptions(f"--reads-per-mark is 0 to 1000, got {options.reads_per_mark:g}.")
    _check_pool(options.pool_ratio)
    if not 1 <= options.workers <= options.users:
        raise BadOptions(f"--workers is 1 to the number of users ({options.users}), got {options.workers}.")
    if not 1 <= options.duration_s <= DURATION_MAX_S or options.warmup_s > DURATION_MAX_S:
        raise BadOptions(
            f"--duration is 1 s to {DURATION_MAX_S / 3600:g} h and --warmup at most that, got "
            f"{options.duration_s:g} s and {options.warmup_s:g} s."
        )
