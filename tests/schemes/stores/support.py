"""A population to seed, and a second opinion about what is in MySQL."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pymysql.cursors

from schemes.protocol import SeedConversation

PEOPLE = 2000


def connect(url: str) -> pymysql.Connection[Any]:
    place = urlsplit(url)
    return pymysql.connect(
        host=place.hostname or "",
        port=place.port or 0,
        user=place.username,
        password=place.password or "",
        database=place.path.strip("/"),
        cursorclass=pymysql.cursors.DictCursor,
        charset="utf8mb4",
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    )


def population(people: int = PEOPLE, seed: int = 5) -> list[SeedConversation]:
    """Ten direct chats and two groups for each person, on average."""
    rng = random.Random(seed)
    made: list[SeedConversation] = []
    for user in range(1, people + 1):
        for peer in rng.sample(range(1, people + 1), 5):
            if peer != user:
                read_seq = [rng.randint(0, 5), rng.randint(0, 5)]
                made.append(SeedConversation(f"d{len(made)}", "direct", [user, peer], 5, read_seq))
    for number in range(people // 10):
        members = rng.sample(range(1, people + 1), 20)
        read_seq = [rng.randint(0, 20) for _ in members]
        made.append(SeedConversation(f"g{number}", "group", members, 20, read_seq))
    return made
