"""The files of a commit, and a Python that has what they need; both are kept in the cache.

Not `git worktree`: that would leave its mark in the user's repository, and a cache may be removed at any
time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.services.cache import cache_dir, publish

LOCKS = ("requirements.lock", "pyproject.toml")
"""Files that say what an environment holds; the first one that is there decides."""


class TreeError(Exception):
    """There is no such commit, or its environment cannot be made; the message says what to do."""


def root_of(folder: Path) -> Path | None:
    """Of the repository that `folder` is in."""
    done = _git(folder, "rev-parse", "--show-toplevel")
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def commit_of(root: Path, ref: str) -> str | None:
    """The full id of what a branch, tag or commit names."""
    done = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return done.stdout.strip() if done.returncode == 0 else None


def tree_of(root: Path, commit: str) -> Path:
    """A folder with the files of the commit.  Raises TreeError."""
    target = cache_dir() / "trees" / commit[:16]
    if not target.is_dir():
        publish(target, lambda new: _extract(root, commit, new))
    return target


def _extract(root: Path, commit: str, to: Path) -> None:
    to.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=root, capture_output=True, check=False)
    if packed.returncode:
        raise TreeError(f"git archive {commit[:12]}: {packed.stderr.decode(errors='replace').strip()}")
    subprocess.run(["tar", "-x", "-C", str(to)], input=packed.stdout, check=True)


def python_of(tree: Path, ours: Path, say: Callable[[str], None]) -> str:
    """An interpreter for that tree: this one, if both want the same packages.  Raises TreeError."""
    wanted = _wants(tree)
    if wanted == _wants(ours):
        return sys.executable
    target = cache_dir() / "environments" / f"{wanted}-{sys.version_info.major}.{sys.version_info.minor}"
    if not (target / "bin" / "python").exists():
        say(f"making a Python environment for {tree} (about a minute; kept for the next time)")
        _install(tree, target)
    return str(target / "bin" / "python")


def _wants(tree: Path) -> str:
    found = next((tree / name for name in LOCKS if (tree / name).is_file()), None)
    return hashlib.sha256(found.read_bytes() if found is not None else b"").hexdigest()[:16]


def _install(tree: Path, target: Path) -> None:
    """In place, since an environment cannot be moved; one that is not finished has no `bin/python`."""
    staging = target / "bin" / "python3"
    lock = tree / LOCKS[0]
    what = ["-r", str(lock)] if lock.is_file() else [str(tree)]
    _run([sys.executable, "-m", "venv", "--clear", str(target)])
    (target / "bin" / "python").unlink(missing_ok=True)
    _run([str(staging), "-m", "pip", "install", "-q", "--disable-pip-version-check", *what])
    (target / "bin" / "python").symlink_to("python3")


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise TreeError(f"{' '.join(argv)} failed:\n{said}")


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise TreeError("git is not installed, and a ref is a matter of git: apt install git") from None
