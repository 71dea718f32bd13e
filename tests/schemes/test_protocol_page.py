"""`docs/protocol.md` says what `schemes/protocol.py` says."""

from __future__ import annotations

from pathlib import Path

from schemes import protocol as p
from schemes.protocol_page import render

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocol.md"


def test_the_page_is_the_code() -> None:
    assert PAGE.read_text() == render(), "run: python -m schemes.protocol_page > docs/protocol.md"


def test_the_page_names_every_frame_error_and_close() -> None:
    page = render()
    for name in (
        *p.CLIENT_TYPES,
        *p.RESERVED,
        *p.ERRORS,
        *map(str, p.CLOSES),
        "WELCOME",
        "UPDATE",
        "MESSAGE",
    ):
        assert name in page
