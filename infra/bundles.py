"""Build the Lambda functions' bundles: one zip a consumer, the same bytes for the same input.

A bundle holds the packages that its consumer needs and no other's: neither PostgreSQL's driver nor
Redis' where the inventory function runs, no command line anywhere. Versions are those of the lock
file, wheels those of Lambda's platform. boto3 is inside although the runtime has one: that one
changes without us, and an engine whose every call goes through it wants the version that was
tested. Of its service descriptions, which are most of its size, only those that are called stay.

Lambda unpacks a bundle where nothing can be written, so without byte code it would compile every
module at every cold start. It is put in, unchecked against sources that cannot change, when this
Python is the target's; for another version it cannot be made, and the bundle works without.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT = Path(__file__).resolve().parents[1]
UNZIPPED_BYTES_MAX = 250 * 1024 * 1024
"""Source: Lambda quotas, deployment package, layers included."""

COMMAND_LINE = ("alembic", "rich", "typer")
LEFT_OUT: Mapping[str, Sequence[str]] = {
    "inventory": (*COMMAND_LINE, "psycopg", "psycopg-pool", "redis"),
    "cache": (*COMMAND_LINE, "psycopg", "psycopg-pool"),
    "etl": (*COMMAND_LINE, "redis"),
}
"""What each bundle does without, and with it whatever only that needs."""
MODULES = (
    "consumers/__init__.py",
    "consumers/handlers.py",
    "consumers/inventory.py",
    "consumers/cache.py",
    "consumers/etl.py",
    "consumers/engines/__init__.py",
    "consumers/engines/aws_lambda.py",
)
"""Of the project, beside the whole of `pipeline`."""
SERVICES = frozenset({"dynamodb", "kinesis", "rds", "s3", "sts"})
KEPT_OF_METADATA = frozenset({"METADATA"})
"""So that a scanner can tell what is inside; the rest says how and where it was installed."""
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest date that a zip can hold."""


class Target(NamedTuple):
    """Where the functions run."""

    python: str
    arch: str

    @property
    def platform(self) -> str:
        """Name the platform as wheels do. Up to 3.11 Lambda's Linux has glibc 2.26, then 2.34."""
        libc = "2014" if self.python == "3.11" else "_2_28"
        return f"{MACHINES[self.arch]}-manylinux{libc}"


def build(consumer: str, target: Target, folder: Path) -> Path:
    """Write `<consumer>.zip` into a folder and return its path. Needs uv and a package index."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="tillstream-bundle-") as name:
        tree = Path(name) / "tree"
        _install(consumer, target, tree)
        _copy_project(tree)
        _trim(tree)
        if target.python == running_python():
            _compile(tree)
        return _zip(tree, folder / f"{consumer}.zip")


def running_python() -> str:
    """Name the version of this Python as uv and Lambda do: 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def unzipped_bytes(bundle: Path) -> int:
    """Sum up what a bundle holds."""
    with ZipFile(bundle) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _uv(*arguments: str) -> bytes:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "uv")
    done = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv {arguments[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def _install(consumer: str, target: Target, tree: Path) -> None:
    pruned = [option for name in LEFT_OUT[consumer] for option in ("--prune", name)]
    locked = _uv(
        *("export", "--frozen", "--quiet", "--no-default-groups", "--extra", "lambda"),
        *("--no-emit-project", "--no-header", "--no-annotate"),
        *pruned,
    )
    requirements = tree.parent / "requirements.txt"
    requirements.write_bytes(locked)
    _uv(
        *("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--python-platform", target.platform, "--python-version", target.python),
        *("--target", str(tree), "--requirements", str(requirements)),
    )


def _copy_project(tree: Path) -> None:
    sources = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / module for module in MODULES)]
    for source in sources:
        there = tree / source.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, there)


def _trim(tree: Path) -> None:
    """Remove what no function reads, and what differs between two installations."""
    for path in tree.rglob("__pycache__"):
        shutil.rmtree(path)
    for path in (tree / "botocore" / "data").iterdir():
        if path.is_dir() and path.name not in SERVICES:
            shutil.rmtree(path)
    for path in tree.glob("*.dist-info/*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT_OF_METADATA:
            path.unlink()
    shutil.rmtree(tree / "bin", ignore_errors=True)
    (tree / ".lock").unlink(missing_ok=True)


def _compile(tree: Path) -> None:
    """Compile in a fresh process: what marshal writes depends on what else a process holds."""
    where = ("-s", str(tree), "-p", "/var/task")
    how = ("-q", "--invalidation-mode", "unchecked-hash", *where)
    subprocess.run(
        [sys.executable, "-S", "-m", "compileall", *how, str(tree)],
        env={"PYTHONHASHSEED": "0"},
        check=True,
    )


def _zip(tree: Path, bundle: Path) -> Path:
    with ZipFile(bundle, "w", ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = ZipInfo(path.relative_to(tree).as_posix(), EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, path.read_bytes(), ZIP_DEFLATED, 6)
    return bundle


def _report(bundles: Sequence[Path]) -> Iterator[str]:
    for bundle in bundles:
        unzipped = unzipped_bytes(bundle)
        if unzipped > UNZIPPED_BYTES_MAX:
            raise SystemExit(f"{bundle} is {unzipped:,} bytes unzipped: Lambda takes 250 MB")
        zipped = bundle.stat().st_size
        yield f"{bundle}  {zipped / 1e6:.1f} MB, {unzipped / 1e6:.1f} MB unzipped\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build every bundle and print its size."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--python", default=running_python(), help="the runtime's, such as 3.13")
    parser.add_argument("--arch", default="x86_64", choices=sorted(MACHINES))
    parser.add_argument("--out", type=Path, default=Path("build/lambda"))
    given = parser.parse_args(arguments)
    target = Target(given.python, given.arch)
    sys.stdout.writelines(_report([build(name, target, given.out) for name in LEFT_OUT]))


if __name__ == "__main__":
    main()
