"""Private Apache Kafka, one node, broker and controller, loopback ports; tools/setup.sh fetches its jars."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from bench.services import probe
from bench.services.cache import cache_dir, copy_tree, publish
from bench.services.stack import ServicesError

CLUSTER_ID = "cmVhZHN0YXRlLWJlbmNoMA"  # any 16 bytes; fixed, so that a formatted folder can be copied
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",  # a misspelt topic must be an error
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.coordinator.append.linger.ms": "5",  # Kafka's own default: an awaited commit costs that much
    "group.min.session.timeout.ms": "1000",  # so that a crashed consumer can be noticed in seconds
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "1500",  # else a killed broker comes back only after 9 s
    "broker.heartbeat.interval.ms": "300",
}
HEAP_MB = 512
JVM = (
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)


def wanted_version() -> str:
    """The version that pom.xml names."""
    pom = resources.files("bench.services").joinpath("kafka/pom.xml").read_text()
    found = re.search(r"<kafka\.version>([^<]+)<", pom)
    if not found:
        raise ServicesError("bench/services/kafka/pom.xml names no <kafka.version>; put one back.")
    return found[1]


def libraries() -> Path | None:
    """The folder with Kafka's jars: $KAFKA_HOME/libs, or what set-up fetched."""
    home = os.environ.get("KAFKA_HOME")
    folder = (Path(home) if home else cache_dir() / f"kafka-{wanted_version()}") / "libs"
    return folder if any(folder.glob("kafka_2.*.jar")) else None


def java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def installed() -> bool:
    return bool(java() and libraries())


def installed_version(folder: Path) -> str:
    """Of the jars in `folder`, since $KAFKA_HOME may hold any."""
    names = [re.fullmatch(r"kafka_2\.\d+-([0-9.]+)\.jar", path.name) for path in folder.glob("kafka_2.*.jar")]
    return next((name[1] for name in names if name), "unknown")


def class_archive(version: str) -> Path:
    """Kafka's classes as this JVM has parsed them: halves the CPU and the time that a start takes."""
    machine = Path(java() or "java").resolve()
    built = int(machine.stat().st_mtime) if machine.exists() else 0
    return cache_dir() / "empty" / f"kafka-{version}-{built}.jsa"


class KafkaBroker:
    name = "kafka"
    ports = 2
    grace_s = 8.0
    restored = False

    def __init__(self, folder: Path, *, archive_to: Path | None = None) -> None:
        """`archive_to`: where this broker shall leave the class archive when it is stopped."""
        libs = libraries()
        if libs is None:
            raise ServicesError("Kafka's jars were looked for and not found. `make setup` fetches them.")
        self.folder = folder
        self.data = folder / "data"
        self._libs = libs
        self._version = installed_version(libs)
        self._archive_to = archive_to

    def prepare(self) -> None:
        formatted = cache_dir() / "empty" / f"kafka-{self._version}"
        if not formatted.is_dir():
            publish(formatted, self._format)
        copy_tree(formatted, self.data)

    def argv(self, ports: list[int]) -> list[str]:
        properties = self._write_properties("server.properties", self.data, ports)
        log4j = resources.files("bench.services").joinpath("kafka/log4j2.xml")
        heap = (f"-Xms{HEAP_MB}m", f"-Xmx{HEAP_MB}m")
        return self._java(
            *heap,
            *JVM,
            *self._sharing(),
            f"-Dlog4j2.configurationFile={log4j}",
            "kafka.Kafka",
            str(properties),
        )

    def url(self, ports: list[int]) -> str:
        return f"127.0.0.1:{ports[0]}"

    def probe(self, url: str) -> probe.Facts:
        facts = probe.kafka(url)
        return probe.Facts(facts.engine, self._version, {**facts.settings, "heap": f"{HEAP_MB}m"})

    def _sharing(self) -> list[str]:
        if self._archive_to:
            return [f"-XX:ArchiveClassesAtExit={self._archive_to}"]
        archive = class_archive(self._version)
        return [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive.is_file() else []

    def _format(self, new: Path) -> None:
        properties = self._write_properties("format.properties", new, [1, 2])
        argv = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties))
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise ServicesError(f"Kafka's data folder could not be formatted:\n{done.stdout}{done.stderr}")

    def _write_properties(self, name: str, data: Path, ports: list[int]) -> Path:
        broker, controller = ports
        rows = {
            **SETTINGS,
            "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(data),
        }
        path = self.folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in rows.items()))
        return path

    def _java(self, *args: str) -> list[str]:
        return [java() or "java", "-cp", f"{self._libs}/*", *args]
