"""Debian's PostgreSQL for tests: the warehouse is promised to run on 15, which is older than ours.

`pytest --postgres 15` lends a throw-away server of it instead of the embedded one, wherever a test
takes `postgres_server` or `embedded`. Its clusters are as Debian makes them where it matters: text
is ordered by the language of the operating system, so that whatever forgets to say `collate "C"`
gets another order than on the embedded server, whose own order is that of code points.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from consumers.embedded import postgres
from consumers.embedded.postgres import Installation
from consumers.embedded.servers import Account, Servers, on_free_port

LANGUAGE, ENCODING = "en_US", "UTF-8"


def programs(major: str) -> Path:
    """Name the folder where Debian puts a version."""
    return Path("/usr/lib/postgresql", major)


def provide(major: str) -> None:
    """Install Debian's server where it is missing. Raises pytest.UsageError, in one line."""
    if programs(major).joinpath("bin", "initdb").exists():
        return
    missing = f"PostgreSQL {major} is not in {programs(major)}"
    if shutil.which("apt-get") is None:
        raise pytest.UsageError(f"{missing}, and there is no apt-get to install it")
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise pytest.UsageError(f"{missing}, and installing it takes root or sudo")
    root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    packages = f"postgresql-{major}", "locales"
    for step in (("update",), ("install", "--yes", "--no-install-recommends", *packages)):
        command = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", *step]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            why = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            raise pytest.UsageError(f"{missing}, and `apt-get {step[0]}` failed: {why}")


def installation(major: str | None, servers: Servers) -> Installation:
    """Choose Debian's server of a version, or the embedded one."""
    if major is None:
        return postgres.in_wheel()
    prefix = () if _is_known() else ("env", f"LOCPATH={_locale(servers)}")
    locale = (f"--locale={LANGUAGE}.{ENCODING}",)
    return Installation(programs(major), locale, prefix=prefix)


def _is_known() -> bool:
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout
    return f"{LANGUAGE}.utf8" in known.splitlines()


def _locale(servers: Servers) -> Path:
    """Compile the language for this run alone; what the machine knows is not touched."""
    mine = Account(os.geteuid(), os.getegid())
    folder = servers.add_folder(Path(tempfile.gettempdir()), mine)
    folder.chmod(0o755)  # the server has an account of its own
    compiled = str(folder / f"{LANGUAGE}.{ENCODING}")
    command = ["localedef", "-i", LANGUAGE, "-f", ENCODING, compiled]
    subprocess.run(command, capture_output=True, check=True)
    return folder


@contextmanager
def running(major: str, folder: Path) -> Iterator[str]:
    """Run a throw-away server; lend a superuser's DSN."""
    servers = Servers(folder)
    try:
        cluster = postgres.create(servers, installation(major, servers))
        dsn = on_free_port(lambda port: postgres.serve(servers, cluster, port))
        with psycopg.connect(dsn) as connection:
            version = f"{connection.info.server_version // 10_000}"
            found = connection.execute("select 'a' < 'B', 'B' < 'a' collate \"C\"").fetchone()
        assert (version, found) == (major, (True, True)), "this server would prove nothing"
        yield dsn
    finally:
        servers.stop()
        servers.remove_files()
