from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.factory.station.amazon import AUTHORITY, NotApproved, StationAmazon
from device_auth.world.clock import BootClock

CLIENT_ID = "amzn1.application-oa2-client.51000000000000000000000000000005"


def test_each_start_has_an_authority_of_its_own_and_leaves_none(tmp_path: Path) -> None:
    now = BootClock().now
    with StationAmazon(tmp_path, "127.0.0.1", 0, now) as amazon:
        first = amazon.certificates
        assert (tmp_path / AUTHORITY / "ca-key.pem").stat().st_mode & 0o077 == 0
    assert not (tmp_path / AUTHORITY).exists()

    # as a station that was killed leaves it
    (tmp_path / AUTHORITY).mkdir()
    (tmp_path / AUTHORITY / "ca.pem").write_text(first)
    with StationAmazon(tmp_path, "127.0.0.1", 0, now) as amazon:
        assert amazon.certificates != first


def test_an_address_that_is_not_this_machine_s_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.9"):
        StationAmazon(tmp_path, "203.0.113.9", 0, BootClock().now)
    assert not (tmp_path / AUTHORITY).exists()


def test_an_owner_has_nothing_to_end_before_there_is_a_link(tmp_path: Path) -> None:
    with (
        StationAmazon(tmp_path, "127.0.0.1", 0, BootClock().now) as amazon,
        amazon.owner(CLIENT_ID, "KS1") as owner,
        pytest.raises(NotApproved, match="a link that there is not"),
    ):
        owner.revoke()
