"""The identity of the unit: written once, refused where another is, and never half."""

import os
from pathlib import Path
from typing import Final

import pytest

from device_auth.core.errors import ConfigError, StoreError, WrongUse
from device_auth.factory.talk import IdentityEvent
from device_auth.factory.unit.identity import (
    DsnForm,
    check_identity,
    erase_identity,
    read_identity,
    write_identity,
)
from device_auth.world.places import Places, read_places
from device_auth.world.settings import read_settings

CLIENT: Final = f"amzn1.application-oa2-client.51{'0' * 29}5"
IDENTITY: Final = IdentityEvent("KS_0001", "Kitchen", CLIENT, 'P"1', "B", "2026-48")
FORM: Final = DsnForm()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return places_in(tmp_path)


def places_in(folder: Path) -> Places:
    return read_places({"state_dir": folder / "state", "runtime_dir": folder / "run"}, {}, 0, folder)


def test_what_was_written_is_read_and_is_what_the_settings_have(places: Places, tmp_path: Path) -> None:
    assert read_identity(places) is None

    assert write_identity(places, IDENTITY)

    assert read_identity(places) == IDENTITY
    settings = read_settings({}, places_in(tmp_path).files, {})
    assert (settings.dsn, settings.product_id, settings.client_id) == ("KS_0001", "Kitchen", CLIENT)
    assert settings.identity == {"part": 'P"1', "revision": "B", "batch": "2026-48"}
    assert (places.state_dir / "identity.toml").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in places.state_dir.iterdir()] == ["identity.toml"]


def test_the_same_again_changes_nothing(places: Places) -> None:
    write_identity(places, IDENTITY)
    before = (places.state_dir / "identity.toml").stat()
    (places.state_dir / "identity.toml.new").write_text("of a writer that was killed")

    assert not write_identity(places, IDENTITY)

    assert (places.state_dir / "identity.toml").stat().st_ino == before.st_ino
    assert [path.name for path in places.state_dir.iterdir()] == ["identity.toml"]


@pytest.mark.parametrize("other", [IDENTITY._replace(dsn="KS_0002"), IDENTITY._replace(batch=None)])
def test_another_one_is_refused_unless_it_is_forced(places: Places, other: IdentityEvent) -> None:
    write_identity(places, IDENTITY)

    with pytest.raises(ConfigError, match="another identity is there: DSN KS_0001"):
        write_identity(places, other)
    assert read_identity(places) == IDENTITY

    assert write_identity(places, other, has_force=True)
    assert read_identity(places) == other


def test_a_file_that_is_no_identity_is_told_and_makes_way_only_by_force(places: Places) -> None:
    places.state_dir.mkdir()
    (places.state_dir / "identity.toml").write_text('dsn = "KS')

    with pytest.raises(ConfigError, match="is not valid TOML") as refused:
        write_identity(places, IDENTITY)
    assert "--force" in refused.value.hint

    assert write_identity(places, IDENTITY, has_force=True)
    assert read_identity(places) == IDENTITY


@pytest.mark.parametrize(
    ("identity", "form", "fault"),
    [
        (IDENTITY._replace(dsn="KS1"), FORM, "4 to 32"),
        (IDENTITY._replace(dsn="K" * 33), FORM, "4 to 32"),
        (IDENTITY._replace(dsn="KS 0001"), FORM, "4 to 32"),
        (IDENTITY._replace(dsn="-KS001"), DsnForm(may_have_hyphens=True), "4 to 32"),
        (IDENTITY._replace(dsn="KS0001\n"), FORM, "4 to 32"),
        (IDENTITY._replace(dsn="KSÄ001"), FORM, "4 to 32"),
        (IDENTITY._replace(dsn="KS٣001"), FORM, "4 to 32"),
        (IDENTITY._replace(dsn="KS-001"), FORM, "Amazon's own installer refuses"),
        (IDENTITY._replace(dsn="A12425GABC1234002N"), DsnForm(has_check_digit=True), "check digit"),
        (IDENTITY._replace(product_id="Kit chen"), FORM, "product_id"),
        (IDENTITY._replace(client_id="two words"), FORM, "client_id"),
        (IDENTITY._replace(part_number="\x1b[2J"), FORM, "--part-number must be printable"),
        (IDENTITY._replace(batch="x" * 61), FORM, "--batch must be printable"),
        (IDENTITY._replace(revision='"B"'), FORM, "--revision has quotation marks"),
    ],
)
def test_a_wrong_one_is_refused_in_words(identity: IdentityEvent, form: DsnForm, fault: str) -> None:
    with pytest.raises(WrongUse, match=fault) as refused:
        check_identity(identity, form)

    assert refused.value.exit_code == 2
    assert "Nothing was written." in refused.value.hint


@pytest.mark.parametrize(
    ("dsn", "form"),
    [
        ("0Zz_", FORM),
        ("KS-001", DsnForm(may_have_hyphens=True)),
        ("A12425GABC1234002M", DsnForm(has_check_digit=True)),
    ],
)
def test_a_right_one_is_taken(dsn: str, form: DsnForm) -> None:
    check_identity(IDENTITY._replace(dsn=dsn, part_number=None), form)


def test_it_is_erased_with_its_remains_and_again_is_no_error(places: Places) -> None:
    assert not erase_identity(places)
    write_identity(places, IDENTITY)
    (places.state_dir / "identity.toml.new").touch()

    assert erase_identity(places)
    assert not erase_identity(places)

    assert list(places.state_dir.iterdir()) == []


def test_a_folder_that_others_may_write_to_is_not_used(places: Places) -> None:
    places.state_dir.mkdir()
    places.state_dir.chmod(0o770)

    with pytest.raises(StoreError, match="others may write to it"):
        write_identity(places, IDENTITY)
    with pytest.raises(StoreError, match="others may write to it"):
        erase_identity(places)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_writes_it_for_the_user_of_the_service(places: Places) -> None:
    places.state_dir.mkdir()
    os.chown(places.state_dir, 4321, 4321)

    write_identity(places, IDENTITY)

    assert (places.state_dir / "identity.toml").stat().st_uid == 4321
