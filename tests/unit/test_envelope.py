import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Link, Mark, UnixTime, hand_over
from device_auth.world.envelope import Damaged, Plain, read_envelope, write_envelope
from tests.links import make_link

PLAIN = (Plain(),)


def written(link: Link) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(write_envelope(link, Plain()))
    return members


def rewritten(envelope: dict[str, Any]) -> bytes:
    """Write it with a checksum that fits, as another program might."""
    body = json.dumps(envelope["link"], sort_keys=True, separators=(",", ":"))
    return json.dumps({**envelope, "sha256": hashlib.sha256(body.encode()).hexdigest()}).encode()


def test_the_envelope_has_the_documented_members() -> None:
    envelope = written(make_link(replaces=make_link("berta")))

    assert list(envelope) == ["version", "key_provider", "sha256", "link"]
    assert envelope["version"] == 1
    assert envelope["key_provider"] == "plain"
    assert set(envelope["link"]) == set(Link.__dataclass_fields__)
    assert envelope["link"]["replaces"]["link_id"] == "berta"
    assert envelope["link"]["linked_at"] == 1.8e9


def test_members_that_are_not_known_are_passed_over() -> None:
    envelope = written(make_link())
    envelope["link"]["colour"] = "orange"
    envelope["shape"] = {"round": True}

    assert read_envelope(rewritten(envelope), PLAIN) == make_link()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("link_id", "", "link_id is empty"),
        ("link_id", 7, "link_id is not a text"),
        ("refresh_token", "", "refresh_token is empty"),
        ("refresh_token", "\ud800", "refresh_token is not a text"),
        ("dialect", "klingon", "dialect is none of the known words"),
        ("flow", None, "flow is not a text"),
        ("linked_at", True, "linked_at is not a number"),
        ("linked_at", "today", "linked_at is not a number"),
        ("linked_at", 10**400, "linked_at is too large"),
        ("is_proved", 1, "is_proved is neither true nor false"),
        ("account", 1, "account is not a text"),
        ("mark", "lost", "mark is none of the known words"),
        ("marked_at", [], "marked_at is not a number"),
        ("replaces", "berta", "replaces is not an object"),
        ("handed_over_to", 7, "handed_over_to is not a text"),
    ],
)
def test_a_field_of_the_wrong_form_is_named(name: str, value: object, message: str) -> None:
    envelope = written(make_link())
    envelope["link"][name] = value

    with pytest.raises(Damaged, match=message):
        read_envelope(rewritten(envelope), PLAIN)


@pytest.mark.parametrize("name", sorted(Link.__dataclass_fields__.keys() - {"handed_over_to"}))
def test_every_field_must_be_there(name: str) -> None:
    envelope = written(make_link())
    del envelope["link"][name]

    with pytest.raises(Damaged, match=f"{name} is missing"):
        read_envelope(rewritten(envelope), PLAIN)


def test_what_an_earlier_program_wrote_says_of_no_one_whom_it_was_handed_to() -> None:
    envelope = written(make_link())
    del envelope["link"]["handed_over_to"]

    assert read_envelope(rewritten(envelope), PLAIN) == make_link()


def test_a_link_that_was_handed_over_needs_no_refresh_token() -> None:
    link = hand_over(make_link(), "json, /etc/client.json", UnixTime(1.9e9))

    content = write_envelope(link, Plain())

    assert read_envelope(content, PLAIN) == link
    assert b"canary" not in content


@pytest.mark.parametrize("mark", [None, *(mark for mark in Mark if mark is not Mark.HANDED_OVER)])
def test_no_other_link_goes_without_a_refresh_token(mark: Mark | None) -> None:
    link = replace(hand_over(make_link(), "json", UnixTime(1.9e9)), mark=mark)

    with pytest.raises(Damaged, match="refresh_token is empty"):
        read_envelope(write_envelope(link, Plain()), PLAIN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 60000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b'{"version": NaN}', "not JSON"),
        (b" " * 65537, "too large"),
        (b"[]", "it is not an object"),
        (b"{}", "version is missing"),
        (b'{"version": "1"}', "version is not a number"),
        (b'{"version": 0}', "version is not known"),
        (b'{"version": 1e999}', "version is too large"),
        (b'{"version": 1}', "key_provider is missing"),
        (b'{"version": 1, "key_provider": "plain"}', "link is missing"),
        (b'{"version": 1, "key_provider": "plain", "link": {}}', "sha256 is missing"),
        (b'{"version": 1, "key_provider": "plain", "link": 1e999, "sha256": ""}', "checksum"),
    ],
)
def test_what_is_no_envelope_is_damaged(content: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message) as caught:
        read_envelope(content, PLAIN)

    assert caught.value.link_id is None


def test_damage_still_says_whose_link_it_was() -> None:
    content = write_envelope(make_link(), Plain()).replace(b"canary", b"kanary")

    with pytest.raises(Damaged, match="the checksum does not fit") as caught:
        read_envelope(content, PLAIN)

    assert caught.value.link_id == "anna"


def test_a_newer_version_is_no_damage() -> None:
    with pytest.raises(StoreError, match="version 2") as caught:
        read_envelope(b'{"version": 2}', PLAIN)

    assert not isinstance(caught.value, Damaged)


def test_no_message_holds_a_part_of_the_content() -> None:
    content = write_envelope(make_link(), Plain())

    for end in range(len(content) - 2):
        with pytest.raises(Damaged) as caught:
            read_envelope(content[:end], PLAIN)
        assert "canary" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
