"""Tokens, ids, and what is made of bytes that are no frame."""

from __future__ import annotations

import pytest

from schemes import protocol as p


def test_tokens_are_for_one_user_and_device_until_they_expire() -> None:
    token = p.make_token(b"k", "u1", "d1", 1000)
    assert p.check_token(b"k", token, "u1", "d1", 999.0) is None
    assert "expired" in (p.check_token(b"k", token, "u1", "d1", 1001.0) or "")
    assert "another user" in (p.check_token(b"k", token, "u2", "d1", 1.0) or "")
    assert "another user" in (p.check_token(b"k", token, "u1", "d2", 1.0) or "")
    assert "signature" in (p.check_token(b"other", token, "u1", "d1", 1.0) or "")
    assert "signature" in (p.check_token(b"k", token[:-1] + "0", "u1", "d1", 1.0) or "") or token.endswith(
        "0"
    )
    for nonsense in ("", ".", "é.x", "a", "YWJj." + "0" * 64):
        assert p.check_token(b"k", nonsense, "u1", "d1", 1.0)


def test_the_token_is_what_the_protocol_says() -> None:
    claim, dot, signature = p.make_token(b"secret", "u7", "phone", 1_800_000_000).partition(".")
    assert dot == "."
    assert claim == "dTd8cGhvbmV8MTgwMDAwMDAwMA"
    assert len(signature) == 64


@pytest.mark.parametrize("bad", ["", "u", "7", "U7", "u-7", "u7x", "u٣", "u" + "9" * 19])
def test_user_ids_are_u_and_a_number(bad: str) -> None:
    with pytest.raises(ValueError, match="user id"):
        p.user_number(bad)
    assert p.user_number("u17") == 17


@pytest.mark.parametrize(
    ("data", "code", "reply_to"),
    [
        (b"", "BAD_REQUEST", ""),
        (b"[]", "BAD_REQUEST", ""),
        (b"\xff\xfe", "BAD_REQUEST", ""),
        (b'{"type":"READ","id":"9"}', "BAD_REQUEST", "9"),
        (b'{"type":"READERS","id":"9"}', "UNSUPPORTED", "9"),
        (b'{"type":7,"id":"9"}', "BAD_REQUEST", ""),
    ],
)
def test_what_is_no_frame_is_explained(data: bytes, code: str, reply_to: str) -> None:
    with pytest.raises(p.ProtocolError) as caught:
        p.decode_client(data)
    assert (caught.value.code, caught.value.reply_to) == (code, reply_to)


def test_unknown_fields_are_ignored() -> None:
    assert p.decode_client(b'{"type":"PING","id":"1","colour":"red"}') == p.Ping(id="1")


def test_every_error_says_whether_it_is_definite() -> None:
    assert {code for code, error in p.ERRORS.items() if not error.definite} == {"UNAVAILABLE", "INTERNAL"}
