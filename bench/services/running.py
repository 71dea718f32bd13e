"""A server that somebody else runs: nothing is started or stopped, and what is known of it is what it says.

Before a run it is asked who it is (WELCOME), and whether it holds the people and conversations that the run
is about to use (STATE of a few of them)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import psutil
import websockets.sync.client
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bench.options import Target
from bench.population import Population, user_id
from bench.services.stack import ServicesError
from schemes.protocol import SERVER_FRAME_BYTES_MAX, SUBPROTOCOL, SeedConversation, make_token

Json = dict[str, Any]
Cursors = Mapping[str, tuple[int, int]]
"""Conversation id -> (its last seq, how far the person has read)."""

TIMEOUT_S: Final = 5.0
TOKEN_LIFE_S: Final = 600
DEVICE: Final = "bench-looks"
LOOKED_AT: Final = 8
"""People whose STATE is compared with the population before a run."""
NAMED: Final = 3
PAGE: Final = 100


class RunningServer:
    """Where it is and which processes are its own.  Has what the runner asks of a server that it started."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.commands: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return self._target.url

    @property
    def control_url(self) -> str:
        return self._target.control_url

    def pids(self) -> dict[str, list[int]]:
        return {"server": list(self._target.pids)} if self._target.pids else {}

    def alive(self) -> list[str]:
        """One text per process that is gone; where none is known, its death is seen on the wire alone."""
        return [f"server (pid {pid}) is gone" for pid in self._target.pids if not _runs(pid)]

    def look(self, population: Population, seeded: Iterable[SeedConversation]) -> Json:
        """WELCOME of one person, after the STATE of some has shown that they are as seeded.

        Raises ServicesError if it cannot be spoken to, or holds something else."""
        people = _some_of(population)
        expected = _expected(people, seeded)
        welcome: Json = {}
        for person in people:
            welcome, shown = self._state_of(user_id(person))
            if problem := _differs(user_id(person), expected[person], shown):
                raise ServicesError(f"{self.url} does not hold the population of these options: {problem}")
        return welcome

    def _state_of(self, user: str) -> tuple[Json, Cursors]:
        with self._talking() as talk:
            welcome = talk.hello(user, self._target.token_secret)
            return welcome, talk.state()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[_Talk]:
        try:
            with websockets.sync.client.connect(
                self.url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=4 * SERVER_FRAME_BYTES_MAX,
                proxy=None,
                open_timeout=TIMEOUT_S,
                close_timeout=TIMEOUT_S,
            ) as socket:
                if socket.subprotocol != SUBPROTOCOL:
                    raise ServicesError(
                        f"{self.url} speaks WebSocket, but did not choose the subprotocol {SUBPROTOCOL} "
                        f"(it said {socket.subprotocol!r}). Only servers that speak it can be measured."
                    )
                yield _Talk(self.url, socket)
        except TimeoutError as why:
            raise ServicesError(f"{self.url} did not answer within {TIMEOUT_S:.0f} s.") from why
        except (OSError, WebSocketException) as why:
            raise ServicesError(
                f"{self.url} cannot be spoken to: {str(why) or type(why).__name__}. Is it running there?"
            ) from why


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class _Talk:
    """A few questions on one connection, one after the other."""

    def __init__(self, url: str, socket: websockets.sync.client.ClientConnection) -> None:
        self._url = url
        self._socket = socket

    def hello(self, user: str, secret: str | None) -> Json:
        expires_s = int(time.time()) + TOKEN_LIFE_S
        token = make_token(secret.encode(), user, DEVICE, expires_s) if secret is not None else ""
        reply = self._ask({"type": "HELLO", "user_id": user, "device_id": DEVICE, "token": token})
        if reply.get("code") == "UNAUTHENTICATED":
            raise ServicesError(
                f"{self._url} refused a token for {user}: {reply.get('message')}. Give the secret that signs "
                "its tokens as --token-secret, or start it without authentication."
            )
        return self._expect(reply, "HELLO", "WELCOME")

    def state(self) -> Cursors:
        shown: dict[str, tuple[int, int]] = {}
        more: Json = {}
        while True:
            page = self._expect(self._ask({"type": "STATE", "limit": PAGE} | more), "STATE", "STATE_RESULT")
            try:
                shown |= {c["conversation_id"]: (c["last_seq"], c["read_seq"]) for c in page["conversations"]}
            except (KeyError, TypeError) as why:
                raise ServicesError(f"{self._url} answered STATE with conversations without {why}.") from why
            if page.get("done", True) or not page.get("cursor"):
                return shown
            more = {"cursor": page["cursor"]}

    def _expect(self, reply: Json, asked: str, wanted: str) -> Json:
        if reply.get("type") != wanted:
            raise ServicesError(f"{self._url} answered {asked} with {reply}, expected {wanted}.")
        return reply

    def _ask(self, frame: Json) -> Json:
        """Its reply; pushes that come in between are passed over."""
        self._socket.send(json.dumps(frame | {"id": "1"}))
        while True:
            text = self._socket.recv(timeout=TIMEOUT_S)
            try:
                reply = json.loads(text)
            except ValueError as why:
                raise ServicesError(f"{self._url} sent a frame that is not JSON: {text[:80]!r}") from why
            if isinstance(reply, dict) and reply.get("reply_to") == "1":
                return reply


def _some_of(population: Population) -> list[int]:
    """Some of those who connect, and both people of the first probe."""
    step = max(1, population.connected // (LOOKED_AT - 2))
    probes = population.probe_pair(0)[:2] if population.options.probe_pairs else ()
    return [*range(0, population.connected, step)[: LOOKED_AT - 2], *probes]


def _expected(people: Iterable[int], seeded: Iterable[SeedConversation]) -> dict[int, Cursors]:
    expected: dict[int, dict[str, tuple[int, int]]] = {person: {} for person in people}
    for conversation in seeded:
        for number, read_seq in zip(conversation.members, conversation.read_seq, strict=True):
            if number - 1 in expected:
                expected[number - 1][conversation.id] = (conversation.history, read_seq)
    return dict(expected)


def _differs(user: str, expected: Cursors, shown: Cursors) -> str:
    """What is not as it should be, and what to do; empty if all is."""
    load = (
        "Load the file that `bench run … --write-population FILE` writes with the same options, or give "
        "--control-secret if the server has a /control that can SEED."
    )
    if missing := sorted(expected.keys() - shown.keys()):
        named = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
        return f"of {user}'s {len(expected)} conversations {len(missing)} are not there ({named}). {load}"
    if others := sorted(shown.keys() - expected.keys()):
        return f"{user} has {len(others)} conversations that are not in it, such as {others[0]}. {load}"
    for name, (last_seq, read_seq) in expected.items():
        if shown[name] != (last_seq, read_seq):
            return (
                f"{name} of {user} is at message {shown[name][0]}, read up to {shown[name][1]}; expected "
                f"{last_seq} and {read_seq}. If it was used since it was loaded, load it anew. {load}"
            )
    return ""
