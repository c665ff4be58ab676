"""The command line against the simulated Amazon, in real time: verbs, exit codes, JSON, signals, kills."""

import argparse
import fcntl
import json
import os
import re
import shlex
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.cli.examples import EXAMPLES
from device_auth.cli.main import VERBS, main, make_parser, read_arguments
from device_auth.core.models import Mark
from device_auth.prompts.wording import read_wording
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.server import Running, serve
from device_auth.world.settings import KEY_OF, PROVIDER_OPTIONS, option_of
from device_auth.world.store import FileStore
from device_auth.world.transport import READ_TIMEOUT
from tests.command import (
    ROOT,
    Command,
    bare_environment,
    interrupt,
    read_event,
    read_lines,
    started,
    stream_of,
)
from tests.links import make_link
from tests.ports import free_port
from tests.simulated_speaker import strict
from tests.terminal_session import read_to_the_end, session
from tests.waiting import LONG, given_time, is_once_within, wait_for

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def quick() -> Iterator[Running]:
    with serve(
        Amazon(strict(interval=1, approve_after=0), clock=time.monotonic), port=free_port()
    ) as running:
        yield running


@pytest.fixture
def command(tmp_path: Path, running: Running) -> Command:
    return Command(tmp_path, running)


@pytest.fixture
def linked(tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str]) -> Command:
    command = Command(tmp_path, quick)
    assert command.link() == 0
    capsys.readouterr()
    return command


def refused(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return list(read_lines(capsys.readouterr().out.splitlines()))[-1]


# -- link


def test_link_prints_linked_and_nothing_else_on_stdout(
    tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Command(tmp_path, quick).link() == 0

    assert capsys.readouterr().out == "linked\n"


def test_link_as_json_tells_the_code_and_the_link_in_two_lines(
    tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert Command(tmp_path, quick).link("--json") == 0

    took = time.monotonic() - began
    told = capsys.readouterr()
    code, linked = read_lines(told.out.splitlines())
    assert set(code) == {
        "event",
        "state",
        "at",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    }
    assert (code["event"], code["state"], code["interval"]) == ("code", "waiting", 1)
    assert 599 - took <= int(str(code["expires_in"])) <= 600
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(code["at"]))
    assert (linked["event"], linked["state"]) == ("linked", "linked")
    assert told.err == ""


def test_a_speaker_that_is_linked_asks_for_nothing(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = len(linked.running.amazon.pairs())

    assert linked.run("link") == 0
    assert linked.run("link", "--json") == 0

    assert len(linked.running.amazon.pairs()) == asked
    told = capsys.readouterr()
    assert told.out.startswith("linked\n{")
    assert told.err.startswith(
        "The speaker is linked already. To link it again, run: device-auth link --again\n"
    )


def test_again_asks_for_a_new_code_and_replaces_the_link(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    former = json.loads((linked.folder / "state" / "link.json").read_text())["link"]

    assert linked.link("--again") == 0

    link = json.loads((linked.folder / "state" / "link.json").read_text())["link"]
    assert capsys.readouterr().out == "linked\n"
    assert link["link_id"] != former["link_id"]
    assert former["refresh_token"] not in "".join(
        path.read_text() for path in (linked.folder / "state").iterdir()
    )


def test_another_client_id_than_the_links_own_is_told_and_not_used(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linked.run("link", "--client-id", "amzn1.application-oa2-client." + "f" * 32) == 0

    told = capsys.readouterr()
    assert told.out == "linked\n"
    assert "client_id" in told.err


def test_a_refused_code_exits_with_77(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with command.started("link", "--json", *command.provider) as process:
        code = read_event(process, "code")
        command.running.amazon.deny(str(code["user_code"]))
        event = read_event(process, "refused")

        assert process.wait(LONG) == 77
    assert event["reason"] == "denied"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_code_that_nobody_uses_exits_with_75(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Amazon(strict(interval=1, code_lifetime=1), clock=time.monotonic)) as running:
        assert Command(tmp_path, running).link(*words) == 75

    if words:
        assert refused(capsys)["reason"] == "expired"


def test_renewals_are_new_code_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Amazon(strict(interval=1, code_lifetime=1), clock=time.monotonic)) as running:
        assert Command(tmp_path, running).link("--json", "--renewals", "1") == 75

    events = [fields["event"] for fields in read_lines(capsys.readouterr().out.splitlines())]
    assert events == ["code", "code", "refused"]


def test_no_provider_in_time_exits_with_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Amazon(strict(), clock=time.monotonic), port=free_port()) as running:
        command = Command(tmp_path, running)
        provider = command.provider

    def link(seconds: float) -> list[dict[str, object]]:
        assert command.run("link", "--json", "--timeout", f"{seconds}", *provider) == 69
        return list(read_lines(capsys.readouterr().out.splitlines()))

    trouble, end = given_time(link, lambda events: len(events) > 1)
    assert (trouble["event"], trouble["trouble"]) == ("trouble", "provider-unavailable")
    assert trouble["hint"]
    assert (end["event"], end["reason"]) == ("refused", "timed-out")


@pytest.mark.parametrize("locale", ["xx", "en-GB"])
def test_which_language_is_spoken_in_place_of_another_is_told_once(
    tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str], locale: str
) -> None:
    assert Command(tmp_path, quick).link("--locale", locale) == 0

    told = capsys.readouterr().err
    assert told.count(f"locale {locale}: there are no words for it, so the speaker speaks English.") == (
        locale == "xx"
    )


def test_a_time_out_says_what_was_in_the_way(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.running.stop()

    def link(seconds: float) -> str:
        command.link("--timeout", f"{seconds}")
        return capsys.readouterr().err

    told = given_time(link, lambda told: "refused" in told)
    assert "within the time asked for: the connection was refused\n" in told


def test_only_unclear_answers_in_time_exit_with_76(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command.running.amazon.script(Endpoint.CODE_PAIR, [Fault(html=True, times=None)])

    def link(seconds: float) -> tuple[int, list[dict[str, object]]]:
        exit_code = command.link("--json", "--timeout", f"{seconds}")
        return exit_code, list(read_lines(capsys.readouterr().out.splitlines()))

    exit_code, events = given_time(link, lambda ended: len(ended[1]) > 1)
    assert exit_code == 76
    assert events[0]["trouble"] == "captive-portal"
    assert events[-1]["reason"] == "timed-out"


def test_nobody_in_time_exits_with_75(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    def link(seconds: float) -> tuple[int, list[dict[str, object]]]:
        exit_code = command.link("--json", "--timeout", f"{seconds}")
        return exit_code, list(read_lines(capsys.readouterr().out.splitlines()))

    exit_code, (_, end) = given_time(link, lambda ended: ended[1][0]["event"] == "code")
    assert exit_code == 75
    assert end["reason"] == "timed-out"
    assert not (command.folder / "run" / "pending.json").exists()


def test_a_rejected_client_exits_with_78_and_names_the_setting(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(status=400, json='{"error": "invalid_client"}')
    command.running.amazon.script(Endpoint.CODE_PAIR, [fault])

    assert command.link("--json") == 78

    end = refused(capsys)
    assert end["reason"] == "misconfigured"
    assert "--client-id" in str(end["hint"])


def test_a_missing_setting_exits_with_78_and_names_it(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run("link", "--json") == 78

    told = capsys.readouterr()
    assert "client_id" in told.err
    assert json.loads(told.out)["reason"] == "misconfigured"


def test_a_state_folder_that_is_no_folder_exits_with_74_before_a_code_is_asked_for(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (command.folder / "state").write_text("in the way")

    assert command.link() == 74
    assert command.running.amazon.pairs() == ()
    assert "state" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_told_before_a_code_is_asked_for(command: Command) -> None:
    assert command.link("--qr-file", str(command.folder / "nowhere" / "code.svg")) == 78
    assert command.link("--qr-file", str(command.folder / "code.gif")) == 78
    assert command.running.amazon.pairs() == ()


def test_the_picture_is_there_when_the_code_is_told_and_gone_when_the_code_is(command: Command) -> None:
    picture = command.folder / "code.svg"
    with command.started("link", "--json", "--qr-file", str(picture), *command.provider) as process:
        read_event(process, "code")
        wait_for(picture.exists)  # which is there before the code where it can be written in time
        command.running.amazon.approve("all")
        read_event(process, "linked")
        assert process.wait(LONG) == 0

    assert not picture.exists()


# -- signals and kills


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_discards_the_code_within_a_second_while_a_request_hangs(
    command: Command, number: signal.Signals
) -> None:
    def cancel() -> float:
        command.running.amazon.script(Endpoint.TOKEN_POLL, [Fault(hang=True)])
        with command.started("link", "--json", *command.provider) as process:
            read_event(process, "code")
            wait_for(lambda: not command.running.amazon.faults_waiting()["token-poll"])
            before = time.monotonic()
            assert interrupt(process, number) == 130
            took = time.monotonic() - before
            assert [fields["reason"] for fields in read_lines(stream_of(process.stdout))] == ["cancelled"]
        return took

    assert is_once_within(READ_TIMEOUT / 2, cancel)
    assert not (command.folder / "run" / "pending.json").exists()


@pytest.mark.parametrize("how", ["killed", "hung up", "unread"])
def test_killed_or_left_while_waiting_and_started_again_it_goes_on_with_the_same_code(
    command: Command, how: str
) -> None:
    with command.started("link", "--json", *command.provider) as process:
        code = read_event(process, "code")
        wait_for(lambda: command.running.amazon.pairs()[-1].polls > 0)
        if how == "killed":
            process.kill()
            assert process.wait(LONG) == -signal.SIGKILL
        elif how == "hung up":
            assert interrupt(process, signal.SIGHUP) == 130
            (refused,) = read_lines(stream_of(process.stdout))
            assert refused["hint"] == "What has begun is kept. Go on with it: device-auth link"
        else:
            stream_of(process.stdout).close()
            command.running.amazon.script(Endpoint.TOKEN_POLL, [Fault(status=503)])
            assert process.wait(LONG) == 74

    with command.started("link", "--json", *command.provider) as process:
        again = read_event(process, "code")
        command.running.amazon.approve("all")
        read_event(process, "linked")
        assert process.wait(LONG) == 0

    assert again["user_code"] == code["user_code"]
    assert len(command.running.amazon.pairs()) == 1
    assert command.running.amazon.referee.complaints() == ()


def test_a_terminal_that_is_closed_leaves_the_code_to_go_on_with(command: Command, tmp_path: Path) -> None:
    with session(tmp_path, columns=200) as shell:
        shell.run("link", *command.places, *command.provider)
        wait_for(lambda: command.running.amazon.pairs() and command.running.amazon.pairs()[-1].polls)
        pending = command.folder / "run" / "pending.json"
        kept = json.loads(pending.read_text())
        shell.hang_up()

    with command.started("link", "--json", *command.provider) as process:
        again = read_event(process, "code")
        process.kill()

    assert again["user_code"] == kept["pair"]["user_code"]


def test_a_hang_up_that_nohup_ignores_ends_nothing(command: Command) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which a new process inherits
    try:
        with command.started("link", "--json", *command.provider) as process:
            read_event(process, "code")
            process.send_signal(signal.SIGHUP)
            command.running.amazon.approve("all")

            assert process.wait(LONG) == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_reader_that_goes_away_is_no_traceback(command: Command) -> None:
    with command.started("link", "--json", *command.provider) as process:
        stream_of(process.stdout).close()

        assert process.wait(LONG) == 74
        assert "Traceback" not in stream_of(process.stderr).read()


# -- token


def test_token_prints_the_token_of_the_link(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert linked.run("token") == 0

    token = capsys.readouterr().out
    assert re.fullmatch(r"Sim\|A\|\S+\n", token)
    kept = json.loads((linked.folder / "run" / "token.json").read_text())
    assert token == kept["access_token"] + "\n"


def test_token_refreshes_when_too_little_is_left(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    linked.run("token")
    linked.run("token", "--min-lifetime", "3600")
    linked.run("token", "--json")

    first, second, third = capsys.readouterr().out.splitlines()
    assert first != second
    fields = json.loads(third)
    assert fields["access_token"] == second
    assert set(fields) == {"access_token", "token_type", "expires_at", "expires_in"}


def test_a_kept_token_is_printed_without_loading_what_asks_for_one(
    linked: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")

    with linked.started("token") as process:
        told = process.communicate(timeout=LONG)[1]

    assert "device_auth.assembly.doors" in told
    assert not re.search(r"\b(requests|urllib3|device_auth\.service|device_auth\.wire)\b", told)


def test_token_needs_no_provider_options_and_no_runtime_folder(linked: Command) -> None:
    (linked.folder / "run" / "token.json").unlink()

    assert linked.run("token") == 0


def test_token_without_a_link_says_what_to_do_and_exits_with_75(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run("token") == 75

    told = capsys.readouterr()
    assert told.out == ""
    assert "device-auth link" in told.err


def test_token_of_a_link_whose_provider_is_away_exits_with_75_and_keeps_the_link(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    linked.running.stop()

    assert linked.run("token", "--min-lifetime", "3600") == 75
    assert "kept" in capsys.readouterr().err
    assert linked.run("token") == 0


def test_two_tokens_asked_for_at_once_are_both_given(linked: Command) -> None:
    words = ("token", "--min-lifetime", "3600")
    with linked.started(*words) as one, linked.started(*words) as other:
        assert (one.wait(LONG), other.wait(LONG)) == (0, 0)


# -- status


def test_status_of_a_speaker_that_was_never_linked(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run("status", "--json") == 0
    assert command.run("status") == 0

    fields, *lines = capsys.readouterr().out.splitlines()
    status = json.loads(fields)
    assert set(status) == {
        *("state", "trouble", "name", "since", "hint", "expires_at"),
        *("account", "account_id", "linked_at", "dialect", "version", "lasts", "is_checking"),
    }
    assert (status["state"], status["trouble"]) == ("unlinked", "none")
    assert lines[0].startswith("state:       unlinked")
    assert not (command.folder / "state").exists()


def test_the_locale_chooses_the_language_of_a_status_for_people_and_not_that_for_programs(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run("status", "--locale", "de-DE") == 0
    assert command.run("status", "--check", "--locale", "de-DE") == 75
    assert command.run("status", "--json", "--locale", "de-DE") == 0
    words = read_wording("de").states["unlinked"]

    status, step, _name, check, fields = capsys.readouterr().out.splitlines()
    assert status == f"state:       unlinked: {words}"
    assert step == "next:        device-auth link"
    assert check == f"unhealthy (unlinked): {words} device-auth link"
    assert json.loads(fields)["hint"] == "Press its button, or run: device-auth link"


@pytest.mark.parametrize("language", ["de", "ja"])
def test_a_status_on_a_terminal_is_broken_between_its_words(tmp_path: Path, language: str) -> None:
    with session(tmp_path) as terminal:
        terminal.run("status", "--state-dir", str(tmp_path), "--locale", language)
        terminal.wait_for("left with 0")
        first, *more = terminal.text.partition("next:")[0].splitlines()

    assert first.startswith("state:       unlinked:")
    assert more
    assert all(line.startswith(" " * 13) for line in more)
    words = "".join(f"{first} {' '.join(more)}".split()[2:])
    assert words == read_wording(language).states["unlinked"].replace(" ", "")


def test_a_link_is_told_in_the_language_of_the_locale(
    tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    command, german = Command(tmp_path, quick), read_wording("de")
    assert command.link("--locale", "de-DE") == 0

    told = capsys.readouterr()
    assert told.out == "linked\n"
    assert {german.states["requesting"], german.moments["just-linked"]} <= set(told.err.splitlines())
    assert "Waiting for your approval" not in told.err
    assert command.link("--locale", "de-DE") == 0
    assert capsys.readouterr().err == f"{german.states['linked']} device-auth link --again\n"


def test_status_of_a_linked_speaker(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert linked.run("status", "--json") == 0

    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["dialect"]) == ("linked", "lwa")
    assert status["since"].endswith("Z")
    assert status["expires_at"].endswith("Z")


def test_status_while_a_code_is_told(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with command.started("link", "--json", *command.provider) as process:
        read_event(process, "code")

        assert command.run("status", "--json") == 0

    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "waiting"
    assert status["expires_at"]


def test_status_of_a_newer_versions_link_cannot_be_told_and_exits_with_74(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = '{"version": 99}'
    (linked.folder / "state" / "link.json").write_text(newer)

    assert linked.run("status") == 74
    assert linked.run("unlink") == 74
    assert linked.link("--again") == 74
    assert "newer" in capsys.readouterr().err
    assert (linked.folder / "state" / "link.json").read_text() == newer


def test_a_damaged_link_is_a_storage_trouble_and_is_linked_anew(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (linked.folder / "state").iterdir():
        path.write_bytes(b"\0" * 100)

    assert linked.run("status", "--json") == 0
    assert linked.run("token", "--min-lifetime", "0") == 74
    assert linked.link() == 0

    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[0])["trouble"] == "storage"
    assert "does not verify" in told.err
    assert any("damaged" in path.name for path in (linked.folder / "state").iterdir())


# -- unlink


def test_unlink_forgets_the_link_and_says_where_the_account_lists_it(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linked.run("unlink") == 0
    assert linked.run("unlink") == 0

    told = capsys.readouterr()
    assert told.out == "unlinked\nunlinked\n"
    assert (
        told.err.count("The account may still list this speaker. Its owner removes it in the Alexa app") == 1
    )
    assert list((linked.folder / "state").iterdir()) == []
    assert list((linked.folder / "run").iterdir()) == []


def test_unlink_tells_the_owner_in_his_language(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert linked.run("unlink", "--locale", "de-DE") == 0

    told = capsys.readouterr()
    assert told.out == "unlinked\n"
    assert "Das Konto führt diesen Lautsprecher vielleicht noch auf." in told.err


def test_a_wipe_leaves_no_byte_of_the_tokens(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = secrets_of(linked)

    assert linked.run("unlink", "--wipe", "--json") == 0

    report = json.loads(capsys.readouterr().out)
    left = b"".join(path.read_bytes() for path in linked.folder.rglob("*") if path.is_file())
    assert report["files_removed"] == 3
    assert report["secrets_looked_for"] == 2
    assert not any(secret.encode() in left for secret in secrets)


def test_a_revocation_endpoint_is_told_of_an_unlink(
    tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(tmp_path, quick)
    plain = ("--dialect", "rfc8628", "--issuer", quick.issuer, "--client-id", "a-speaker")
    assert command.run("link", *plain, "--scope", "offline_access") == 0

    assert command.run("unlink") == 0

    assert quick.amazon.grants()[-1].is_revoked
    assert "still list" not in capsys.readouterr().err


# -- the command itself


def test_options_count_before_the_verb_and_behind_it(
    tmp_path: Path, quick: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(tmp_path, quick)
    assert main([*command.places, *command.provider, "--json", "link"]) == 0
    assert main(["status", *command.places, "--json"]) == 0

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "linked"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "lnk",
        "link --timeout soon",
        "link --timeout -1",
        "link --renewals many",
        "token --min-lifetime x",
        "status --no-such-option",
        "link --dialect french",
        "--simulate=perhaps link",
        "link --json=yes",
    ],
)
def test_a_wrong_command_line_exits_with_2_and_two_lines(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))

    assert ended.value.code == 2
    what, hint = capsys.readouterr().err.splitlines()
    assert what.startswith("device-auth: ")
    assert hint.endswith(" --help")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("lnk", "Did you mean link? To list every option: device-auth --help"),
        ("link --bas-url x", "Did you mean --base-url? To list every option: device-auth link --help"),
        ("status --bas-url x", "Did you mean --base-url? To list every option: device-auth status --help"),
        ("link --timeout soon", "To list every option: device-auth link --help"),
        ("status qqq", "To list every option: device-auth status --help"),
        ("status linked", "To list every option: device-auth status --help"),
        ("unlink --force", "To list every option: device-auth unlink --help"),
        ("config inti", "Did you mean init? To list every option: device-auth config --help"),
        (
            "hardware wiring genric-led",
            "Did you mean generic-led? To list every option: device-auth hardware --help",
        ),
        ("factory identty", "Did you mean identity? To list every option: device-auth factory --help"),
        ("link --dialect dialectname", "To list every option: device-auth link --help"),
        ("export avs-device-sdk --sdk 1.24", "To list every option: device-auth export --help"),
    ],
)
def test_a_slip_of_the_keyboard_is_told_what_was_meant(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(shlex.split(line))

    assert capsys.readouterr().err.splitlines()[1].strip() == meant


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("config", "init|show|check|get|set|unset|edit"),
        ("hardware", "list|test|wiring|enable|disable"),
        ("export env", "--to"),
    ],
)
def test_a_missing_word_is_named_as_the_help_names_it(
    verb: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(verb.split())

    told = capsys.readouterr().err.splitlines()[0]
    assert told == f"device-auth: the following arguments are required: {missing}"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("link --import Atzr|CANARY", "unknown arguments: …"),
        ("link --import=Atzr|CANARY", "argument --import: ignored explicit argument '…'"),
        ("token --client-secret=CANARY", "unknown arguments: --client-secret"),
        ("token 0123456789abcdef0123456789abcdef", "unknown arguments: …"),
        ("status qqq", "unknown arguments: qqq"),
    ],
)
def test_a_word_that_could_be_a_secret_is_not_repeated(
    line: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(shlex.split(line))

    told, hint = capsys.readouterr().err.splitlines()
    assert told == f"device-auth: {shown}"
    assert ("not repeated" in hint) == ("…" in shown)


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("--simulate status", "auto"),
        ("status --simulate", "auto"),
        ("--simulate manual status", "manual"),
        ("status --simulate auto --json", "auto"),
        ("status --simulate=manual", "manual"),
    ],
)
def test_who_approves_in_a_simulation_is_named_or_left_out(line: str, how: str) -> None:
    args = read_arguments(line.split())

    assert (args.verb, args.simulate) == ("status", how)


def test_the_readmes_help_text_is_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    readme = (ROOT / "README.md").read_text()

    shown = readme.split("$ device-auth --help\n", 1)[1].split("```", 1)[0]

    assert shown.strip() == make_parser([]).format_help().strip()


def every_parser() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of the command, of each verb and of each sub-verb, by the words that are typed."""
    found: dict[str, argparse.ArgumentParser] = {}
    left = [make_parser()]
    for parser in left:
        found[parser.prog] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                left += action.choices.values()
    return found


def test_every_example_is_a_command_line_that_the_program_reads() -> None:
    for command in (command for group in EXAMPLES.values() for command in group):
        program, *words = shlex.split(command)
        assert program == "device-auth"
        assert read_arguments(words).verb in VERBS


def test_each_help_shows_up_to_three_examples_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    for words, parser in every_parser().items():
        text = parser.format_help()
        shown = re.findall(r"^  (device-auth.*)\n      \S", text, re.MULTILINE)
        assert 1 <= len(shown) <= 3, words
        assert all(f"{command} ".startswith(f"{words} ") for command in shown)
        assert [line for line in text.splitlines() if len(line) > 80] == []


def test_provider_options_are_folded_except_where_a_link_is_made_and_work_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parsers = every_parser()
    for verb in VERBS:
        help_text = parsers[f"device-auth {verb}"].format_help()
        is_listed = "\n  --client-id ID" in help_text
        assert is_listed == (verb in {"link", "run", "authorize"})
        assert ("--help-provider" in help_text) != is_listed
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help-provider"])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert [name for name in PROVIDER_OPTIONS if option_of(KEY_OF[name]) not in told] == []
    assert read_arguments(["status", "--client-id", "it"]).client_id == "it"


def test_help_names_every_exit_code_last(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("link", "status", "token", "unlink", "config", "simulator"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])

        last = capsys.readouterr().out.rstrip().splitlines()[-1]
        assert last.strip() == "130  interrupted"


def test_a_bug_is_told_by_its_place_and_never_by_its_words(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(json, "dumps", break_down)

    assert command.run("status", "--json") == 70

    told = capsys.readouterr().err
    assert "RuntimeError" in told
    assert "in break_down" in told
    assert "CANARY" not in told


def test_the_simulator_runs_in_a_process_of_its_own_until_it_is_told_to_stop(tmp_path: Path) -> None:
    words = ("simulator", "--port", "0", "--json", "--approve-after", "0", "--interval", "1", "--seed", "x")
    with subprocess.Popen(
        [sys.executable, "-m", "device_auth", *words],
        cwd=ROOT,
        env=bare_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as simulator:
        addresses = json.loads(stream_of(simulator.stdout).readline())
        places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
        client = ["--client-id", "a-speaker", "--scope", "offline_access"]

        assert main(["link", *places, *client, "--dialect", "rfc8628", "--issuer", addresses["issuer"]]) == 0
        assert interrupt(simulator, signal.SIGTERM) == 0


def test_the_simulator_says_what_to_link_with_by_each_flow() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "device_auth", "simulator", "--port", "0"],
        cwd=ROOT,
        env=bare_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as simulator:
        told = [
            line.partition("with:")[2].split()
            for line in iter(stream_of(simulator.stdout).readline, "Ctrl-C stops it.\n")
        ]
        assert interrupt(simulator, signal.SIGTERM) == 0

    commands = [words for words in told if words]
    assert [words[1] for words in commands] == ["link", "authorize", "link"]
    for words in commands:
        assert make_parser().parse_args(words[1:]).verb == words[1]


def test_output_that_cannot_be_written_is_no_bug(linked: Command) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "device_auth", "status", *linked.places],
            cwd=ROOT,
            env=bare_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == 74
    assert ended.stderr.splitlines()[0] == "device-auth: cannot write the output: the disk is full"
    assert len(ended.stderr.splitlines()) == 2


def test_a_damaged_link_is_told_in_our_own_name(linked: Command) -> None:
    (linked.folder / "state" / "link.json").write_text("{")
    with linked.started("status") as process:
        _, told = process.communicate(timeout=LONG)

    assert "link.json" in told
    assert all(line.startswith(("device-auth: ", "  ")) for line in told.splitlines())


def test_a_terminal_breaks_what_is_told_between_words_only(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with started("link", "--state-dir", str(tmp_path), terminal=theirs) as process:
        assert process.wait(LONG) == 78
    os.close(theirs)
    lines = read_to_the_end(ours).splitlines()
    os.close(ours)

    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
    assert "Write a settings file (device-auth config init), or use" in " ".join(
        line.strip() for line in lines
    )


def test_the_account_of_a_simulated_speaker_lists_nothing(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (linked.folder / "state").rename(linked.folder / "simulated")
    (linked.folder / "state").mkdir(mode=0o700)
    (linked.folder / "simulated").rename(linked.folder / "state" / "simulated")

    assert linked.run("unlink", "--simulate") == 0
    assert capsys.readouterr().err == ""


def test_a_wipe_of_a_simulated_speaker_leaves_nothing_of_its_amazon_either(command: Command) -> None:
    folder = command.folder / "state" / "simulated"
    folder.mkdir(mode=0o700, parents=True)
    (folder / "amazon.json").write_text("{}")

    assert command.run("unlink", "--simulate", "--wipe") == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--interval", "0"],
        ["--host", "192.0.2.1"],
        ["--approve-after", "-1"],
        ["--port", "70000"],
        ["--redirect-uri", "http://desk.example/"],
        ["--secrets-file", "/no/such/file"],
        ["--clients-file", "/no/such/file"],
        ["--clients-file", "/dev/null", "--secrets-file", "/dev/null"],
        ["--strict", "--allow", "poll-below"],
        ["--strict", "--allow", "wrong-method"],
        ["--allow", "poll-below-told"],
    ],
)
def test_a_simulator_that_cannot_be_started_as_asked_says_why(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulator", *words]) == 78
    assert capsys.readouterr().err.startswith("device-auth: ")


# -- secrets


def secrets_of(command: Command) -> list[str]:
    link = json.loads((command.folder / "state" / "link.json").read_text())["link"]
    token = json.loads((command.folder / "run" / "token.json").read_text())
    return [link["refresh_token"], token["access_token"]]


def test_no_secret_is_seen_in_any_output_argument_environment_or_open_file(
    tmp_path: Path, running: Running
) -> None:
    command = Command(tmp_path, running)
    with command.started("link", "--json", "-v", "-v", *command.provider) as process:
        read_event(process, "code")
        device_code = running.amazon.pairs()[-1].device_code
        seen = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        assert mode_of(tmp_path / "run" / "pending.json") == 0o600
        running.amazon.approve("all")
        out, err = process.communicate(timeout=LONG)
    with command.started("status", "-v", "--json") as process:
        more = process.communicate(timeout=LONG)
    secrets = [device_code, *secrets_of(command)]
    with command.started("unlink", "-v", "--wipe") as process:
        last = process.communicate(timeout=LONG)

    told = "".join([out, err, *more, *last]).encode() + b"".join(seen)
    assert b"linked" in told
    for secret in secrets:
        assert secret.encode() not in told


def test_files_with_secrets_are_closed_to_others_whatever_the_umask(tmp_path: Path, quick: Running) -> None:
    script = f"umask 000; exec {sys.executable} -m device_auth link {{words}}"
    command = Command(tmp_path, quick)
    words = shlex.join([*command.provider, *command.places])
    subprocess.run(["sh", "-c", script.format(words=words)], cwd=ROOT, env=bare_environment(), check=True)

    assert mode_of(tmp_path / "state") == 0o700
    assert mode_of(tmp_path / "state" / "link.json") == 0o600
    assert mode_of(tmp_path / "run" / "token.json") == 0o640


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_the_exit_code_is_told_though_people_cannot_be(tmp_path: Path, where: str) -> None:
    words = [sys.executable, "-m", "device_auth", "token", "--state-dir", "state", "--runtime-dir", "run"]

    ran = subprocess.run(
        ["sh", "-c", f'"$@" {where}', "sh", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert ran.returncode == 75


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        (None, 75),  # and no token yet
        (Mark.REVOKED, 77),
        (Mark.MISCONFIGURED, 78),
        (Mark.HANDED_OVER, 75),
    ],
)
def test_a_check_of_the_status_ends_with_the_code_of_the_cause(
    command: Command, capsys: pytest.CaptureFixture[str], mark: Mark | None, code: int
) -> None:
    with FileStore(command.folder / "state") as store:
        store.replace(replace(make_link(), is_proved=True, mark=mark))

    assert command.run("status", "--check") == code
    assert capsys.readouterr().out.startswith(f"unhealthy ({'no-fresh-token' if mark is None else mark}): ")
    assert command.run("status", "--check", "--json") == code
    assert json.loads(capsys.readouterr().out)["status"] == "unhealthy"
