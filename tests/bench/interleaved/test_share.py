from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.interleaved.share import Share
from bench.services import external
from bench.services.stack import Service, Stack


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool]]:
    """What was claimed: (service, address, whether it may be wiped)."""
    found: list[tuple[str, str, bool]] = []

    def claim(name: str, url: str, *, allow_wipe: bool) -> None:
        found.append((name, url, allow_wipe))

    monkeypatch.setattr(external, "claim", claim)
    return found


def stack(how: str, tmp_path: Path) -> Stack:
    urls = {
        "mysql": "mysql+aiomysql://root:a%2Fb@127.0.0.1:3306/readstate?charset=utf8mb4",
        "redis": "redis://127.0.0.1:6379/3",
        "kafka": "127.0.0.1:9092",
    }
    whole = Stack(
        {name: Service(name, name, "1", how, url, pids=(7,)) for name, url in urls.items()}, tmp_path
    )
    whole.how = how
    return whole


def test_each_side_has_a_database_of_its_own(tmp_path: Path, claimed: list[Any]) -> None:
    shares = [Share(stack("local", tmp_path), side, allow_wipe=False) for side in (0, 1)]
    assert [share.services["mysql"].url for share in shares] == [
        "mysql+aiomysql://root:a%2Fb@127.0.0.1:3306/readstate_a?charset=utf8mb4",
        "mysql+aiomysql://root:a%2Fb@127.0.0.1:3306/readstate_b?charset=utf8mb4",
    ]
    assert [share.services["redis"].url for share in shares] == [
        "redis://127.0.0.1:6379/3",
        "redis://127.0.0.1:6379/4",
    ]
    assert {share.services["kafka"].url for share in shares} == {"127.0.0.1:9092"}
    assert shares[0].services["mysql"].pids == (7,)
    assert len(claimed) == 6


@pytest.mark.parametrize(("how", "said", "wiped"), [("local", False, True), ("external", False, False),
                                                   ("external", True, True)])  # fmt: skip
def test_what_others_own_is_wiped_only_if_it_is_said(
    tmp_path: Path, claimed: list[tuple[str, str, bool]], how: str, said: bool, wiped: bool
) -> None:
    Share(stack(how, tmp_path), 0, allow_wipe=said)
    assert {allowed for _, _, allowed in claimed} == {wiped}
