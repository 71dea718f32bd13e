"""What a recipe did and saw, written down as a run's folder is, so that the project's own checks judge it.

People are numbered as on the wire (u1 is person 1), conversations in the order of the seed.  An operation's
id in the record is its id on the wire, so failpoints and findings speak of the same numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.record import (
    CONNECTIONS,
    ERROR_CODES,
    ITEMS,
    NONE,
    OPERATIONS,
    PUSHES,
    Op,
    Outcome,
    Phase,
    PushKind,
)
from bench.results import CONVERSATIONS, DEVICES, FINAL_STORE, MEMBERS, RunFolder
from schemes import SCHEMES
from schemes.protocol import ERRORS, DumpRow, SeedConversation, user_number
from tests.bench.synthetic import rows
from tests.contract.client import Frame

NOT_A_DEVICE: Final = 0xFFFFFFFF
clock_ns = time.monotonic_ns


class Record:
    """The tables of one case."""

    def __init__(self, seeds: Sequence[SeedConversation]) -> None:
        self.seeds = seeds
        self.start = clock_ns()
        self.drained = 0
        self.operations: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.pushes: list[dict[str, Any]] = []
        self.connections: list[dict[str, Any]] = []
        self.devices: list[tuple[int, str]] = []
        self.index = {seed.id: i for i, seed in enumerate(seeds)}

    # --- devices

    def device(self, user: int, name: str) -> int:
        if (user, name) not in self.devices:
            self.devices.append((user, name))
        return self.devices.index((user, name))

    def session(self, user: int, device: int) -> dict[str, Any]:
        """A connection that was just subscribed; `device` NOT_A_DEVICE for a final read."""
        now = clock_ns()
        final = device == NOT_A_DEVICE
        row = {
            **dict.fromkeys(("intended", "opened", "welcomed"), now),
            "subscribed": 0 if final else now,
            "session": len(self.connections) + 1,
            "user": user,
            "device": device,
            "role": 2 if final else 0,
            "phase": Phase.FINAL if final else Phase.MEASURE,
            "close_code": 1000,
        }
        self.connections.append(row)
        return row

    # --- operations

    def ask(self, op: Op, session: Mapping[str, Any], **fields: int) -> dict[str, Any]:
        """A row for what is about to be sent; nobody knows what becomes of it."""
        now = clock_ns()
        row = {
            "op_id": len(self.operations) + 1,
            "plan": NONE,
            "intended": now,
            "sent": now,
            **dict.fromkeys(("argument", "value", "version", "change_id", "unread"), NONE),
            **{name: session[name] for name in ("session", "user", "device")},
            "conversation": 0xFFFFFFFF,
            "op": op,
            "outcome": Outcome.INFO,
            "phase": Phase.FINAL if session["role"] == 2 else Phase.MEASURE,
            **fields,
        }
        self.operations.append(row)
        return row

    def reply(self, row: dict[str, Any], frame: Frame) -> None:
        """Fills the row with what came, as the load's recorder does."""
        row["acknowledged"] = frame["received_ns"]
        if frame["type"] == "ERROR":
            row["outcome"] = Outcome.FAIL if ERRORS[frame["code"]].definite else Outcome.INFO
            row["error"] = ERROR_CODES[frame["code"]]
            return
        row["outcome"] = Outcome.OK
        match row["op"]:
            case Op.READ:
                (item,) = frame["items"]
                told = {name: NONE if item[name] is None else item[name] for name in ("version", "unread")}
                row.update(value=item["read_seq"], flags=int(item["applied"] is True), **told)
            case Op.SEND:
                row.update(value=frame["seq"], flags=int(frame["duplicate"]))
            case Op.STATE:
                row.update(value=frame.get("change_id", NONE))  # not of a point read
                self._add_items(row, map(self._shown, frame["conversations"]))
            case Op.SYNC:
                row.update(value=frame["next_change_id"])
                self._add_items(row, map(self._changed, frame["changes"]))

    def _add_items(self, row: dict[str, Any], items: Iterable[dict[str, Any]]) -> None:
        added = [
            {"op_id": row["op_id"], "index": i, "actor": row["user"]} | item for i, item in enumerate(items)
        ]
        row["items"] = len(added)
        self.items += added

    def _shown(self, state: Frame) -> dict[str, Any]:
        return {
            "value": state["read_seq"],
            "change_id": NONE,
            "conversation": self.index[state["conversation_id"]],
            **{name: state[name] for name in ("version", "last_seq", "unread")},
        }

    def _changed(self, change: Frame) -> dict[str, Any]:
        return {
            "value": change["up_to_seq"],
            "actor": user_number(change["actor_id"]),
            "conversation": self.index[change["conversation_id"]],
            "last_seq": NONE,
            "unread": NONE,
            **{name: change[name] for name in ("version", "change_id")},
        }

    # --- pushes

    def pushed(self, session: Mapping[str, Any], frame: Frame) -> None:
        row = {
            "received": frame["received_ns"],
            **{name: session[name] for name in ("session", "user", "device")},
            "phase": Phase.MEASURE,
            "version": frame.get("version", NONE),
            "change_id": frame.get("change_id", NONE),
        }
        if frame["type"] == "MESSAGE":
            row.update(
                kind=PushKind.MESSAGE,
                value=frame["seq"],
                at_ms=frame["sent_time"],
                conversation=self.index[frame["conversation_id"]],
                actor=user_number(frame["sender_id"]),
            )
        elif frame["type"] == "UPDATE":
            what, conversation, reader = frame["key"].split("/")
            row.update(
                kind=PushKind.READ if what == "read" else PushKind.DELIVERED,
                value=frame["value"]["up_to_seq"],
                at_ms=frame["at"],
                conversation=self.index[conversation],
                actor=user_number(reader),
            )
        else:
            return
        self.pushes.append(row)

    # --- the folder

    def write(self, root: Path, scheme: str, store: Iterable[DumpRow], finals: int) -> RunFolder:
        """`store`: what MySQL held after the drain, `finals`: how many final reads were answered."""
        folder = RunFolder.create(root, scheme=scheme, scenario="anomaly", now=datetime.now(UTC))
        folder.write_rows("operations", 0, rows(OPERATIONS, self.operations))
        folder.write_rows("items", 0, rows(ITEMS, self.items))
        folder.write_rows("pushes", 0, rows(PUSHES, sorted(self.pushes, key=lambda row: row["received"])))
        folder.write_rows("connections", 0, rows(CONNECTIONS, self.connections))
        kinds = [{"kind": int(seed.kind == "group"), "history": seed.history} for seed in self.seeds]
        members = [
            {"conversation": i, "user": user, "read_seq": read_seq}
            for i, seed in enumerate(self.seeds)
            for user, read_seq in zip(seed.members, seed.read_seq, strict=True)
        ]
        devices = [{"device": i, "user": user} for i, (user, _) in enumerate(self.devices)]
        held = [
            {"conversation": self.index[row.conversation_id], "user": row.user_id}
            | {name: getattr(row, name) for name in ("read_seq", "delivered_seq", "version", "last_seq")}
            for row in store
        ]
        folder.write_once("conversations", rows(CONVERSATIONS, kinds))
        folder.write_once("members", rows(MEMBERS, members))
        folder.write_once("devices", rows(DEVICES, devices))
        folder.write_once("final_store", rows(FINAL_STORE, held))
        folder.update_manifest(
            run={
                "scheme": scheme,
                "scenario": "anomaly",
                "promises": list(SCHEMES[scheme].promises),
                "ack": {"send": "durable", "read": "durable"},
                "receipt_members": 200,
                "workers": 1,
            },
            window={
                "start": self.start,
                "measure": self.start,
                "measure_end": self.drained,
                "drain_end": self.drained,
            },
            ended={"how": "finished", "phase": "final", "message": ""},
            drained=True,
            final={"asked": finals, "answered": finals},
        )
        return folder
