"""The processes of one LocalStack are found and ended, whoever started them, and no others."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.localstack import processes

# A process that starts another in a session of its own, as LocalStack does, then waits.
PARENT = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; time.sleep(600)", "child"]
subprocess.Popen(child, start_new_session=True)
print(flush=True)
time.sleep(600)
"""
# One that ends as the keeper does, and one that will not.
TAME, STUBBORN = "SIG_DFL", "SIG_IGN"


class Tree:
    """A marked process with a child in another session."""

    def __init__(self, folder: Path, on_sigterm: str = TAME) -> None:
        self.folder = folder
        ready = f"import signal; signal.signal(signal.SIGTERM, signal.{on_sigterm})\n{PARENT}"
        self.parent = subprocess.Popen(
            [
                *processes.marked(folder),
                *(sys.executable, "-c", ready, "consumers.localstack.keeper"),
            ],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.parent.stdout is not None
        with self.parent.stdout as said:
            said.readline()

    def names(self) -> list[str]:
        return sorted(process.command[-1] for process in processes.of_folder(self.folder))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    found = Tree(tmp_path)
    yield found
    processes.kill(tmp_path)
    found.parent.wait()


def test_child_in_another_session_is_found(tree: Tree) -> None:
    assert tree.names() == ["child", "consumers.localstack.keeper"]


def test_processes_of_another_folder_are_not(tree: Tree, tmp_path: Path) -> None:
    assert processes.of_folder(tmp_path / "other") == []


def test_orphans_of_a_keeper_that_was_killed_are_found(tree: Tree) -> None:
    tree.parent.kill()
    tree.parent.wait()
    assert tree.names() == ["child"]


def test_ending_leaves_nothing(tree: Tree) -> None:
    processes.end(tree.folder, signal.SIGTERM, 10)
    assert (tree.names(), tree.parent.wait()) == ([], -signal.SIGTERM)


def test_keeper_that_does_not_end_is_killed(tmp_path: Path) -> None:
    stuck = Tree(tmp_path, STUBBORN)
    processes.end(tmp_path, signal.SIGTERM, 0.2)
    assert (stuck.names(), stuck.parent.wait()) == ([], -signal.SIGKILL)
