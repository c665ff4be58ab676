"""The export to the AVS Device SDK, opened as each version of it does."""
# ruff: noqa: S608  the tables are the tests' own

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.errors import Busy, ConfigError, DeviceAuthError
from device_auth.core.models import Link
from device_auth.tools.exports import ExportPlan, Unit, carry_out
from device_auth.tools.exports_sdk import plan
from tests.client_readers import Sdk, start_1_24, start_1_25, start_1_26
from tests.export_world import (
    ACTIVE,
    CLIENT_ID,
    PAIRS,
    STORAGE,
    TOKEN,
    USER,
    ExportWorld,
    make_database,
    rows_of,
)
from tests.links import make_link

UNIT = Unit("kitchen", "K-0001", "en-US")
LINK = replace(make_link(), is_proved=True)
USERS_LINK = replace(LINK, account=USER)
STRANGER = "amzn1.account.BERTA"


@pytest.fixture
def world(tmp_path: Path) -> ExportWorld:
    world = ExportWorld(tmp_path)
    world.configure()
    return world


def export(world: ExportWorld, link: Link = LINK, version: str = "") -> ExportPlan:
    made = plan(link, UNIT, world.config, version)
    carry_out(made)
    return made


def seen(made: ExportPlan) -> dict[str, list[tuple[str, str | None, str | None]]]:
    return {
        file.old.path.name: [(change.place, change.old, change.new) for change in file.changes]
        for file in made.files
    }


# -- every version reads it


@pytest.mark.parametrize("link", [LINK, USERS_LINK], ids=["no account", "account"])
def test_every_version_of_the_adapter_goes_on_with_the_link(world: ExportWorld, link: Link) -> None:
    user = link.account or ""
    export(world, link)

    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN, user)
    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN, user)


def test_a_version_that_seals_its_storage_goes_on_with_the_link(world: ExportWorld) -> None:
    make_database(
        world.lwa,
        f"CREATE TABLE {STORAGE} {PAIRS}",
        f"INSERT INTO {STORAGE} VALUES ('$acsdkEncryption$', 'k'), ('refreshToken', 'sealed:dlo')",
    )

    export(world, USERS_LINK)

    assert dict(rows_of(world.lwa, STORAGE))["refreshToken"] == "sealed:dlo"
    assert start_1_26(world.lwa, world.misc, is_sealing=True) == Sdk(TOKEN, USER)


def test_the_user_id_of_the_account_is_exported_and_not_its_name(world: ExportWorld) -> None:
    export(world, replace(LINK, account="Anna", account_id=USER))

    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN, USER)


def test_an_account_that_is_no_user_of_lwa_is_not_told_as_one(world: ExportWorld) -> None:
    export(world, replace(LINK, account="Anna"))

    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN, "")


BERTAS_TABLES = (
    "CREATE TABLE refreshToken (refreshToken TEXT)",
    "INSERT INTO refreshToken VALUES ('Atzr|berta'), ('Atzr|carla')",
    "CREATE TABLE userId (userId TEXT)",
    f"INSERT INTO userId VALUES ('{STRANGER}')",
)
BERTAS_PAIRS = (
    f"CREATE TABLE {STORAGE} {PAIRS}",
    f"INSERT INTO {STORAGE} VALUES ('refreshToken', 'Atzr|berta'), ('userId', '{STRANGER}')",
)


@pytest.mark.parametrize("link", [LINK, USERS_LINK], ids=["no account", "account"])
@pytest.mark.parametrize("version", ["", "1.25", "1.26+"])
@pytest.mark.parametrize("before", [BERTAS_TABLES, BERTAS_PAIRS, (*BERTAS_TABLES, *BERTAS_PAIRS)])
def test_a_former_users_link_gives_way_entirely(
    world: ExportWorld, before: tuple[str, ...], version: str, link: Link
) -> None:
    make_database(world.lwa, *before)
    make_database(
        world.misc,
        f"CREATE TABLE {ACTIVE} {PAIRS}",
        f"INSERT INTO {ACTIVE} VALUES ('authAdapterId', 'lwa-adapter'), ('userId', '{STRANGER}')",
    )

    export(world, link, version)

    for path in (world.lwa, world.misc):
        assert b"berta" not in path.read_bytes().lower()
    user = link.account or ""
    if version == "1.25" or (not version and before == BERTAS_TABLES):
        assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN, user)
    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN, user)


@pytest.mark.parametrize("rows", ["", f"INSERT INTO {ACTIVE} VALUES ('authAdapterId', 'other-adapter')"])
def test_the_adapter_is_the_active_one_afterwards(world: ExportWorld, rows: str) -> None:
    make_database(world.misc, f"CREATE TABLE {ACTIVE} {PAIRS}", *([rows] if rows else []))

    export(world)

    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN, "")


def test_a_database_of_no_bytes_as_the_sdk_itself_begins_one_is_filled(world: ExportWorld) -> None:
    world.lwa.touch()

    made = export(world)

    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN)
    assert all(file.backup is None for file in made.files)


def test_all_else_in_a_database_stays(world: ExportWorld) -> None:
    for path in (world.lwa, world.misc):
        make_database(
            path,
            "PRAGMA page_size = 1024",
            "CREATE TABLE alerts (id INT, what TEXT)",
            "CREATE INDEX by_what ON alerts (what)",
            "INSERT INTO alerts VALUES (7, 'tea')",
            "PRAGMA user_version = 42",
        )

    export(world)

    for path in (world.lwa, world.misc):
        assert rows_of(path, "alerts") == [(7, "tea")]
        assert rows_of(path, "pragma_user_version") == [(42,)]
        assert rows_of(path, "pragma_page_size") == [(1024,)]


def test_a_database_that_is_written_ahead_stays_one(world: ExportWorld) -> None:
    make_database(
        world.lwa,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE alerts (id INT)",
        "INSERT INTO alerts VALUES (7)",
    )

    export(world)

    assert list(world.client.glob("*-*al*")) == []
    assert rows_of(world.lwa, "alerts") == [(7,)]
    assert rows_of(world.lwa, "pragma_journal_mode") == [("wal",)]
    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN)


# -- the layout that the client's own tables show


OLD_TABLES = ("CREATE TABLE refreshToken (refreshToken TEXT)",)
NEW_TABLES = (f"CREATE TABLE {STORAGE} {PAIRS}",)


def places_of_the_token(world: ExportWorld) -> list[str]:
    return sorted(name for name, content in world.files().items() if TOKEN.encode() in content)


@pytest.mark.parametrize("tables", [OLD_TABLES, NEW_TABLES])
@pytest.mark.parametrize("used", ["cbl", "lwa"])
def test_of_two_databases_the_one_that_the_client_has_used_is_written(
    world: ExportWorld, used: str, tables: tuple[str, ...]
) -> None:
    world.configure(cblAuthDelegate=world.delegate)
    path = world.cbl if used == "cbl" else world.lwa
    make_database(path, *tables)

    export(world)

    assert places_of_the_token(world) == [path.name]
    if tables == OLD_TABLES:
        assert (start_1_24(path) if used == "cbl" else start_1_25(path, world.misc)) == Sdk(TOKEN)
    assert start_1_26(path, world.misc if used == "lwa" else None) == Sdk(TOKEN)


@pytest.mark.parametrize(
    ("used", "said"), [((), "neither has been in use yet"), (("cbl", "lwa"), "both have been in use")]
)
def test_of_two_databases_that_look_alike_none_is_written(
    world: ExportWorld, used: tuple[str, ...], said: str
) -> None:
    world.configure(cblAuthDelegate=world.delegate)
    for name in used:
        make_database(getattr(world, name), *OLD_TABLES)
    before = world.files()

    with pytest.raises(ConfigError, match=said) as caught:
        plan(LINK, UNIT, world.config)

    assert "--sdk: 1.7-1.24, 1.25, 1.26+" in caught.value.hint
    assert world.files() == before


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("1.7-1.24", "cblAuthDelegate.db"),
        ("1.25", "lwaAuthorizationAdapter.db"),
        ("1.26+", "lwaAuthorizationAdapter.db"),
    ],
)
def test_a_version_that_is_named_writes_one_database(world: ExportWorld, version: str, name: str) -> None:
    world.configure(cblAuthDelegate=world.delegate)

    export(world, version=version)

    assert places_of_the_token(world) == [name]


def test_a_token_that_would_stay_in_the_other_database_is_told(world: ExportWorld) -> None:
    world.configure(cblAuthDelegate=world.delegate)
    make_database(world.cbl, *BERTAS_TABLES)

    made = export(world, version="1.26+")

    assert made.warnings == (
        f"{world.cbl}, which the client does not use, holds the refresh token of another link. Remove that file.",
    )
    assert b"berta" in world.cbl.read_bytes()


def test_a_database_that_is_damaged_and_not_the_clients_own_is_no_obstacle(world: ExportWorld) -> None:
    world.configure(cblAuthDelegate=world.delegate)
    world.cbl.write_bytes(b"no database")

    assert export(world, version="1.25").warnings == ()


def test_a_table_of_pairs_shows_the_newest_layout(world: ExportWorld) -> None:
    make_database(world.lwa, *NEW_TABLES, *OLD_TABLES)

    export(world)

    assert dict(rows_of(world.lwa, STORAGE)) == {"refreshToken": TOKEN, "userId": ""}
    assert world.lwa.read_bytes().count(TOKEN.encode()) == 1


# -- one version


def test_the_oldest_layout_is_one_table(world: ExportWorld) -> None:
    world.configure(without=("lwaAuthorization", "miscDatabase"), cblAuthDelegate=world.delegate)

    made = export(world, version="1.7-1.24")

    assert seen(made) == {"cblAuthDelegate.db": [("table refreshToken", None, "***")]}
    assert start_1_24(world.cbl) == Sdk(TOKEN)


def test_the_layout_of_1_25_is_two_tables_and_the_active_adapter(world: ExportWorld) -> None:
    made = export(world, USERS_LINK, "1.25")

    assert seen(made) == {
        "miscDatabase.db": [
            (f"table {ACTIVE}", None, f"authAdapterId = lwa-adapter; userId = {USER}"),
        ],
        "lwaAuthorizationAdapter.db": [("table refreshToken", None, "***"), ("table userId", None, USER)],
    }
    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN, USER)
    assert not world.cbl.exists()


def test_the_layout_of_1_26_is_one_table_of_pairs(world: ExportWorld) -> None:
    make_database(
        world.lwa,
        "CREATE TABLE refreshToken (refreshToken TEXT)",
        "INSERT INTO refreshToken VALUES ('Atzr|old')",
    )

    made = export(world, version="1.26+")

    assert seen(made)["lwaAuthorizationAdapter.db"] == [
        (f"table {STORAGE}", None, "refreshToken = ***; userId = (empty)"),
        ("table refreshToken", "***", None),
    ]
    assert dict(rows_of(world.lwa, STORAGE)) == {"refreshToken": TOKEN, "userId": ""}
    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN)


def test_what_is_sealed_is_not_written_in_clear(world: ExportWorld) -> None:
    make_database(
        world.lwa,
        f"CREATE TABLE {STORAGE} {PAIRS}",
        f"INSERT INTO {STORAGE} VALUES ('$acsdkEncryption$', 'k')",
    )

    with pytest.raises(ConfigError, match="seals") as caught:
        plan(LINK, UNIT, world.config, "1.26+")

    assert "--sdk" in caught.value.hint


def test_one_file_for_everything_is_no_obstacle(world: ExportWorld) -> None:
    one = {"databaseFilePath": str(world.misc)}
    world.configure(cblAuthDelegate=one, lwaAuthorization=one, miscDatabase=one)

    made = export(world)

    assert len(made.files) == 1
    assert start_1_25(world.misc, world.misc) == Sdk(TOKEN)


# -- the configuration


def test_what_is_written_already_is_not_written_again(world: ExportWorld) -> None:
    export(world)
    before = world.files()

    made = export(world)

    assert seen(made) == {path.name: [] for path in (world.misc, world.lwa)}
    assert world.files() == before


def test_the_configuration_itself_is_never_written(world: ExportWorld) -> None:
    before = world.config.read_bytes()

    export(world)

    assert world.config.read_bytes() == before


@pytest.mark.parametrize(
    ("without", "version", "added"),
    [
        (("deviceInfo",), "", f'"deviceInfo": {{"clientId": "{CLIENT_ID}"}}'),
        (("lwaAuthorization",), "", '"lwaAuthorization": {"databaseFilePath": "{}/lwaAuthorizationAdapter.db"}'),
        ((), "1.7-1.24", '"cblAuthDelegate": {"databaseFilePath": "{}/cblAuthDelegate.db"}'),
        (("lwaAuthorization",), "1.25", '"lwaAuthorization": {"databaseFilePath": "{}/lwaAuthorizationAdapter.db"}'),
        (("miscDatabase",), "", '"miscDatabase": {"databaseFilePath": "{}/miscDatabase.db"}'),
        (("lwaAuthorization", "miscDatabase"), "", '"lwaAuthorization": {"databaseFilePath": "{}/lwaAuthorizationAdapter.db"}'),
    ],
)  # fmt: skip
def test_what_a_configuration_lacks_is_said_as_it_is_to_be_added(
    world: ExportWorld, without: tuple[str, ...], version: str, added: str
) -> None:
    world.configure(without=without)

    with pytest.raises(ConfigError) as caught:
        plan(LINK, UNIT, world.config, version)

    assert added.replace("{}", str(world.client)) in caught.value.hint


def test_the_delegate_alone_needs_no_active_adapter(world: ExportWorld) -> None:
    world.configure(without=("lwaAuthorization", "miscDatabase"), cblAuthDelegate=world.delegate)

    export(world)

    assert start_1_24(world.cbl) == Sdk(TOKEN)
    assert start_1_26(world.cbl, None) == Sdk(TOKEN)


def test_a_client_with_another_client_id_gets_nothing(world: ExportWorld) -> None:
    world.configure(deviceInfo={"clientId": "amzn1.application-oa2-client.other"})

    with pytest.raises(ConfigError, match="another client ID"):
        plan(LINK, UNIT, world.config)


def test_what_differs_from_the_settings_is_told_and_left(world: ExportWorld) -> None:
    world.configure(
        deviceInfo={"clientId": CLIENT_ID, "productId": "bathroom"},
        lwaAuthorization={"databaseFilePath": str(world.lwa), "lwaUrl": "https://id.example/auth/O2"},
    )

    made = plan(LINK, UNIT, world.config)

    assert made.warnings == (
        f"deviceInfo.productId in {world.config} is bathroom, but this speaker was linked as kitchen.",
        f"{world.config} has no deviceInfo.deviceSerialNumber, which the client needs."
        ' Add: "deviceInfo": {"deviceSerialNumber": "K-0001"}',
        "The client sends its requests to https://id.example/auth/O2/token (lwaAuthorization), but the link belongs to"
        " https://api.amazon.com/auth/O2/token.",
    )


def test_settings_that_say_nothing_are_not_compared(world: ExportWorld) -> None:
    assert plan(LINK, Unit("", "", "en-US"), world.config).warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not a JSON object"),
        ('{"deviceInfo": }', "is not JSON: .*line 1"),
        ("\n\n/* a\n comment */ {,}", "line 4"),
        ('{"deviceInfo": {"clientId": "a", "clientId": "b"}}', "'clientId' twice"),
        ('{"deviceInfo": 1}', "deviceInfo in .* is not an object"),
        ('{"deviceInfo": {"clientId": 1}}', r"deviceInfo\.clientId in .* is not a text"),
        ("[" * 100_000, "is not JSON"),
        ("\ud800", "is not UTF-8"),
        ("9" * 5000, "is not JSON"),
        ('{"deviceInfo": {"productId": "\\ud800"}}', "half a surrogate pair"),
        ('{"\\udcff": 1}', "half a surrogate pair"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(world: ExportWorld, text: str, message: str) -> None:
    world.config.write_bytes(text.encode(errors="surrogatepass"))

    with pytest.raises(ConfigError, match=message) as caught:
        plan(LINK, UNIT, world.config)

    assert caught.value.__context__ is None


def test_an_address_is_not_taken_for_a_comment(world: ExportWorld) -> None:
    world.configure(
        lwaAuthorization={"databaseFilePath": f"/{world.lwa}", "lwaUrl": "https://api.amazon.com/auth/O2/"}
    )

    assert plan(LINK, UNIT, world.config).warnings == ()


def test_a_path_that_depends_on_where_the_client_starts_is_refused(world: ExportWorld) -> None:
    world.configure(lwaAuthorization={"databaseFilePath": "lwa.db"})

    with pytest.raises(ConfigError, match="depends on the folder in which the client is started"):
        plan(LINK, UNIT, world.config)


def test_a_path_that_is_none_is_refused(world: ExportWorld) -> None:
    world.configure(lwaAuthorization={"databaseFilePath": "/lwa\0.db"})

    with pytest.raises(ConfigError, match=r"lwaAuthorization\.databaseFilePath in .* is no path"):
        plan(LINK, UNIT, world.config)


# -- databases that are not as they should be


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE refreshToken (token TEXT)",
        "CREATE TABLE refreshToken (refreshToken TEXT, issued INT)",
        "CREATE TABLE refreshToken (refreshToken BLOB)",
        "CREATE TABLE refreshtoken (refreshToken TEXT)",
        "CREATE VIEW refreshToken AS SELECT 1 AS refreshToken",
        "CREATE TABLE userId (refreshToken TEXT)",
        f"CREATE TABLE {STORAGE} (key TEXT, value TEXT)",
    ],
)
def test_a_table_of_another_form_is_never_written(world: ExportWorld, statement: str) -> None:
    make_database(world.lwa, statement)
    before = world.files()

    with pytest.raises(ConfigError, match="does not match"):
        plan(LINK, UNIT, world.config)

    assert world.files() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"not a database at all", "is not an SQLite database"),
        (lambda content: content[:3000], "is damaged"),
        (lambda content: content[:4096] + b"\xff" * (len(content) - 4096), "is damaged"),
    ],
)
def test_what_is_no_database_or_a_damaged_one_is_refused(
    world: ExportWorld, spoil: Callable[[bytes], bytes], message: str
) -> None:
    make_database(
        world.lwa, "CREATE TABLE userId (userId TEXT)", "INSERT INTO userId VALUES ('a'), ('canary')"
    )
    world.lwa.write_bytes(spoil(world.lwa.read_bytes()))

    with pytest.raises(ConfigError, match=message) as caught:
        plan(LINK, UNIT, world.config)

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("ending", "content"), [("-wal", b""), ("-journal", b""), ("-journal", b"\0" * 28)])
def test_finished_work_beside_a_database_is_no_obstacle(
    world: ExportWorld, ending: str, content: bytes
) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    world.lwa.with_name(world.lwa.name + ending).write_bytes(content)

    export(world)

    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN)


@pytest.mark.parametrize(
    ("ending", "content"), [("-wal", b"\x37\x7f\x06\x82 frames"), ("-journal", b"\xd9\xd5\x05\xf9 pages")]
)
def test_a_database_with_unfinished_work_beside_it_is_left_to_its_client(
    world: ExportWorld, ending: str, content: bytes
) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    world.lwa.with_name(world.lwa.name + ending).write_bytes(content)

    with pytest.raises(Busy, match=f"{ending} holds unfinished work of the client"):
        plan(LINK, UNIT, world.config)


def test_a_thing_beside_a_database_that_is_no_file_is_told(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    world.lwa.with_name(f"{world.lwa.name}-wal").symlink_to("elsewhere")

    with pytest.raises(DeviceAuthError, match="beside"):
        plan(LINK, UNIT, world.config)
