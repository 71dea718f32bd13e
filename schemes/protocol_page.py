"""Writes `docs/protocol.md` from `schemes/protocol.py`: `python -m schemes.protocol_page > docs/protocol.md`.

The page says what the code says: frames and fields from the structs, prose from their docstrings."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from typing import Any

import msgspec

from schemes import protocol as p

FROM_CLIENT = p.ClientFrame.__args__
FROM_SERVER = (
    p.Welcome, p.CountAck, p.SendAck, p.DeliveredAck, p.ReadAck, p.StateResult, p.SyncResult, p.HistoryResult,
    p.Pong, p.Error,
)  # fmt: skip
PUSHES = (p.Message, p.Update, p.Goodbye)
PARTS = (
    p.Resume, p.Mark, p.StageTimes, p.ServerInfo, p.AckMeaning, p.MarkResult, p.DeliveredResult,
    p.ConversationState, p.UpdatedMessage, p.Change, p.StoredMessage, p.CursorValue, p.Limits,
)  # fmt: skip
CONTROL = (p.ControlRequest, p.ControlReply, p.SeedConversation, p.DumpRow, p.FailpointHit)


def render() -> str:
    """The whole page, Markdown."""
    lines = [
        *(HEAD.format(doc=inspect.cleandoc(p.__doc__ or ""), p=p, token=_token_form()).split("\n")),
        *_section("From the client", FROM_CLIENT),
        NOT_YET.format(kinds=", ".join(f"`{kind}`" for kind in sorted(p.RESERVED))),
        *_section("Replies", FROM_SERVER),
        *_section("Pushes", PUSHES),
        *_section("Parts of frames", PARTS),
        *_errors(),
        *_closes(),
        *_section(f"The harness's own door, `{p.CONTROL_PATH}`", CONTROL),
    ]
    return "\n".join(lines)


HEAD = """\
# Wire protocol `readstate.v1`

<!-- Made from schemes/protocol.py by `python -m schemes.protocol_page`; a test holds them together. -->

{doc}

The WebSocket is at `{p.PATH}`, subprotocol `{p.SUBPROTOCOL}`, default port {p.DEFAULT_PORT}. Unknown fields
are ignored. Requests may be pipelined; replies match by `reply_to`. `GET /healthz`, `/readyz` and `/metrics`
answer on the same port.

What one connection says of one conversation (SEND, DELIVERED, READ) applies in the order it was said;
STATE, SYNC and HISTORY may overtake it. Pushes of a key arrive in the order of its versions. Change ids are
per user and without gaps: who sees one asks SYNC. Nothing is promised across conversations; the reference
servers carry out one such request of a connection at a time.

A token is `{token}`, never part of a URL.
"""
NOT_YET = """\
Not offered yet: {kinds}, `if_version` and `readcount/` keys; they answer `UNSUPPORTED` and are absent
from `caps`.
"""


def _token_form() -> str:
    return 'base64url(user|device|expiry) "." hex(hmac_sha256(secret, …))'


def _section(title: str, structs: tuple[Any, ...]) -> list[str]:
    lines = [f"## {title}", ""]
    for struct in structs:
        lines += _struct(struct)
    return lines


def _struct(struct: Any) -> list[str]:
    tag = struct.__struct_config__.tag
    name = (
        f"`{tag}`"
        if tag and list(_TAGS).count(tag) == 1
        else f"`{tag}` ({struct.__name__})"
        if tag
        else struct.__name__
    )
    doc = inspect.getdoc(struct) if struct.__doc__ else None
    lines = [f"### {name}", ""]
    if doc:
        lines += [doc, ""]
    if struct.__struct_config__.array_like:
        lines += ["Sent as an array, in this order.", ""]
    lines += ["| field | type | default | |", "| --- | --- | --- | --- |"]
    notes = _notes(struct)
    for about in msgspec.structs.fields(struct):
        cells = (f"`{about.name}`", _type_name(about.type), _default(about), notes.get(about.name, ""))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


_TAGS = [struct.__struct_config__.tag for struct in (*FROM_CLIENT, *FROM_SERVER, *PUSHES)]


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is not None and typing.get_origin(kind) is not list:
        parts = [part for part in typing.get_args(kind) if part not in (type(None), msgspec.UnsetType)]
        if typing.get_origin(kind) is dict:
            return "object"
        names = ", ".join(_type_name(part) for part in parts)
        return f"{names} or null" if type(None) in typing.get_args(kind) else names
    if typing.get_origin(kind) is list:
        return f"[{_type_name(typing.get_args(kind)[0])}]"
    name = str(kind.__name__)
    return {"str": "string", "int": "integer", "bool": "boolean"}.get(name, name)


def _default(about: Any) -> str:
    if about.required:
        return "required"
    if about.default is msgspec.UNSET:
        return "absent"
    if about.default is msgspec.NODEFAULT:
        return f"`{msgspec.json.encode(about.default_factory()).decode()}`"
    return f"`{msgspec.json.encode(about.default).decode()}`"


def _notes(struct: Any) -> dict[str, str]:
    """Docstrings that stand below fields, as one line each."""
    (body,) = [node for node in ast.parse(inspect.getsource(struct)).body if isinstance(node, ast.ClassDef)]
    notes: dict[str, str] = {}
    for before, node in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text and isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            notes[before.target.id] = " ".join(str(node.value.value).split())  # type: ignore[attr-defined]
    return notes


def _errors() -> list[str]:
    lines = ["## Errors", "", "| code | meaning | retry | definite |", "| --- | --- | --- | --- |"]
    for code, error in p.ERRORS.items():
        definite = "yes" if error.definite else "no: outcome unknown"
        lines.append(f"| `{code}` | {error.meaning} | {error.retry} | {definite} |")
    return [*lines, ""]


def _closes() -> list[str]:
    lines = ["## Close codes", "", "| code | meaning |", "| --- | --- |"]
    return [*lines, *(f"| {code} | {meaning} |" for code, meaning in p.CLOSES.items()), ""]


if __name__ == "__main__":
    sys.stdout.write(render())
