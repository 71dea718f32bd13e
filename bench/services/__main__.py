"""`python -m bench.services`: makes beforehand what every run copies, for a quick first run.

Part of set-up; exit code 3 if a service is not installed. It makes an initialised data folder of MariaDB, a
formatted one of Kafka, and the archive of Kafka's classes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.services import ServicesError, broker, local, mariadb
from bench.services.cache import publish, scratch_dir
from bench.services.stack import NAMES

_ARCHIVING_S = 60.0


def main() -> int:
    absent = local.missing(frozenset(NAMES))
    if absent:
        print(f"{' and '.join(absent)}: not installed. Type `make setup`.", file=sys.stderr)
        return 3
    try:
        mariadb.empty_data()
        archive = broker.class_archive(broker.installed_version(broker.libraries() or Path()))
        if not archive.is_file():
            print("setup: starting Kafka once, to archive its classes …", file=sys.stderr)
            publish(archive, _archive_classes)
    except ServicesError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def _archive_classes(target: Path) -> None:
    """Starts a broker, has it do its work once, and lets it write down what it has loaded."""
    starter = local.Starter()
    with tempfile.TemporaryDirectory(prefix="readstate-", dir=scratch_dir()) as folder:
        try:
            running = starter.start([broker.KafkaBroker(Path(folder), archive_to=target)])
            running["kafka"].daemon.stop(_ARCHIVING_S)
        finally:
            starter.abandon()
    if not target.is_file():
        raise ServicesError(
            "Kafka was stopped and left no archive of its classes. Is the Java older than 13?"
        )


if __name__ == "__main__":
    sys.exit(main())
