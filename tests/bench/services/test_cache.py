import os
from pathlib import Path

import pytest

from bench.services.cache import cache_dir, prune_templates, publish, template_path

KEY = {"seed": 1, "people": 6667, "history": "5/20", "schema": "abc"}


def test_a_template_is_named_by_everything_that_shapes_its_content() -> None:
    base = template_path("mysql", "10.11", KEY)
    assert base == template_path("mysql", "10.11", dict(reversed(KEY.items())))
    others = [template_path("mysql", "10.11", {**KEY, name: "x"}) for name in KEY]
    others += [template_path("mysql", "11.4", KEY), template_path("redis", "10.11", KEY)]
    assert len({base, *others}) == len(others) + 1


def test_publish_replaces_a_folder_whole(tmp_path: Path) -> None:
    target = tmp_path / "data"
    for content in ("one", "two"):
        publish(target, lambda new, content=content: (new.mkdir(), (new / content).touch()))
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_write_that_fails_leaves_the_old_content_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "dump"
    publish(target, lambda new: new.write_text("old"))

    def fail(new: Path) -> None:
        new.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(target, fail)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".dump*"))


def test_pruning_keeps_the_most_recently_used_of_each_service() -> None:
    for service in ("mysql", "redis"):
        for age in range(4):
            path = cache_dir() / "seeds" / f"{service}-{age}"
            path.mkdir(parents=True)
            os.utime(path, (1000 - age, 1000 - age))
    prune_templates(keep=2)
    kept = {path.name for path in (cache_dir() / "seeds").iterdir()}
    assert kept == {"mysql-0", "mysql-1", "redis-0", "redis-1"}
