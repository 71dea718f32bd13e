"""One side's part of services that both use: a database of MySQL's, one of Redis's; a topic is a name."""

from __future__ import annotations

import signal
from dataclasses import replace
from urllib.parse import urlsplit

from bench.services import external
from bench.services.stack import Service, Stack


class Share(Stack):
    """Stopping it stops nothing: the services belong to whoever brought them up."""

    def __init__(self, whole: Stack, side: int, *, allow_wipe: bool) -> None:
        """Makes the databases if they are not there; what is in them will be lost.  Raises ServicesError."""
        super().__init__({name: _own(one, side) for name, one in whole.services.items()}, whole.folder)
        self._whole = whole
        self.how = whole.how
        for name, service in self.services.items():
            external.claim(name, service.url, allow_wipe=allow_wipe or whole.how != "external")

    def alive(self) -> list[str]:
        return self._whole.alive()

    def mysql_data_bytes(self) -> int | None:
        return self._whole.mysql_data_bytes()

    def signal(self, name: str, number: signal.Signals) -> None:
        self._whole.signal(name, number)


def _own(service: Service, side: int) -> Service:
    """With the address of what is this side's own: the next database of Redis, another name in MySQL."""
    parts = urlsplit(service.url)
    if service.name == "mysql":
        return replace(service, url=parts._replace(path=f"{parts.path}_{chr(ord('a') + side)}").geturl())
    if service.name == "redis":
        first = int(parts.path.strip("/") or 0)
        return replace(service, url=parts._replace(path=f"/{first + side}").geturl())
    return service
