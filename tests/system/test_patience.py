"""Two commands at once: the second waits for the first one's lock, uses what came of it, and tells why it waits."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.local import LOCK_TIME, LocalSpeaker, locked
from device_auth.cli.main import read_arguments
from device_auth.core.errors import NotLinked, StoreBusy
from device_auth.core.models import Monotonic, Seconds, Secret, TokenGrant
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import Options
from device_auth.simulator.server import Running, serve
from device_auth.world.store import FileStore
from tests.command import Command, read_event, stream_of
from tests.simulated_speaker import strict
from tests.waiting import LONG
from tests.world import SkippingClock

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def options() -> Options:
    return strict(interval=1, approve_after=0)


@pytest.fixture
def linked(tmp_path: Path, running: Running, capsys: pytest.CaptureFixture[str]) -> Command:
    """A linked speaker without a fresh access token."""
    command = Command(tmp_path, running)
    assert command.link() == 0
    (command.folder / "run" / "token.json").unlink()
    capsys.readouterr()
    return command


def in_skipped_time(command: Command) -> tuple[Doors, SkippingClock]:
    doors = open_doors(vars(read_arguments(["token", *command.places, *command.provider])))
    clock = SkippingClock()
    doors.clock = clock  # type: ignore[assignment]  # it does all that one does
    return doors, clock


def hold(command: Command, opened: ExitStack) -> ExitStack:
    """Take the lock as another process does, and return what releases it."""
    holding = ExitStack()
    opened.enter_context(holding)
    holding.enter_context(FileStore(command.folder / "state"))
    return holding


def asked(command: Command) -> int:
    """Count the refreshes that have reached the provider since one was scripted."""
    return 1 - command.running.amazon.faults_waiting()[Endpoint.REFRESH]


def test_a_lock_that_stays_taken_is_waited_for_as_long_as_a_refresh_takes(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    doors, clock = in_skipped_time(linked)
    began_at = clock.now()

    with FileStore(linked.folder / "state"), pytest.raises(StoreBusy) as refused, locked(doors):
        pass

    assert clock.now() - began_at == pytest.approx(LOCK_TIME, abs=0.2)
    assert refused.value.exit_code == 75
    holder = f"{linked.folder}/state is in use by process {os.getpid()} ("
    assert holder in str(refused.value)
    told = capsys.readouterr().err
    assert told.count("waiting for it, at most 45 s") == 1
    assert holder in " ".join(told.split())


def test_a_second_token_is_the_one_that_the_first_refresh_brought(linked: Command) -> None:
    doors, clock = in_skipped_time(linked)
    linked.running.amazon.script(Endpoint.REFRESH, [Fault(status=503)])

    def end_first(holding: ExitStack) -> None:
        doors.tokens.publish(
            TokenGrant(
                Secret("Sim|A|first"), Secret("Sim|R|first"), Seconds(3600), Monotonic(clock.now() + 3600)
            )
        )
        token = doors.places.runtime_dir
        assert token is not None
        os.utime(token / "token.json", (clock.wall(), clock.wall()))
        holding.close()

    with ExitStack() as opened:
        holding = hold(linked, opened)
        clock.planned.append((clock.now() + 30, lambda: end_first(holding)))

        token = LocalSpeaker(doors).token(60)

    assert token.access_token == Secret("Sim|A|first")
    assert asked(linked) == 0


def test_a_second_token_does_not_begin_what_it_could_not_end_in_time(linked: Command) -> None:
    doors, clock = in_skipped_time(linked)
    linked.running.amazon.script(Endpoint.REFRESH, [Fault(status=503)])

    with ExitStack() as opened:
        holding = hold(linked, opened)
        clock.planned.append((clock.now() + 40, holding.close))

        with pytest.raises(NotLinked, match="cannot get a fresh access token now") as refused:
            LocalSpeaker(doors).token(60)

    assert refused.value.exit_code == 75
    assert asked(linked) == 0


def export(command: Command) -> list[str]:
    return ["export", "json", "--to", str(command.folder / "exported.json")]


Words = Callable[[Command], list[str]]


@pytest.mark.parametrize(
    "words",
    [
        lambda _: ["token"],
        lambda command: ["link", "--again", "--json", *command.provider],
        lambda _: ["unlink"],
        lambda _: ["unlink", "--wipe"],
        export,
    ],
    ids=["token", "link", "unlink", "unlink --wipe", "export"],
)
def test_each_verb_waits_for_the_lock_says_so_and_goes_on(linked: Command, words: Words) -> None:
    with ExitStack() as opened:
        holding = hold(linked, opened)
        with linked.started(*words(linked)) as process:
            told = stream_of(process.stderr).readline()
            holding.close()

            assert process.wait(LONG) == 0

    assert f"is in use by process {os.getpid()} (" in told
    assert "waiting for it, at most 45 s" in told


def test_a_second_link_waits_for_the_first_and_asks_for_no_code_of_its_own(tmp_path: Path) -> None:
    with serve(Amazon(strict(interval=1), clock=time.monotonic)) as running:
        command = Command(tmp_path, running)
        with command.started("link", "--json", *command.provider) as first:
            read_event(first, "code")
            with command.started("link", *command.provider) as second:
                told = stream_of(second.stderr).readline()
                running.amazon.approve("all")

                assert (first.wait(LONG), second.wait(LONG)) == (0, 0)
                assert stream_of(second.stdout).read() == "linked\n"
        assert len(running.amazon.pairs()) == 1

    assert "waiting for it, at most 45 s" in told


def test_a_grant_by_another_way_waits_for_the_lock_before_anyone_is_asked(linked: Command) -> None:
    doors, clock = in_skipped_time(linked)

    with ExitStack() as opened:
        holding = hold(linked, opened)
        clock.planned.append((clock.now() + 30, holding.close))

        with LocalSpeaker(doors).ready_for_grant(again=True) as opening:
            assert opening is not None

    assert clock.now() >= 1030


def test_a_link_that_was_made_meanwhile_is_not_made_again(tmp_path: Path, running: Running) -> None:
    command = Command(tmp_path, running)
    doors, clock = in_skipped_time(command)

    def end_first(holding: ExitStack) -> None:
        holding.close()
        assert command.link() == 0

    with ExitStack() as opened:
        holding = hold(command, opened)
        clock.planned.append((clock.now() + 30, lambda: end_first(holding)))

        with LocalSpeaker(doors).ready_for_grant(again=False) as opening:
            assert opening is None
