"""The file for Prometheus: what it counts, when it is written, and that nothing private is in it."""

import logging
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from device_auth import __version__
from device_auth.core import speaker
from device_auth.core.linking import PollToken, StoreFailed
from device_auth.core.models import (
    Answer,
    Pending,
    Refusal,
    SlowDown,
    TimePassed,
    Unclear,
    Unreachable,
    View,
)
from device_auth.core.states import StateWord, Trouble
from device_auth.service.metrics import Metrics
from device_auth.service.status_feed import StatusFeed
from device_auth.world.token_files import FileTokens
from tests.links import StillClock, make_grant, make_link, make_pending

Write = Callable[[], None]

POLL = PollToken(make_pending().pair)
REFRESH = speaker.RequestRefresh(1, make_link())


class Service:
    """A feed and the file that follows it; what is to be done soon is done when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.clock = StillClock()
        self.feed = StatusFeed(self.clock, FileTokens(None, self.clock))
        self.due: list[Write] = []
        self.file = folder / "metrics.prom"
        self.metrics = Metrics(folder, self.feed.look, self.clock, self.due.append)

    def hear(self, *events: speaker.Event) -> None:
        for event in events:
            self.metrics.hear(event)
        while self.due:
            self.due.pop()()

    def answered(self, question: speaker.Question, answer: Answer, *, is_late: bool = False) -> None:
        self.hear(speaker.CallAnswered(question, answer, 0.5, is_late))

    def families(self) -> dict[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(self.file.read_text())}

    def value(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for family in self.families().values()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        (value,) = found
        return float(value)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_the_file_can_be_read_by_prometheus_and_its_names_follow_the_conventions(service: Service) -> None:
    service.hear(TimePassed())

    families = service.families()
    assert len(families) == 9
    for name, family in families.items():
        assert re.fullmatch(r"device_auth(_[a-z]+)+", name)
        assert family.documentation.endswith(".")
        assert family.samples
        for sample in family.samples:
            # the parser takes the ending from a counter's family, and leaves it on the samples
            assert sample.name.endswith("_total") is (family.type == "counter")
            assert set(sample.labels) <= {"state", "trouble", "outcome", "version"}
    assert {family.type for family in families.values()} == {"gauge", "counter"}
    assert service.value("device_auth_build_info", version=__version__) == 1
    assert service.file.read_text().endswith("\n")


@pytest.mark.parametrize(("state", "trouble"), [("linked", "no-network"), ("waiting", "none")])
def test_exactly_one_state_and_one_trouble_is_1(service: Service, state: str, trouble: str) -> None:
    service.feed.tell(View(StateWord(state), Trouble(trouble)), None)
    service.hear(TimePassed())

    for name, words, told in (("state", StateWord, state), ("trouble", Trouble, trouble)):
        values = {word: service.value(f"device_auth_{name}", **{name: word}) for word in words}
        assert values == {word: float(word == told) for word in words}


def test_the_end_of_the_token_is_a_moment_and_follows_a_clock_that_is_set(service: Service) -> None:
    service.hear(TimePassed())
    assert service.value("device_auth_token_expiry_timestamp_seconds") == 0
    assert service.value("device_auth_start_time_seconds") == 1.8e9

    service.feed.publish(make_grant())
    service.hear(TimePassed())
    assert service.value("device_auth_token_expiry_timestamp_seconds") == 1.8e9 + 3600

    service.clock.unix += 1e6
    service.feed.follow_clock_step()
    service.hear(TimePassed())
    assert service.value("device_auth_token_expiry_timestamp_seconds") == 1.8e9 + 1e6 + 3600
    assert service.value("device_auth_start_time_seconds") == 1.8e9 + 1e6

    service.feed.withdraw()
    service.hear(TimePassed())
    assert service.value("device_auth_token_expiry_timestamp_seconds") == 0


@pytest.mark.parametrize(
    ("question", "name"),
    [(POLL, "device_auth_polls_total"), (REFRESH, "device_auth_refreshes_total")],
    ids=["polls", "refreshes"],
)
def test_each_request_is_counted_once_by_what_became_of_it(
    service: Service, question: speaker.Question, name: str
) -> None:
    outcomes: dict[str, Answer] = {
        "granted": make_grant(),
        "pending": Pending(),
        "slow_down": SlowDown(),
        "refused": Refusal(Trouble.DENIED, "access_denied", "", ""),
        "unreachable": Unreachable(Trouble.NO_NETWORK, "no route"),
        "unclear": Unclear(Trouble.CAPTIVE_PORTAL, "HTML"),
        "timed_out": Unreachable(Trouble.NO_NETWORK, "no answer", timed_out=True),
    }
    for answer in outcomes.values():
        service.answered(question, answer)
    assert all(service.value(name, outcome=outcome) == 1 for outcome in outcomes)

    service.hear(speaker.CallTimedOut(question, 0.5))
    service.answered(question, make_grant(), is_late=True)
    assert service.value(name, outcome="timed_out") == 2
    assert service.value(name, outcome="granted") == 1
    other = {"device_auth_polls_total", "device_auth_refreshes_total"} - {name}
    assert all(service.value(each, outcome="granted") == 0 for each in other)


def test_saves_and_links_are_counted(service: Service) -> None:
    service.hear(speaker.GrantStored(make_link()), speaker.LinkStored(1, make_link()))
    service.hear(speaker.LinkNotStored(1, make_link()), StoreFailed("full", ""))

    assert service.value("device_auth_saves_total", outcome="stored") == 2
    assert service.value("device_auth_saves_total", outcome="failed") == 2
    assert service.value("device_auth_links_total") == 1


def test_events_that_come_together_are_one_write_and_one_that_changes_nothing_is_none(
    service: Service,
) -> None:
    service.metrics.hear(TimePassed())
    service.metrics.hear(speaker.GrantStored(make_link()))
    assert len(service.due) == 1
    service.hear()
    before = service.file.stat()

    service.hear(TimePassed())

    assert service.file.stat().st_ino == before.st_ino
    assert stat.S_IMODE(before.st_mode) == 0o644


def test_nothing_private_is_in_it(service: Service) -> None:
    service.feed.tell(View(StateWord.LINKED, Trouble.NONE, account="Anna"), make_link())
    service.feed.publish(make_grant())
    service.answered(REFRESH, Refusal(Trouble.REVOKED, "canary-provider", "canary-reason", "canary-hint"))

    assert re.findall("canary|Anna|amzn1|Atz", service.file.read_text()) == []


def test_a_file_that_cannot_be_written_is_told_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("no folder")
    service = Service(tmp_path / "run")

    with caplog.at_level(logging.WARNING):
        service.hear(TimePassed())
        service.hear(speaker.GrantStored(make_link()))
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot write {tmp_path}/run/metrics.prom: a part of the path is not a folder"
    ]

    (tmp_path / "run").unlink()
    service.hear(TimePassed())
    assert service.value("device_auth_links_total") == 1


def test_it_is_removed_at_the_end_and_a_second_time_does_no_harm(service: Service, tmp_path: Path) -> None:
    service.hear(TimePassed())

    service.metrics.remove()
    service.metrics.remove()

    assert list(tmp_path.iterdir()) == []


def test_without_a_runtime_folder_there_is_no_file(service: Service) -> None:
    metrics = Metrics(None, service.feed.look, service.clock, lambda write: write())

    metrics.hear(TimePassed())
    metrics.remove()
