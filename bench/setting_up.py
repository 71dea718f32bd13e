"""What a run stands on: its services, and the scheme's processes on them, seeded; or a server that runs
already."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import schemes
from bench import disk, manifest
from bench.control import Control, NotOffered
from bench.options import Arm, RunOptions, Target
from bench.services import Stack, bring_up, mariadb, probe
from bench.services.cache import scratch_dir, template_path
from bench.services.running import RunningServer
from bench.services.server import SchemeProcesses, Source
from bench.services.terms import Terms, topic_settings
from schemes import SCHEMES

if TYPE_CHECKING:
    from bench.runner import Load

SCHEMA_SQL: Final = Path(schemes.__file__).parent / "stores" / "schema.sql"
WARM_UP_RECORDS: Final = "30000"
"""Records through a cold broker before anything counts (its first seconds cost five times the CPU)."""
NO_CONTROL_SECRET: Final = "no --control-secret was given"


class SettingUp:
    """Of one run.  What is brought up stops when `until` closes; what becomes known goes into `facts`."""

    def __init__(
        self,
        arm: Arm,
        load: Load,
        options: RunOptions,
        *,
        run_id: str,
        logs: Path,
        secret: str,
        facts: manifest.Facts,
        until: contextlib.ExitStack,
        say: Callable[[str], None],
    ) -> None:
        self._arm, self._load, self._options = arm, load, options
        self._run_id, self._logs, self._secret = run_id, logs, secret
        self._facts, self._exit, self._say = facts, until, say
        self.needs = SCHEMES[arm.scheme].needs if options.target is None else frozenset[str]()
        self.stack: Stack
        self.given: Stack | None = None
        """Services that are there already, and somebody else stops."""
        self.source: Source | None = None
        """Where the scheme's processes come from, if not from here."""

    def up(self) -> SchemeProcesses | RunningServer:
        """The server, ready and seeded; `stack` is there then.  Raises ServicesError and ControlError."""
        if self.needs:
            self._facts.disk = disk.cost(scratch_dir())
        self.stack = self._start_services()
        self._facts.services = {name: service.to_dict() for name, service in self.stack.services.items()}
        if self._options.target is not None:
            return self._find_server(self._options.target)
        if not self._is_restored():
            self._seed_and_keep()
        server = self._start_scheme(for_measuring=True)
        self._note_terms()
        self._facts.commands = server.commands
        return server

    def _start_services(self) -> Stack:
        needs, places = self.needs, self._options.places
        if self.given is not None:
            return self.given
        templates = self._templates() if needs else {}
        stack = bring_up(
            needs,
            how=places.services,
            folder=scratch_dir() / f"readstate-{self._run_id}",
            mysql_url=places.mysql_url,
            redis_url=places.redis_url,
            kafka_bootstrap=places.kafka_bootstrap,
            mysql_template=templates.get("mysql"),
            redis_template=templates.get("redis"),
            terms=self._terms(),
            allow_wipe=places.allow_wipe,
            say=self._say,
        )
        return self._exit.enter_context(stack)

    def _terms(self) -> Terms:
        options = self._options
        rests_on = SCHEMES[self._arm.scheme].rests_on if options.target is None else frozenset[str]()
        return Terms(options.durability, rests_on, options.pool_ratio)

    def _note_terms(self) -> None:
        """What the stores are really set to, once everything that runs does."""
        services = self.stack.services
        settings = {name: dict(service.settings) for name, service in services.items()}
        if "kafka" in services:
            settings["kafka"] |= probe.kafka_topic(services["kafka"].url, self._arm.options["topic"])
        for name, said in settings.items():
            self._facts.services[name] = services[name].to_dict() | {"settings": said}
        data = self.stack.mysql_data_bytes() if "mysql" in services else None
        self._facts.terms = manifest.terms(self._options, self._terms(), settings, data)

    def _templates(self) -> dict[str, Path]:
        """Where the seeded data folder of this population belongs, and the dump of a filled cache."""
        key = {
            "seed": self._load.population.seed_sha256(self._load.plan.unread_at_start),
            "schema": hashlib.sha256(SCHEMA_SQL.read_bytes()).hexdigest(),
            "model": self._arm.options.get("model", ""),
        }
        version = mariadb.version() if mariadb.binary() else ""
        found = {"mysql": template_path("mysql", version, key)}
        if self._fills_cache():
            found["redis"] = template_path("redis", version, key | {"scheme": self._arm.scheme})
        return found

    def _fills_cache(self) -> bool:
        """`queue` answers from Redis, so it is always filled; `redis` only for `--cache warm`."""
        return "kafka" in self.needs or ("redis" in self.needs and self._options.cache == "warm")

    def _is_restored(self) -> bool:
        wanted = {"mysql"} | ({"redis"} if self._fills_cache() else set())
        return bool(self.needs) and wanted <= self.stack.restored

    def _seed_and_keep(self) -> None:
        """Loads the population through a server of its own; private services keep a copy for the next run."""
        if not self.needs:
            return  # the control is seeded when it is there to stay
        with self._start_scheme(for_measuring=False) as processes:
            self._seed(Control(processes.control_url, self._secret))
        if self.stack.can_snapshot:
            self._say("keeping the seeded data for the next run")
            templates = self._templates()
            if "redis" in templates:
                self.stack.snapshot_redis(templates["redis"])
            self.stack.snapshot_mysql(templates["mysql"])

    def _seed(self, control: Control) -> None:
        self._say(f"seeding {self._load.population.conversations:,} conversations")
        began = time.monotonic()
        control.ask("RESET", timeout_s=120)
        control.seed(
            self._load.population.seed_frames(self._load.plan.unread_at_start), warm=self._fills_cache()
        )
        control.close()
        self._facts.seconds["seed"] = time.monotonic() - began

    def _start_scheme(self, *, for_measuring: bool) -> SchemeProcesses:
        options = dict(self._arm.options) | self._service_options()
        processes = SchemeProcesses(
            self._arm.scheme,
            options,
            settings={"warm-up": WARM_UP_RECORDS} if for_measuring and self._arm.scheme == "queue" else {},
            shared=self._shared_settings(for_measuring=for_measuring),
            secret=self._secret,
            logs=self._logs,
            port=self._options.port,
            auth=self._options.auth,
            source=self.source,
        )
        if for_measuring:
            self._exit.enter_context(processes)
        try:
            processes.wait_ready()
        except BaseException:  # Ctrl-C too: nothing is left running
            processes.stop()
            raise
        if for_measuring and not self.needs:
            self._seed(Control(processes.control_url, self._secret))
        return processes

    def _shared_settings(self, *, for_measuring: bool) -> dict[str, str]:
        terms = self._terms()
        shared = topic_settings(terms.durability, terms.rests_on)
        if for_measuring and self.needs and self._options.store_rtt_ms:
            shared["store-rtt"] = f"{self._options.store_rtt_ms:g}"
        if self.given is not None and "kafka" in self.needs:
            shared["group"] = self._arm.options["topic"]  # members of one group share out all of its topics
        return shared

    def _find_server(self, target: Target) -> RunningServer:
        """A server that runs already: seeded if its door allows it, and held to have this population."""
        server = RunningServer(target)
        if target.control_secret is not None:
            self._seed_running(Control(target.control_url, target.control_secret))
        else:
            self._facts.not_available["SEED"] = NO_CONTROL_SECRET
        load = self._load
        seeded = load.population.seed_conversations(load.plan.unread_at_start)
        self._facts.welcome = server.look(load.population, seeded)
        return server

    def _seed_running(self, control: Control) -> None:
        """Only what is empty, or may be wiped."""
        try:
            if self._options.places.allow_wipe or next(control.dump("store"), None) is None:
                self._seed(control)
            else:
                why_not = "its store is not empty, and --allow-wipe was not given"
                self._facts.not_available["SEED"] = why_not
                self._say(f"the server is not seeded: {why_not}")
        except NotOffered as why:
            self._facts.not_available["SEED"] = f"the server does not offer it ({why})"
        finally:
            control.close()

    def _service_options(self) -> dict[str, str]:
        services = self.stack.services
        found = {}
        if "mysql" in services:
            scheme, _, rest = services["mysql"].url.partition("://")
            driver = self._arm.driver_of(self._options)
            found["mysql-url"] = f"{scheme.partition('+')[0]}+{driver}://{rest}"
        if "redis" in services:
            found["redis-url"] = services["redis"].url
        if "kafka" in services:
            found["kafka-bootstrap"] = services["kafka"].url
        return found
