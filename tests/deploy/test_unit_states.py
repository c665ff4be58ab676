"""What a real systemd prints of the service in each state, and what people are told of it."""

from pathlib import Path
from typing import Final

import pytest

from device_auth.world.service_unit import ServiceReport, read_properties, report_on
from tests.command import ROOT
from tests.deploy.real_systemd import needs_systemd, run_beside_systemd

PRINTED: Final = (ROOT / "tests/deploy/unit_states.txt").read_text()
"""By systemd 252 and 257, which print the same."""

SENTENCES: Final = {
    "its program is missing": "The service failed, and is about to be started again: 203/EXEC, its program"
    " is missing or cannot be executed.",
    "its group is missing": "The service failed, and is about to be started again: 216/GROUP, a group that the"
    " unit or a drop-in names does not exist, or cannot be taken.",
    "its user is missing": "The service failed, and is about to be started again: 217/USER, the user that"
    " the unit names does not exist.",
    "its folder is missing": "The service failed, and is about to be started again: 200/CHDIR, its working"
    " folder cannot be entered.",
    "a setting is wrong": "The service failed, and is about to be started again: exit status 78, a setting is"
    " wrong.",
    "its command line is wrong": "The service failed: exit status 2, its command line is wrong.",
    "it was killed": "The service failed, and is about to be started again: ended by signal 9 (SIGKILL).",
    "it is not ready": "The service is starting.",
    "it is not ready in time": "The service failed, and is about to be started again: it was not ready in time.",
    "it runs": "The service runs, but does not answer.",
    "it is stopped": "The service is stopped.",
    "its start waits": "The service is starting.",
    "its socket failed": "The service is stopped. Its socket failed: its user or its group does not exist.",
    "it is masked": "The service is masked: systemd is told never to start it.",
    "it is not installed": "",
}


def cases(printed: str) -> dict[str, str]:
    """Return what was printed of each case."""
    named = (part.partition("\n") for part in f"\n{printed}".split("\n== ")[1:])
    return {name: f"{text.strip()}\n" for name, _, text in named}


def report(printed: str, root: Path) -> ServiceReport | None:
    # a manager of a user's, which these were asked of, does not look for what is switched on where the units lie
    return report_on(read_properties(printed.replace("=disabled", "=enabled")), root)


@pytest.mark.parametrize("name", SENTENCES)
def test_each_state_has_its_sentence(name: str, tmp_path: Path) -> None:
    found = report(cases(PRINTED)[name], tmp_path)

    assert ("" if found is None else found.sentence) == SENTENCES[name]
    assert found is None or found.next_step


def test_every_state_that_was_printed_is_judged() -> None:
    assert list(cases(PRINTED)) == list(SENTENCES)


def test_a_list_of_devices_is_one_property() -> None:
    unit = read_properties(cases(PRINTED)["it runs"])["device-auth.service"]

    assert set(unit["DeviceAllow"].split()) == {"char-gpiochip", "char-spi", "rw"}
    assert unit["DevicePolicy"] == "closed"


def test_a_service_that_is_not_switched_on_is_not_missed(tmp_path: Path) -> None:
    assert report_on(read_properties(cases(PRINTED)["it is stopped"]), tmp_path) is None


@needs_systemd
def test_the_systemd_of_this_machine_prints_what_was_printed() -> None:
    assert cases(run_beside_systemd("unit_states")) == cases(PRINTED)
