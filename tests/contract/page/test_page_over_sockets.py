"""The page over real sockets: what it gives, what it keeps to itself, and what hostile visitors can do to it."""

import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from device_auth.core.errors import ConfigError
from device_auth.core.models import Seconds, View
from device_auth.core.states import OneTimeNotice, StateWord, Trouble
from device_auth.http.admission import ConnectionLimits
from device_auth.http.connection import ReadLimits
from device_auth.http.server import MOST_IDLE
from device_auth.prompts.wording import read_wording
from device_auth.service.page import ADMISSION, READ_LIMITS, Page, PageSettings, open_listener
from device_auth.service.page_view import NOTICE_FOR
from device_auth.service.visitors import Nearness
from tests.ipv6 import needs_ipv6
from tests.page_bench import PREFILLED, PRESS, Bench, read_all
from tests.threads import no_room_for_threads, threads_of
from tests.waiting import LONG

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("page")]


@pytest.fixture
def limited() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(limits: ReadLimits = READ_LIMITS, **admission: float) -> Bench:
        given = ConnectionLimits(**{**ADMISSION._asdict(), **admission})
        benches.append(Bench(admission=given, limits=limits))
        return benches[-1].__enter__()

    yield make
    for each in benches:
        each.__exit__(None, None, None)


# -- what it gives


def test_the_page_tells_the_newest_news(bench: Bench) -> None:
    assert PRESS in bench.get()
    bench.wait_for_approval()
    assert PREFILLED in bench.get()
    bench.link(account="anna")
    page = bench.get()

    assert "Done. This speaker is now linked" in page
    assert "anna" in page
    assert "Hold the button for five seconds" in page
    assert "FUP8UN" not in page


def test_a_code_is_on_the_page_only_from_a_press_to_the_end_of_the_pair(bench: Bench) -> None:
    assert "FUP8UN" not in bench.get()
    bench.wait_for_approval()
    assert "FUP8UN" in bench.get()
    bench.clock.ahead = 600

    assert "FUP8UN" not in bench.get()


def test_the_countdown_is_the_pairs_own(bench: Bench) -> None:
    bench.wait_for_approval()
    bench.clock.ahead = 100

    assert 'data-left="480"' in bench.get() or 'data-left="481"' in bench.get()


def test_a_visitor_is_spoken_to_in_his_language(bench: Bench) -> None:
    answer = bench.ask("GET", "/", {"Accept-Language": "fr-CA,fr;q=0.8,en;q=0.5"})

    assert answer.fields["Content-Language"] == "fr-CA"
    assert answer.fields["Vary"] == "Accept-Language"
    assert '<html lang="fr-CA" dir="ltr">' in answer.body.decode()


def test_without_script_a_browser_looks_again(bench: Bench) -> None:
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in bench.get()


def test_a_head_has_no_body(bench: Bench) -> None:
    answer = bench.ask("HEAD", "/")

    assert answer.status == 200
    assert int(answer.fields["Content-Length"]) > 1000
    assert answer.body == b""


@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_every_answer_is_closed_against_script_framing_caching_and_other_sites(
    bench: Bench, path: str
) -> None:
    fields = bench.ask("GET", path).fields

    assert fields["Content-Security-Policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in fields["Content-Security-Policy"]
    assert fields["Referrer-Policy"] == "no-referrer"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Cache-Control"] == "no-store"
    assert not {name for name in fields if re.match("(?i)access-control|set-cookie|server", name)}


def test_the_page_is_small(bench: Bench) -> None:
    bench.wait_for_approval()

    assert len(bench.ask("GET", "/").body) < 20_000


# -- events


def test_a_visitor_is_told_what_changes(bench: Bench) -> None:
    with bench.events() as stream:
        assert "200 OK" in stream.head
        assert "text/event-stream" in stream.head
        assert stream.next() == "retry: 3000"
        assert PRESS in stream.next()
        bench.show(StateWord.REQUESTING)
        while (told := stream.next()) == ": still here":
            pass
        assert "I am asking for a code" in told
        bench.wait_for_approval()
        assert "FUP8UN" in stream.next()
        bench.link()
        assert "Done." in stream.next()


def test_a_held_button_is_told_and_forgotten_with_the_next_heartbeat(bench: Bench) -> None:
    held = View(StateWord.UNLINKED, Trouble.NONE, notice=OneTimeNotice.HELD_UNLINK)
    said = read_wording("en").moments["held-unlink"]
    with bench.events() as stream:
        stream.next()
        before = stream.next()
        bench.feed.tell(held, None)
        while (told := stream.next()) == ": still here":
            pass
        opened_meanwhile = bench.get()
        bench.clock.ahead = NOTICE_FOR
        bench.feed.beat()

        assert said in told
        assert said in opened_meanwhile
        assert stream.next() == before


def test_news_that_changes_nothing_on_the_page_is_not_told(bench: Bench) -> None:
    with bench.events() as stream:
        stream.next()
        stream.next()
        bench.feed.refresh_ended()
        bench.show(StateWord.UNLINKED)
        bench.show(StateWord.REQUESTING)
        while (told := stream.next()) == ": still here":
            pass

        assert "I am asking for a code" in told


def test_a_code_that_runs_out_vanishes_by_itself(bench: Bench) -> None:
    bench.wait_for_approval()
    with bench.events() as stream:
        stream.next()
        assert "FUP8UN" in stream.next()
        bench.clock.ahead = 600
        bench.feed.refresh_ended()  # the loop publishes something when a code ends

        assert "FUP8UN" not in stream.next()


def test_a_silent_stream_has_a_heartbeat() -> None:
    with Bench() as bench, bench.events() as stream:
        stream.next()
        stream.next()
        bench.feed.beat()

        assert stream.next() == ": still here"


def test_the_thread_of_a_stream_ends_when_its_visitor_leaves(bench: Bench) -> None:
    with bench.events() as stream:
        stream.next()
        stream.next()

        with bench.events() as other:
            other.next()

    assert bench.soon(lambda: threads_of("page connection") <= MOST_IDLE)


@pytest.mark.parametrize("kind", ["streams", "silence"])
def test_a_neighbour_with_four_addresses_leaves_the_owner_each_load(kind: str) -> None:
    """He held every place: the owner had one load of twelve."""
    with Bench() as bench, ExitStack() as greedy:
        for number in range(12):
            for host in range(2, 6):
                for _ in range(2):
                    connection = greedy.enter_context(bench.connect(f"127.0.0.{host}"))
                    if kind == "streams":
                        with suppress(OSError):
                            connection.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            stream = bench.events()
            assert stream.head.startswith("HTTP/1.1 200 "), number
            assert bench.ask("GET", "/").status == 200, number
            stream.close()


def test_a_closing_page_ends_its_streams(bench: Bench) -> None:
    with bench.events() as stream:
        stream.next()
        stream.next()
        bench.page.close()

        assert stream.is_over()


def test_a_stream_whose_visitor_has_gone_makes_room_for_another(
    limited: Callable[..., Bench],
) -> None:
    bench = limited(streams=1, burst_share=10_000, burst=10_000)
    with bench.events() as stream:
        stream.next()
        assert bench.ask("GET", "/events").status == 503

    assert bench.soon(lambda: status_of_events(bench) == 200)


def status_of_events(bench: Bench) -> int:
    with bench.events() as stream:
        return int(stream.head.split()[1])


# -- actions


def test_the_page_tells_that_the_owner_leaves_comes_back_or_looks_for_it(bench: Bench) -> None:
    paths = ("/left", "/back", "/identify")
    left, back, asked = (bench.ask("POST", path, JSON, "{}") for path in paths)

    assert (left.status, back.status, asked.status) == (204, 204, 204)
    assert "Content-Length" not in left.fields
    assert [bench.actions.next() for _ in paths] == ["left", "back", "identify"]


@pytest.mark.parametrize("body", ["", "{", '{"unlink": true}'])
def test_what_a_beacon_holds_makes_no_difference(bench: Bench, body: str) -> None:
    assert bench.ask("POST", "/left", JSON, body).status == 204


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Content-Type": "text/plain"},
        {**JSON, "Sec-Fetch-Site": "cross-site"},
        {**JSON, "Sec-Fetch-Site": "same-site"},
        {**JSON, "Origin": "http://evil.example"},
        {**JSON, "Host": "evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/left", "/identify"])
def test_a_page_of_another_site_cannot_tell_anything(bench: Bench, fields: dict[str, str], path: str) -> None:
    assert bench.ask("POST", path, fields, "{}").status in {403, 415, 421}
    assert bench.actions.asked.empty()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/link", "/unlink", "/v1/link", "/v1/token", "/reset", "/?unlink", "/left"])
def test_nothing_on_the_page_links_or_unlinks(bench: Bench, method: str, path: str) -> None:
    bench.ask(method, path)

    assert bench.actions.asked.empty()


# -- who is answered


@pytest.mark.parametrize("nearness", [Nearness.FAR, Nearness.OTHER_NETWORK])
def test_whoever_is_no_neighbour_reads_why_in_his_language_and_nothing_else(nearness: Nearness) -> None:
    with Bench(nearness=nearness) as bench:
        bench.wait_for_approval()
        for path in ("/", "/events", "/nothing"):
            answer = bench.ask("GET", path, {"Accept-Language": "de"})
            page = answer.body.decode()

            assert (answer.status, answer.fields["Content-Language"]) == (403, "de")
            assert "antwortet nur Geräten in seinem eigenen Netz" in page
            assert "FUP8UN" not in page
            assert (bench.origin in page) is (nearness is Nearness.OTHER_NETWORK)
        assert b" 403 " in bench.send_raw(b"POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        assert bench.actions.asked.empty()


def test_strangers_have_one_share_together() -> None:
    with (
        Bench(nearness=Nearness.OTHER_NETWORK, admission=ADMISSION._replace(share=2)) as bench,
        bench.connect("127.0.0.2"),
        bench.connect("127.0.0.3"),
        bench.connect("127.0.0.4") as third,
    ):
        refused = read_all(third)

    assert refused.startswith(b"HTTP/1.1 429 ")


@pytest.mark.parametrize(
    ("line", "host", "status", "said"),
    [
        ("GET /", "evil.example", 421, "The speaker does not answer to this name."),
        ("GET /secret-path", "127.0.0.1", 404, "There is no such page on the speaker."),
        ("GET /left", "127.0.0.1", 405, "The speaker could not answer this request."),
        ("POST /left", "127.0.0.1", 415, "The speaker could not answer this request."),
        ("GET http://evil.example/", "127.0.0.1", 400, "The speaker could not answer this request."),
        (
            "POST /left",
            "127.0.0.1\r\nOrigin: http://evil.example",
            403,
            "The speaker could not answer this request.",
        ),
        ("GET / evil.example", "127.0.0.1", 400, "The speaker could not answer this request."),
        (
            "POST /left",
            "127.0.0.1\r\nTransfer-Encoding: chunked",
            400,
            "The speaker could not answer this request.",
        ),
    ],
)
def test_every_refusal_is_a_small_page_that_says_which_address_to_open(
    bench: Bench, line: str, host: str, status: int, said: str
) -> None:
    bench.wait_for_approval()
    answer = bench.send_raw(
        f"{line} HTTP/1.1\r\nHost: {host}\r\nAccept-Language: en\r\n\r\n".encode()
    ).decode()
    head, page = answer.split("\r\n\r\n", 1)

    assert head.startswith(f"HTTP/1.1 {status} ")
    assert said in page
    assert f'href="{bench.origin}/"' in page
    assert "<script" not in page
    assert len(answer) < 6000
    assert not {"evil", "secret", "FUP8UN"} & set(re.findall(r"\w+", answer))


def test_a_crowd_is_told_in_its_language_where_the_request_has_come_already(
    limited: Callable[..., Bench],
) -> None:
    bench = limited(share=1)
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Language: fr\r\n\r\n"

    def is_told() -> bool:
        with bench.connect(), bench.connect() as second, suppress(OSError):
            second.sendall(request)
            told = read_all(second).decode()
            return "429" in told.split("\r\n")[0] and "Trop de visiteurs" in told
        return False

    assert bench.soon(is_told)


def test_a_crowd_that_has_not_asked_is_told_in_the_speakers_own_language() -> None:
    settings = PageSettings(("127.0.0.1:0",), locale="it-IT")
    with (
        Bench(settings=settings, admission=ADMISSION._replace(share=1)) as bench,
        bench.connect(),
        bench.connect() as second,
    ):
        told = read_all(second).decode()

    assert "Content-Language: it" in told
    assert "troppi visitatori" in told


def test_a_refused_head_has_no_body(bench: Bench) -> None:
    answer = bench.ask("HEAD", "/nothing")

    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:0", "127.0.0.1"), pytest.param("[::1]:0", "::1", marks=needs_ipv6), ("lo:0", "127.0.0.1")],
)
def test_a_program_on_this_machine_reads_no_code(listen: str, address: str) -> None:
    """Any user of this machine could read it, and approve it with an account of his own."""
    with Bench(nearness=None, settings=PageSettings((listen,))) as bench:
        bench.wait_for_approval()
        with bench.events(address) as stream:
            stream.next()
            told = stream.next()
        page = bench.get() if address == "127.0.0.1" else told

        for said in (told, page):
            assert "every program there could read it" in said
            assert "FUP8UN" not in said
            assert "amazon.com" not in said


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "127.0.0.1"])
def test_a_program_on_this_machine_reads_the_code_where_the_settings_name_it(name: str) -> None:
    with Bench(nearness=None, settings=PageSettings(("127.0.0.1:0",), hosts=(name,))) as bench:
        bench.wait_for_approval()

        assert "FUP8UN" in bench.get()


@pytest.mark.parametrize(
    ("listen", "hosts", "shows"),
    [
        ("127.0.0.1:0", (), False),
        ("127.0.0.1:0", ("music.home",), False),
        ("127.0.0.1:0", ("localhost",), True),
        ("0.0.0.0:0", (), True),
    ],
)
def test_a_page_that_no_phone_can_reach_shows_no_code_and_says_so_in_the_log(
    caplog: pytest.LogCaptureFixture, listen: str, hosts: tuple[str, ...], *, shows: bool
) -> None:
    with Bench(settings=PageSettings((listen,), hosts)) as bench:
        assert bench.page.shows_codes is shows
        assert ('hosts = ["localhost"]' in caplog.text) is not shows


@needs_ipv6
def test_over_ipv6_the_address_is_the_literal_in_brackets() -> None:
    with Bench(settings=PageSettings(("[::1]:0",))) as bench:
        for host, status in (("[::1]", 200), ("[::1]:8080", 200), ("[::2]", 421), ("::1", 421)):
            with socket.create_connection(("::1", bench.port), LONG) as connection:
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert f" {status} " in read_all(connection).decode().splitlines()[0]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (socket.gethostname(), 200),
        (f"{socket.gethostname().partition('.')[0]}.local", 200),
        ("Music.Home", 200),
        ("127.0.0.1", 200),
        ("127.0.0.2", 421),
        ("localhost", 421),
        ("evil.example", 421),
    ],
)
def test_only_the_speakers_own_names_are_answered(host: str, status: int) -> None:
    with Bench(settings=PageSettings(("127.0.0.1:0",), hosts=("music.home",))) as bench:
        bench.wait_for_approval()
        answer = bench.ask("GET", "/", {"Host": host})

        assert answer.status == status
        assert (b"FUP8UN" in answer.body) == (status == 200)


# -- where it listens


def test_a_listening_socket_that_is_there_already_is_used() -> None:
    bench = Bench()
    with open_listener("127.0.0.1:0") as ready:
        page = Page(
            bench.feed, bench.actions, bench.clock, settings=PageSettings(("192.0.2.77:1",)), sockets=[ready]
        )
        page.start()
        assert page.addresses == [ready.getsockname()]
        with socket.create_connection(page.addresses[0], LONG) as connection:
            connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 404 " in read_all(connection)
        page.close()
        bench.page.close()


def test_a_place_that_is_not_there_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with Bench(settings=PageSettings(("192.0.2.77:0", "127.0.0.1:0"))) as bench:
        assert PRESS in bench.get()
        assert "192.0.2.77:0" in caplog.text


def test_a_page_that_can_be_served_nowhere_says_so() -> None:
    bench = Bench(settings=PageSettings(("192.0.2.77:0",)))
    with pytest.raises(ConfigError, match="cannot serve the page at any address"):
        bench.page.start()
    bench.page.close()


# -- hostile visitors


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200 + b"\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"POST /left HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_garbage_is_refused_and_the_next_visitor_served(bench: Bench, sent: bytes) -> None:
    answer = bench.send_raw(sent)

    assert re.match(rb"HTTP/1.1 [45]\d\d ", answer)
    assert b"The speaker could not answer this request." in answer
    assert PRESS in bench.get()


def test_a_head_beyond_all_bounds_is_refused(bench: Bench) -> None:
    answer = bench.send_raw(b"GET / HTTP/1.1\r\nA: " + b"a" * READ_LIMITS.head)

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_head_that_is_too_long_is_refused_though_it_has_an_end(bench: Bench) -> None:
    answer = bench.send_raw(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * READ_LIMITS.head + b"\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_megabyte_of_fields_hurts_nobody(bench: Bench) -> None:
    with bench.connect() as connection, suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200_000)

    assert PRESS in bench.get()


def test_a_large_body_is_refused_without_being_read(bench: Bench) -> None:
    sent = b"POST /left HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"

    assert bench.send_raw(sent).startswith(b"HTTP/1.1 413 ")
    assert bench.actions.asked.empty()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTT",
        b"POST /left HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_visitor_who_dies_in_the_middle_is_forgotten(bench: Bench, begun: bytes) -> None:
    with bench.connect() as connection:
        connection.sendall(begun)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""

    assert bench.actions.asked.empty()


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nHost",
        b"POST /left HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 256\r\n\r\n",
    ],
)
def test_a_visitor_who_drips_is_cut_off_however_fast_he_drips(
    limited: Callable[..., Bench], begun: bytes
) -> None:
    bench = limited(READ_LIMITS._replace(idle=Seconds(0.3), request=Seconds(0.3)))
    with bench.connect() as connection:
        connection.sendall(begun)
        drops = 0
        while not select.select([connection], [], [], 0.05)[0] and drops < 100:
            connection.sendall(b"x")
            drops += 1

        assert drops < 20
        assert read_all(connection) == b""
    assert bench.actions.asked.empty()


def test_one_visitor_may_not_have_many_connections(limited: Callable[..., Bench]) -> None:
    bench = limited(share=2)
    with bench.connect(), bench.connect(), bench.connect() as third:
        answer = read_all(third)

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 5\r\n" in answer


def test_a_visitor_who_hammers_is_held_back_and_soon_served_again(
    limited: Callable[..., Bench],
) -> None:
    bench = limited(burst_share=5, every_share=Seconds(30))

    assert [bench.ask("GET", "/").status for _ in range(7)] == [200] * 5 + [429] * 2
    bench.clock.ahead += 30
    assert bench.ask("GET", "/").status == 200


def test_too_many_visitors_at_once_wait_their_turn(limited: Callable[..., Bench]) -> None:
    bench = limited(burst=2, every=Seconds(0.05))
    before = bench.clock.now()

    assert [bench.ask("GET", "/").status for _ in range(6)] == [200] * 6
    assert bench.clock.now() - before >= 0.15


def test_without_room_for_another_thread_one_visitor_is_lost_only(bench: Bench) -> None:
    with no_room_for_threads(), bench.connect() as connection:
        lost = read_all(connection)

    assert lost == b""
    assert PRESS in bench.get()


def test_sixty_visitors_who_die_at_once_leave_the_page_whole(
    limited: Callable[..., Bench],
) -> None:
    bench = limited(burst_share=40)
    for _ in range(60):
        with bench.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def is_served() -> bool:
        bench.clock.ahead += 60
        return bench.ask("GET", "/").status == 200

    assert bench.soon(is_served)
    assert threading.active_count() < ADMISSION.places + 5


def test_a_page_that_was_never_started_closes() -> None:
    Bench().page.close()
