"""A private cluster of PostgreSQL, made of Debian's own programs: no system service, no cluster of /etc."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

USER: Final = "postgres"
"""PostgreSQL refuses to run as root."""

WHY_NOT: Final = (
    "PostgreSQL's programs are not installed (postgresql), or root is not there to run them as postgres"
)


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL that this machine has; None if there is none, or this is not root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    with suppress(KeyError):
        pwd.getpwnam(USER)
        return found[-1].parent if found and os.geteuid() == 0 else None
    return None


class Cluster:
    """A cluster that listens on loopback.

    Args:
        folder: of the cluster; belongs to postgres.
        programs: PostgreSQL's.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def make(self, *, authentication: str = "trust", password: str = "") -> None:
        """Make the cluster, with a user ``rig`` who owns it."""
        asked = ["-U", "rig", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8", "-A", authentication]
        if password:
            secret = self._folder / "password"
            secret.write_text(password)
            shutil.chown(secret, USER)
            asked.append(f"--pwfile={secret}")
        self._run("initdb", "-D", str(self._folder / "d"), *asked)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off"
        self._control("start", "-l", str(self._folder / "log"), "-o", options)

    def stop(self) -> None:
        """Stop it as a power cut does: connections break off, what was not committed is gone."""
        self._control("stop", "-m", "immediate")

    def make_database(self, name: str) -> str:
        """Make a database; return its address."""
        sql = f"CREATE DATABASE {name}"
        self._run("psql", "-h", str(self._folder), "-p", str(self.port), "-U", "rig", "-c", sql, "postgres")
        return f"postgresql://rig@127.0.0.1:{self.port}/{name}"

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "d"), "-w", *words)

    def _run(self, program: str, *words: str) -> None:
        # without pipes: the server would keep them open
        with (self._folder / "talk").open("w") as talk:
            subprocess.run(
                ["runuser", "-u", USER, "--", str(self._programs / program), *words],
                stdin=subprocess.DEVNULL,
                stdout=talk,
                stderr=talk,
                cwd=self._folder,
                check=True,
            )


@contextmanager
def running_cluster(*, authentication: str = "trust", password: str = "") -> Iterator[Cluster]:
    """Make a cluster and start it; at the end it is gone.

    Raises:
        RuntimeError: if this machine cannot.
    """
    found = programs()
    if found is None:
        raise RuntimeError(WHY_NOT)
    folder = Path(tempfile.mkdtemp(prefix="device-auth-postgresql-"))
    shutil.chown(folder, USER)
    cluster = Cluster(folder, found)
    try:
        cluster.make(authentication=authentication, password=password)
        cluster.start()
        yield cluster
    finally:
        with suppress(subprocess.CalledProcessError):
            cluster.stop()
        shutil.rmtree(folder)
