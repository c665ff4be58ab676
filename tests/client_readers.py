"""Clients that keep their own tokens, as far as they read their link at start: written from what they do, not from the exporter.

Sources: alexa/avs-device-sdk, ``SQLiteCBLAuthDelegateStorage.cpp`` (before 1.25), ``SQLiteLWAAuthorizationStorage.cpp``
and ``LWAAuthorizationAdapter.cpp`` (1.25), ``LWAStorageDataMigration.cpp`` and ``LWAAuthorizationStorage.cpp`` (1.26),
``AuthorizationManager.cpp``; Amazon's AVS sample app, ``DeviceConfig.java``; respeaker/avs, ``config.py`` and ``alexa.py``;
alexa-pi/AlexaPi, ``main.py``; systemd's ``env-file.c``.
"""
# ruff: noqa: S608  the tables are the clients' own

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SEAL = "$acsdkEncryption$"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    assert path.is_file(), f"{path} is missing"
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE type='table' AND name=?", (name,))
    return bool(found.fetchone()[0])


def first_of(connection: sqlite3.Connection, name: str) -> str | None:
    """Read as ``getRefreshToken`` and ``getUserId`` do: first row, first column, if it has the right name."""
    cursor = connection.execute(f"SELECT * FROM {name}")
    row = cursor.fetchone()
    if row is None or cursor.description[0][0] != name:
        return None
    return str(row[0])


@dataclass
class Sdk:
    """What an SDK comes to at its start.

    Attributes:
        token: the refresh token that it begins with; None if it would ask for a code.
        user: the user that its adapter reports.
        ends: empty if all is well, else what becomes of it.
    """

    token: str | None
    user: str = ""
    ends: str = ""


def start_1_24(cbl: Path) -> Sdk:
    """Start the delegate of 1.7 to 1.24."""
    with opened(cbl) as connection:
        if not has_table(connection, "refreshToken"):
            return Sdk(None, ends="open failed")
        assert connection.execute("SELECT count(*) FROM refreshToken").fetchone()[0] <= 1
        return Sdk(first_of(connection, "refreshToken"))


def start_1_25(lwa: Path, misc: Path) -> Sdk:
    """Start the adapter of 1.25 and its manager."""
    with opened(lwa) as connection:
        for name in ("refreshToken", "userId"):
            if not has_table(connection, name):
                connection.execute(f"CREATE TABLE {name} ({name} TEXT)")
        token, user = first_of(connection, "refreshToken"), first_of(connection, "userId")
    if token is None and user is None:
        return Sdk(None)
    if token is None or user is None:
        return Sdk(None, ends="unrecoverable: one without the other")
    return manage(misc, Sdk(token, user))


def start_1_26(lwa: Path, misc: Path | None, *, is_sealing: bool = False) -> Sdk:
    """Start the adapter of 1.26 and its manager; without a manager, the delegate that wraps the same storage."""
    with opened(lwa) as connection:
        table = "config_LWAAuthorizationStorage"
        if not has_table(connection, table):
            connection.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY NOT NULL,value TEXT NOT NULL)")
        if is_sealing and not connection.execute(f"SELECT 1 FROM {table} WHERE key=?", (SEAL,)).fetchone():
            rows = connection.execute(f"SELECT key, value FROM {table}").fetchall()
            connection.executemany(f"REPLACE INTO {table} VALUES (?, ?)", [(k, seal(v)) for k, v in rows])
            connection.execute(f"INSERT INTO {table} VALUES (?, 'a key')", (SEAL,))
        for name in ("userId", "refreshToken"):
            if has_table(connection, name):
                value = first_of(connection, name)
                if value is not None:
                    kept = seal(value) if is_sealing else value
                    connection.execute(f"REPLACE INTO {table} VALUES (?, ?)", (name, kept))
                connection.execute(f"DROP TABLE {name}")
        stored = dict(connection.execute(f"SELECT key, value FROM {table}").fetchall())
    token, user = (stored.get(name, "") for name in ("refreshToken", "userId"))
    if is_sealing:
        token, user = unseal(token), unseal(user)
    if not token:
        return Sdk(None)
    return Sdk(token, user) if misc is None else manage(misc, Sdk(token, user))


def seal(value: str) -> str:
    return "sealed:" + value[::-1]


def unseal(value: str) -> str:
    assert not value or value.startswith("sealed:"), "a sealing client found something that is not sealed"
    return value.removeprefix("sealed:")[::-1]


def manage(misc: Path, adapter: Sdk) -> Sdk:
    """Take the adapter's report that its token was refreshed, as the manager does after a start."""
    table = "AuthorizationManager_authorizationState"
    with opened(misc) as connection:
        if not has_table(connection, table):
            connection.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY NOT NULL,value TEXT NOT NULL)")
        stored = dict(connection.execute(f"SELECT key, value FROM {table}").fetchall())
    active, user = stored.get("authAdapterId", ""), stored.get("userId", "")
    if active not in {"", "lwa-adapter"} or user not in {"", adapter.user}:
        return Sdk(None, ends="logged out: another adapter, or another user")
    if active != "lwa-adapter":
        return Sdk(adapter.token, adapter.user, ends="no active adapter: its access token is given to nobody")
    return adapter


def read_java_sample(path: Path) -> dict[str, str]:
    """Read ``config.json`` as the Java sample does, and give what it refreshes with."""
    config: dict[str, Any] = json.loads(path.read_text())
    assert config["productId"].strip()
    assert config["dsn"].strip()
    assert config["locale"] in {"en-US", "en-GB", "de-DE"}
    assert config["provisioningMethod"] == "companionApp"
    companion = config["companionApp"]
    assert 1 <= companion["localPort"] <= 65535
    assert companion["sslKeyStore"].strip()
    return {
        "address": companion["lwaUrl"] + "/auth/O2/token",
        "client_id": companion["clientId"],
        "refresh_token": companion["refreshToken"],
    }


def read_respeaker(path: Path) -> dict[str, str]:
    """Read ``.avs.json`` as ReSpeaker's client does, and return what it sends before its first connection."""
    config: dict[str, Any] = json.loads(path.read_text("ascii"))
    for name in ("product_id", "client_id", "client_secret"):
        assert config.get(name), f"no {name}"
    assert config.get("host_url") != "dueros-h2.baidu.com"
    assert "access_token" not in config, "it is used as it is, until 60 s after its expiry"
    return {name: config[name] for name in ("client_id", "client_secret", "refresh_token")}


def read_alexapi(path: Path) -> dict[str, str]:
    """Read ``config.yaml`` as AlexaPi does, and return what it sends at its start."""
    section = yaml.safe_load(path.read_text())["alexa"]
    assert section["Device_Type_ID"]
    assert section.get("refresh_token"), "run the set-up again"
    sent = {"client_id": "Client_ID", "client_secret": "Client_Secret", "refresh_token": "refresh_token"}
    return {name: section[key] for name, key in sent.items()}


def read_env_as_sh(path: Path) -> dict[str, str]:
    """Read variables as a POSIX shell does."""
    script = '. "$1"; env -0'
    ran = subprocess.run(
        ["sh", "-a", "-u", "-c", script, "sh", str(path)], capture_output=True, check=True, env={}
    )
    pairs = (line.partition("=") for line in ran.stdout.decode().split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("LINK_")}


def read_env_as_systemd(path: Path) -> dict[str, str]:
    """Read variables as ``EnvironmentFile=`` does; a backslash within quotes is an escape in old versions."""
    found = {}
    for line in path.read_text().splitlines():
        name, is_pair, rest = line.partition("=")
        if not is_pair or line.lstrip().startswith(("#", ";")):
            continue
        assert rest.startswith("'")
        assert rest.endswith("'")
        value = rest[1:-1]
        assert not {"'", "\\"} & set(value)
        found[name] = value
    return found
