"""The page's settings, its places to listen, and what it thinks of a request before it answers."""

import re
import socket
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_auth.core.errors import ConfigError
from device_auth.http.connection import HttpError, read_head, read_length
from device_auth.service.page import (
    READ_LIMITS,
    PageSettings,
    check_request,
    open_listener,
    read_page_settings,
)
from tests.ipv6 import needs_ipv6

ROOT: Final = Path(__file__).parents[2]
OWN = ip_address("192.168.1.5")
NAMES = {"speaker", "speaker.local"}


def head(line: str, *fields: str, host: str = "speaker.local:8080") -> bytes:
    return "\r\n".join([line, *([f"Host: {host}"] if host else []), *fields, "", ""]).encode("latin-1")


def refusal(head: bytes) -> HttpError | None:
    try:
        request = read_head(head.decode("latin-1").removesuffix("\r\n\r\n"))
        read_length(request.headers, READ_LIMITS.body)
        check_request(request, OWN, NAMES)
    except HttpError as error:
        return error
    return None


def fault(line: str, *fields: str, host: str = "speaker.local:8080") -> int | None:
    error = refusal(head(line, *fields, host=host))
    return None if error is None else error.status.value


# -- settings


def test_nothing_said_means_the_usual_port_on_every_ipv4_address() -> None:
    assert read_page_settings(None, "de-DE") == PageSettings(("0.0.0.0:8080",), (), "de-DE")


def test_a_page_can_be_switched_off() -> None:
    assert read_page_settings("off") is None


def test_places_and_names_are_taken_from_the_table() -> None:
    table = {"listen": ["192.168.1.5:80", "[::]:8080", "wlan0:8080"], "hosts": ["music.home"]}

    assert read_page_settings(table) == PageSettings(
        ("192.168.1.5:80", "[::]:8080", "wlan0:8080"), ("music.home",)
    )


@pytest.mark.parametrize(
    "table",
    [
        "on",
        True,
        [],
        {"port": 80},
        {"listen": "0.0.0.0:8080"},
        {"listen": [8080]},
        {"listen": ["8080"]},
        {"listen": [":8080"]},
        {"listen": ["127.0.0.1"]},
        {"listen": ["0.0.0.0:65536"]},
        {"listen": ["0.0.0.256:80"]},
        {"listen": ["::1:8080"]},
        {"listen": ["[::1:8080"]},
        {"listen": ["[wlan0]:8080"]},
        {"listen": ["[::g]:8080"]},
        {"listen": ["an-interface-with-a-long-name:80"]},
        {"listen": ["wlan 0:80"]},
        {"hosts": "music.home"},
        {"hosts": ["music home"]},
        {"hosts": ["music.home:80"]},
        {"hosts": [""]},
    ],
)
def test_what_cannot_be_meant_is_refused_with_an_example(table: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read_page_settings(table)

    assert "page" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "place", ["127.0.0.1:0", *(pytest.param(place, marks=needs_ipv6) for place in ("[::1]:0", "lo:0"))]
)
def test_it_listens_at_an_address_or_an_interface(place: str) -> None:
    with open_listener(place) as listener:
        host = "127.0.0.1" if listener.family is socket.AF_INET else "::1"
        with socket.create_connection((host, listener.getsockname()[1])):
            listener.accept()[0].close()


def test_an_interface_takes_both_kinds_of_address() -> None:
    with (
        open_listener("lo:0") as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
    ):
        listener.accept()[0].close()


@pytest.mark.parametrize("place", ["192.0.2.77:0", "none-such:0"])
def test_a_place_that_is_not_there_cannot_be_had(place: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        open_listener(place)


def test_the_port_that_avahi_announces_is_the_usual_one() -> None:
    tree = ElementTree.parse(ROOT / "deploy" / "avahi" / "device-auth.service")  # noqa: S314  our own file

    assert tree.findtext("service/port") == PageSettings().listen[0].rpartition(":")[2]


def test_the_examples_of_the_documentation_are_settings() -> None:
    text = (ROOT / "docs" / "page.md").read_text()
    tables = [tomllib.loads(block)["page"] for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    named = re.findall(r'#.*?"([^"]+)", "([^"]+)", or an interface: "([^"]+)"', text)

    assert [read_page_settings(table) is None for table in tables] == [False, True]
    assert read_page_settings({"listen": list(named[0])})


# -- a request


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "HEAD / HTTP/1.1",
        "GET /?from=label HTTP/1.1",
        "GET / HTTP/1.0",
        "GET /events HTTP/1.1",
    ],
)
def test_the_page_and_its_events_can_be_had(line: str) -> None:
    assert fault(line) is None


@pytest.mark.parametrize("path", ["/left", "/back"])
@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_an_action_is_posted_as_json(path: str, kind: str) -> None:
    assert fault(f"POST {path} HTTP/1.1", f"Content-Type: {kind}", "Content-Length: 2") is None


@pytest.mark.parametrize(
    "fields", [(), ("Content-Type: text/plain",), ("Content-Type: application/x-www-form-urlencoded",)]
)
def test_an_action_as_anything_else_is_refused(fields: tuple[str, ...]) -> None:
    assert fault("POST /left HTTP/1.1", *fields) == 415


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "192.168.1.6", "localhost"])
@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "GET /events HTTP/1.1", "POST /left HTTP/1.1"])
def test_another_name_is_misdirected(line: str, host: str) -> None:
    assert fault(line, "Content-Type: application/json", host=host) == 421


@pytest.mark.parametrize(
    ("line", "fields", "host"),
    [
        ("GET / HTTP/1.1", (), ""),
        ("GET / HTTP/1.1", ("Host: speaker.local",), "speaker.local"),
        ("GET http://speaker.local/ HTTP/1.1", (), "speaker.local"),
        ("OPTIONS * HTTP/1.1", (), "speaker.local"),
        ("GET /", (), "speaker.local"),
        ("nonsense", (), ""),
        ("", (), ""),
        ("GET / HTTP/1.1", ("Content-Length: -1",), "speaker.local"),
        ("GET / HTTP/1.1", ("Content-Length: 1", "Content-Length: 2"), "speaker.local"),
        ("GET / HTTP/1.1", ("Content-Length: ٣",), "speaker.local"),
    ],
)
def test_what_is_no_plain_request_is_bad(line: str, fields: tuple[str, ...], host: str) -> None:
    text = "\r\n".join([line, *([f"Host: {host}"] if host else []), *fields, "", ""])
    answer = refusal(text.encode())

    assert answer is not None
    assert answer.status.value == 400


@pytest.mark.parametrize("path", ["/admin", "/left/", "/link", "/unlink", "/../etc/passwd", "/page.js"])
def test_there_is_nothing_else(path: str) -> None:
    assert fault(f"GET {path} HTTP/1.1") == 404


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("POST / HTTP/1.1", "GET, HEAD"),
        ("OPTIONS /left HTTP/1.1", "POST"),
        ("GET /left HTTP/1.1", "POST"),
        ("PUT /events HTTP/1.1", "GET"),
    ],
)
def test_another_method_is_told_which_there_are(line: str, allowed: str) -> None:
    answer = refusal(head(line))

    assert answer is not None
    assert (answer.status.value, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("field", ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example"])
@pytest.mark.parametrize("line", ["GET /events HTTP/1.1", "POST /left HTTP/1.1", "POST /back HTTP/1.1"])
def test_a_page_of_another_site_gets_neither_events_nor_actions(line: str, field: str) -> None:
    assert fault(line, "Content-Type: application/json", field) == 403


def test_a_link_on_another_site_may_lead_to_the_page() -> None:
    assert fault("GET / HTTP/1.1", "Sec-Fetch-Site: cross-site") is None


def test_a_body_is_small() -> None:
    kind = "Content-Type: application/json"

    assert fault("POST /left HTTP/1.1", kind, f"Content-Length: {READ_LIMITS.body}") is None
    assert fault("POST /left HTTP/1.1", kind, f"Content-Length: {READ_LIMITS.body + 1}") == 413


def test_a_version_to_come_is_not_spoken() -> None:
    assert fault("GET / HTTP/2.0") == 505


def test_a_client_that_asks_before_it_sends_is_not_answered_twice() -> None:
    assert fault("POST /left HTTP/1.1", "Content-Type: application/json", "Expect: 100-continue") is None


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_at_all_are_a_request_or_a_fault(sent: bytes, is_begun: bool) -> None:
    begun = b"GET / HTTP/1.1\r\nHost: speaker.local\r\n" if is_begun else b""

    refusal(begun + sent.replace(b"\r\n\r\n", b"") + b"\r\n\r\n")
