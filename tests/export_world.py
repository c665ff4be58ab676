"""One speaker with a link, and a client beside it that shall have it."""
# ruff: noqa: S608  the tables are the tests' own

import json
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from device_auth.cli.main import main
from device_auth.core.models import Link
from device_auth.world.store import FileStore
from tests.links import StillClock, make_link

CLIENT_ID: Final = make_link().client_id
TOKEN: Final = make_link().refresh_token.reveal()
USER: Final = "amzn1.account.ANNA"

PAIRS: Final = "(key TEXT PRIMARY KEY NOT NULL,value TEXT NOT NULL)"
STORAGE: Final = "config_LWAAuthorizationStorage"
ACTIVE: Final = "AuthorizationManager_authorizationState"


@dataclass
class ExportWorld:
    """A folder with a speaker and a client in it."""

    folder: Path
    clock: StillClock = field(default_factory=StillClock)

    def __post_init__(self) -> None:
        self.client.mkdir()

    @property
    def client(self) -> Path:
        return self.folder / "client"

    @property
    def config(self) -> Path:
        return self.client / "AlexaClientSDKConfig.json"

    @property
    def cbl(self) -> Path:
        return self.client / "cblAuthDelegate.db"

    @property
    def lwa(self) -> Path:
        return self.client / "lwaAuthorizationAdapter.db"

    @property
    def misc(self) -> Path:
        return self.client / "miscDatabase.db"

    @property
    def delegate(self) -> dict[str, Any]:
        """Return the section ``cblAuthDelegate`` of the older delegate, for ``configure``."""
        return {"databaseFilePath": str(self.cbl)}

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def link(self, **changes: object) -> Link:
        """Store a link that was proved."""
        link = replace(make_link(), is_proved=True)
        link = replace(link, **changes)  # type: ignore[arg-type]  # checked by the class
        with FileStore(self.state) as store:
            store.replace(link)
        return link

    def stored(self) -> Link | None:
        return FileStore(self.state).read()

    def configure(self, *, without: tuple[str, ...] = (), **sections: dict[str, Any]) -> None:
        """Write the configuration of an SDK with the newer adapter; see ``delegate`` for the older one."""
        config = {
            "deviceInfo": {"clientId": CLIENT_ID, "productId": "kitchen", "deviceSerialNumber": "K-0001"},
            "lwaAuthorization": {"databaseFilePath": str(self.lwa)},
            "miscDatabase": {"databaseFilePath": str(self.misc)},
            **sections,
        }
        text = json.dumps({name: value for name, value in config.items() if name not in without}, indent=1)
        self.config.write_text("// as the installer writes it\n" + text + "\n/* the end */\n")

    def run(self, *words: str) -> int:
        """Run ``device-auth export`` in this process."""
        places = ["--state-dir", str(self.state), "--runtime-dir", str(self.folder / "run")]
        return main(["export", *words, *places, "--product-id", "kitchen", "--dsn", "K-0001"])

    def export_sdk(self, *words: str) -> int:
        return self.run("avs-device-sdk", "--to", str(self.config), *words)

    def files(self) -> dict[str, bytes]:
        """Return all that lies in the client's folder."""
        return {path.name: path.read_bytes() for path in self.client.iterdir()}


def make_database(path: Path, *statements: str) -> None:
    """Make a database, or change one."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
    finally:
        connection.close()


def rows_of(path: Path, table: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        connection.close()
