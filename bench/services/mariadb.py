"""A private MariaDB (or MySQL, where that is what is installed) on a loopback port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.services import probe
from bench.services.cache import cache_dir, copy_tree, publish
from bench.services.stack import DATABASE, ServicesError
from bench.services.terms import AS_SHIPPED, Terms, mysql_settings

ENGINE_PATHS = "/usr/sbin:/usr/local/sbin:/usr/libexec"  # Debian keeps mariadbd out of a user's PATH
_BUFFER_POOL_MB = 1024
POOL_MIN_BYTES = 8 << 20  # below it InnoDB does not start
_LEFT_BEHIND = ("*.sock", "*.sock.lock", "*.pid", "mysqlx.*", "binlog.*")


def which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ENGINE_PATHS}")


def binary() -> str | None:
    return which("mariadbd") or which("mysqld")


def version() -> str:
    """`mariadbd  Ver 10.11.14-MariaDB-…`, as the binary says it: also the key of cached data folders."""
    return _output([binary() or "mariadbd", "--no-defaults", "--version"]).strip()


def buffer_pool_mb(memory_mb: int) -> int:
    """1 GB, or an eighth of a small machine's memory."""
    return max(128, min(_BUFFER_POOL_MB, memory_mb // 8))


_THREADS: Final = ("--thread-handling=pool-of-threads", "--thread-pool-stall-limit=20")
"""Not a thread for each of 32 connections on two cores (docs/decisions/cores.md).  A statement that takes
longer than the limit, in ms, keeps no others waiting; at the default of 500 even new connections waited."""


class MariaDb:
    name = "mysql"
    ports = 1
    grace_s = 30.0

    def __init__(self, folder: Path, template: Path | None, terms: Terms = AS_SHIPPED) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._terms = terms
        self.restored = template is not None and template.is_dir()
        self._source = template if self.restored else None
        self._binary = binary() or "mariadbd"
        self._mariadb = "MariaDB" in version()

    def prepare(self) -> None:
        copy_tree(self._source or empty_data(), self.data)
        if self._source:
            os.utime(self._source)
        (self.folder / "tmp").mkdir()
        (self.folder / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4;\n"
            "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';\n"
            "GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n"
        )

    def data_bytes(self) -> int:
        """Of the seeded tables' files; 0 before there are any."""
        return sum(path.stat().st_size for path in (self.data / DATABASE).glob("*.ibd"))

    def _pool(self) -> list[str]:
        """A pool that is to be short of the data is so from the first start with data on; the pages that it
        lacks then come from the disk, not from the kernel's cache."""
        ratio, data = self._terms.pool_ratio, self.data_bytes()
        if ratio is None or not data:
            pool = buffer_pool_mb(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20)
            return [f"--innodb-buffer-pool-size={pool}M"]
        short = max(POOL_MIN_BYTES, round(ratio * data / 2**20) << 20)
        chunk = [] if self._mariadb else ["--innodb-buffer-pool-chunk-size=1M"]
        return [f"--innodb-buffer-pool-size={short}", "--innodb-flush-method=O_DIRECT", *chunk]

    def argv(self, ports: list[int]) -> list[str]:
        return [
            self._binary,
            "--no-defaults",
            *_user(),
            f"--datadir={self.data}",
            f"--tmpdir={self.folder / 'tmp'}",
            f"--init-file={self.folder / 'init.sql'}",
            "--socket=mysql.sock",  # relative to the data folder: paths of sockets may not exceed 107 bytes
            "--pid-file=mysql.pid",
            "--bind-address=127.0.0.1",
            f"--port={ports[0]}",
            "--skip-name-resolve",
            *_durable(self._terms.durability),
            "--transaction-isolation=READ-COMMITTED",
            "--default-time-zone=+00:00",
            *self._pool(),
            "--innodb-buffer-pool-load-at-startup=OFF",
            "--innodb-buffer-pool-dump-at-shutdown=OFF",
            "--max-connections=400",
            "--max-allowed-packet=64M",
            "--local-infile=1",
            "--performance-schema=OFF",
            "--character-set-server=utf8mb4",
            *(_THREADS if self._mariadb else ["--mysqlx=OFF"]),
        ]

    def url(self, ports: list[int]) -> str:
        return f"mysql+aiomysql://root@127.0.0.1:{ports[0]}/{DATABASE}"

    def probe(self, url: str) -> probe.Facts:
        return probe.mysql(url)

    def snapshot(self, to: Path) -> None:
        """The server must have been shut down."""

        def write(new: Path) -> None:
            copy_tree(self.data, new)
            for pattern in _LEFT_BEHIND:
                for path in new.glob(pattern):
                    path.unlink()

        publish(to, write)


def _durable(durability: str) -> list[str]:
    settings = mysql_settings(durability)
    log = settings.pop("log-bin", None)
    words = [f"--{name}={value}" for name, value in settings.items()]
    if log == "OFF":
        return [*words, "--skip-log-bin"]
    return words if log is None else [*words, f"--log-bin={log}", "--server-id=1", "--binlog-format=ROW"]


def _user() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


def empty_data() -> Path:
    """An initialised data folder without tables; making one takes seconds, copying it a tenth of one."""
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", version().split(" for ")[0]).strip("-").lower()
    empty = cache_dir() / "empty" / slug
    if not empty.is_dir():
        publish(empty, _initialise)
    return empty


def _initialise(new: Path) -> None:
    if "MariaDB" in version():
        install = which("mariadb-install-db") or "mariadb-install-db"
        secure = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        _output([install, "--no-defaults", *_user(), *secure, f"--datadir={new}"])
    else:
        _output(
            [binary() or "mysqld", "--no-defaults", *_user(), "--initialize-insecure", f"--datadir={new}"]
        )


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServicesError(
            f"`{' '.join(argv)}` could not be run: {error}. `make setup` installs it."
        ) from error
    if done.returncode:
        end = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-12:])
        raise ServicesError(f"`{' '.join(argv)}` ended with status {done.returncode}. It said:\n{end}")
    return done.stdout
