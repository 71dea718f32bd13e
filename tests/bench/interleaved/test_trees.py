from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.interleaved import trees
from bench.interleaved.trees import TreeError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, the first one tagged `old`; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    for text in ("old", "new"):
        (root / "file").write_text(text)
        git(root, "add", "file")
        git(root, "commit", "-q", "-m", text)
        if text == "old":
            git(root, "tag", "old")
    return root


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


def test_a_ref_has_its_files_and_leaves_the_repository_as_it_was(repository: Path) -> None:
    before = sorted(path.name for path in (repository / ".git").iterdir())
    commit = trees.commit_of(repository, "old")
    assert commit is not None
    tree = trees.tree_of(repository, commit)
    assert (tree / "file").read_text() == "old"
    assert trees.tree_of(repository, commit) == tree
    assert sorted(path.name for path in (repository / ".git").iterdir()) == before
    assert git(repository, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("ref", ["nowhere", "--all", "HEAD~5", ""])
def test_what_names_no_commit_is_none(repository: Path, ref: str) -> None:
    assert trees.commit_of(repository, ref) is None


def test_a_folder_in_no_repository_has_no_root(tmp_path: Path) -> None:
    assert trees.root_of(tmp_path) is None


def test_a_commit_that_is_not_there_is_a_sentence(repository: Path) -> None:
    with pytest.raises(TreeError, match="git archive 000000000000"):
        trees.tree_of(repository, "0" * 40)
    assert not list((repository.parent / "cache" / "readstate-bench" / "trees").iterdir())


def test_the_same_packages_need_no_environment_of_their_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for tree in (one, other):
        tree.mkdir()
        (tree / "requirements.lock").write_text("click==8.1\n")
    (other / "pyproject.toml").write_text("other")
    assert trees.python_of(one, other, lambda _: None) == sys.executable


def test_an_environment_that_cannot_be_made_is_a_sentence_and_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "requirements.lock").write_text("no-such-package-anywhere==1\n")
    for _ in range(2):
        with pytest.raises(TreeError, match="no-such-package-anywhere"):
            trees.python_of(tree, Path.cwd(), lambda _: None)
