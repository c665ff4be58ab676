"""Settings that are missing, wrong or unreadable: the service stays up, says so, keeps a link, and takes better ones."""

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon_process import Household, Living
from tests.waiting import wait_for


def settings_of(household: Household, **changes: str) -> str:
    """Return the provider's settings as lines."""
    _, client_id, *_, base_url = household.command.provider
    values = {"client_id": client_id, "product_id": "kitchen", "dsn": "K-0001", "base_url": base_url}
    return "".join(f'{name} = "{value}"\n' for name, value in {**values, **changes}.items())


def linked(household: Household) -> None:
    """Link the speaker by its settings file, in this process; no token is kept, as after a start of the machine."""
    household.write_settings(settings_of(household))
    amazon = household.running.amazon
    with ThreadPoolExecutor(1) as owner:
        approval = owner.submit(wait_for, lambda: amazon.approve("all"))
        assert household.command.run("link", "--config", str(household.config)) == 0
        approval.result()
    shutil.rmtree(household.run)


def refreshes(household: Household) -> int:
    [grant] = household.running.amazon.grants()
    return grant.refreshes


def mend(household: Household, living: Living) -> None:
    if household.config.is_dir():
        household.config.rmdir()
    household.write_settings(settings_of(household))
    household.config.chmod(0o600)
    living.send(signal.SIGHUP)


def break_toml(path: Path) -> None:
    path.write_text("client_id = [")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such file"),
    "no TOML": (break_toml, "is not valid TOML"),
    "a folder": (make_folder, "not a file"),
    "writable by anyone": (lambda path: path.chmod(0o666), "any user can change"),
    "unknown name": (lambda path: path.write_text("colour = 3\n" + path.read_text()), "'colour' in "),
    "wrong kind": (lambda path: path.write_text("renewals = true\n" + path.read_text()), "renewals (file"),
}


@pytest.mark.parametrize(("do_break", "said"), BROKEN.values(), ids=BROKEN)
def test_settings_that_cannot_be_used_at_the_start_are_told_and_better_ones_taken(
    household: Household, do_break: Callable[[Path], object], said: str
) -> None:
    linked(household)
    do_break(household.config)
    with household.living(provider=[]) as living:
        hint = living.wait_until("linked", "misconfigured").hint
        assert said in hint
        assert str(household.config) in hint
        assert living.client.token().expires_in > 3000
        mend(household, living)
        living.wait_until("linked")
        assert living.end() == 0


def test_an_unlinked_speaker_says_at_a_press_why_it_asks_for_no_code(household: Household) -> None:
    household.config.unlink()
    with household.living(provider=[]) as living:
        living.wait_until("unlinked", "misconfigured")
        done = household.ask("link", "--json")
        assert done.returncode == 78
        assert str(household.config) in done.stderr
        mend(household, living)
        living.wait_until("unlinked")
        living.client.link()
        household.approve(living)
        living.wait_until("linked")
        living.wait_until_told("hardware has changed, which counts from the next start on")
        living.wait_until_told("page has changed, which counts from the next start on")
        assert living.end() == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"hardware": '[hardware]\nboadr = "none"\n'}, "boadr"),
        ({"page": "[page]\nlisten = 8080\n"}, "listen"),
        ({"page": 'ca_file = "/nowhere/ca.pem"\n'}, "/nowhere/ca.pem"),
    ],
)
def test_a_reload_keeps_out_what_the_next_start_would_find_wrong(
    household: Household, more: dict[str, str], said: str
) -> None:
    household.write_settings(settings_of(household))
    with household.living(provider=[]) as living:
        household.link(living)
        household.write_settings(settings_of(household, client_id="another"), **more)
        living.send(signal.SIGHUP)
        hint = living.wait_until("linked", "misconfigured").hint
        assert said in hint
        assert "Until then the former settings are kept." in hint
        assert living.client.token().expires_in > 3000
        mend(household, living)
        living.wait_until("linked")
        assert living.end() == 0
    assert household.config.exists()


def test_a_link_under_a_key_that_the_settings_name_is_not_lost_while_they_cannot_be_read(
    household: Household,
) -> None:
    key = household.folder / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    with_key = settings_of(household, key_file=str(key))
    household.write_settings(with_key)
    with household.living(provider=[]) as living:
        household.link(living)
        assert living.end() == 0
    stored = (household.state / "link.json").read_bytes()
    break_toml(household.config)
    with household.living(provider=[]) as living:
        hint = living.wait_until("starting", "storage").hint
        assert "is not valid TOML" in hint
        living.press("tap")
        household.write_settings(with_key)
        living.send(signal.SIGHUP)
        living.wait_until("linked")
        assert living.end() == 0
    assert (household.state / "link.json").read_bytes() == stored


def test_a_fault_of_this_machine_is_told_before_any_press(household: Household) -> None:
    far = [*household.command.provider[:-1], "https://amazon.test/auth/O2/"]
    with household.living(provider=far, https_proxy="gopher://127.0.0.1:1") as living:
        assert "https_proxy" in living.wait_until("unlinked", "misconfigured").hint
        living.send(signal.SIGHUP)
        living.wait_until_told("the settings were reloaded")
        assert "https_proxy" in living.wait_until("unlinked", "misconfigured").hint
        assert living.end() == 0


def test_a_ca_file_that_cannot_be_read_is_told_until_it_can(household: Household, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    household.write_settings(settings_of(household, ca_file=str(ca_file), base_url="https://amazon.test/o/"))
    with household.living(provider=[]) as living:
        assert str(ca_file) in living.wait_until("unlinked", "misconfigured").hint
        import certifi

        ca_file.write_bytes(Path(certifi.where()).read_bytes())
        living.send(signal.SIGHUP)
        living.wait_until("unlinked")
        assert living.end() == 0


def test_a_setting_that_is_mended_is_told_no_longer_beside_a_fault_that_lasts(
    household: Household, tmp_path: Path
) -> None:
    broken = settings_of(household, ca_file=str(tmp_path / "ca.pem"), base_url="https://amazon.test/o/")
    household.write_settings("renewals = true\n" + broken)
    with household.living(provider=[]) as living:
        assert "renewals" in living.wait_until("unlinked", "misconfigured").hint
        household.write_settings(broken)
        living.send(signal.SIGHUP)
        # it was told for good: the fault, which had been found before, was not shown again
        wait_for(lambda: str(tmp_path / "ca.pem") in living.client.status().hint)
        assert living.end() == 0


def test_a_variable_that_is_none_of_ours_does_not_end_the_service(household: Household) -> None:
    with household.living(
        DEVICE_AUTH_PORT="tcp://10.0.0.1:80",
        DEVICE_AUTH_SIMULATOR_SERVICE_HOST="10.0.0.1",
        DEVICE_AUTH_SIMULATOR_PORT_8100_TCP_ADDR="10.0.0.1",
    ) as living:
        living.wait_until("unlinked")
        assert living.end() == 0
    with household.living(DEVICE_AUTH_COLOUR="3") as living:
        living.wait_until("unlinked", "misconfigured")
        wait_for(lambda: "DEVICE_AUTH_COLOUR" in living.told)
        assert living.end() == 0


def test_a_damaged_identity_keeps_a_linked_speaker_alive_and_from_linking_under_other_ids(
    household: Household,
) -> None:
    linked(household)
    before = refreshes(household)
    identity = household.state / "identity.toml"
    identity.write_text("")  # as a power cut leaves a file that was not synced
    with household.living(provider=[]) as living:
        hint = living.wait_until("linked", "misconfigured").hint
        assert f"{identity} has no dsn" in hint
        assert living.client.token().expires_in > 3000
        assert refreshes(household) > before
        assert household.ask("link", "--again", "--json").returncode == 78
        identity.write_text('dsn = "K-0001"\n')
        living.send(signal.SIGHUP)
        living.wait_until("linked")
        assert living.end() == 0


def test_what_is_set_on_the_unit_counts_from_a_reload_on(household: Household) -> None:
    household.write_settings(settings_of(household, product_id="<insert yours>"))
    with household.living(provider=[]) as living:
        living.wait_until("unlinked", "misconfigured")
        (household.state / "settings.toml").write_text('product_id = "kitchen"\n')
        living.send(signal.SIGHUP)
        living.wait_until("unlinked")
        household.link(living)
        assert living.end() == 0


def test_a_wipe_keeps_what_the_unit_is_and_says_so(household: Household) -> None:
    linked(household)
    kept = {household.state / name for name in ("identity.toml", "settings.toml")}
    for path in kept:
        path.write_text('dsn = "K-0001"\n')

    told = household.ask("unlink", "--wipe")

    assert told.returncode == 0
    assert f"{household.state}/identity.toml" in "".join(told.stderr.split("\n"))
    assert set(household.state.iterdir()) == kept
