import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import DialectName, Link, Mark, UnixTime, hand_over
from device_auth.world.envelope import (
    EnvelopeDamaged,
    KeyMissing,
    KeyProvider,
    Plain,
    read_envelope,
    write_envelope,
)
from device_auth.world.sealing import SealingKey
from device_auth.world.settings import KEY_PROVIDERS
from tests.keys import keys_of, make_key
from tests.links import make_link

PLAIN = keys_of(Plain()).named
KEY = make_key()
NAMED = keys_of(KEY).named
GOLDEN: Final = Path(__file__).parent.parent / "golden"


def written(link: Link, key: KeyProvider = Plain()) -> dict[str, Any]:  # noqa: B008  nothing in it changes
    members: dict[str, Any] = json.loads(write_envelope(link, key))
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

    assert read_envelope(rewritten(envelope), PLAIN) == (make_link(), ("plain", ""))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("link_id", "", "link_id is empty"),
        ("link_id", 7, "link_id is not a text"),
        ("refresh_token", "", "refresh_token is empty"),
        ("refresh_token", "\ud800", "refresh_token is not a text"),
        ("dialect", "klingon", "dialect has an unknown value"),
        ("flow", None, "flow is not a text"),
        ("linked_at", True, "linked_at is not a number"),
        ("linked_at", "today", "linked_at is not a number"),
        ("linked_at", 10**400, "linked_at is too large"),
        ("is_proved", 1, "is_proved is neither true nor false"),
        ("account", 1, "account is not a text"),
        ("mark", "lost", "mark has an unknown value"),
        ("marked_at", [], "marked_at is not a number"),
        ("replaces", "berta", "replaces is not an object"),
        ("handed_over_to", 7, "handed_over_to is not a text"),
        ("dsn", None, "dsn is not a text"),
        ("board", 7, "board is not a text"),
        ("takes_secret", "yes", "takes_secret is neither true nor false"),
        ("account_id", 7, "account_id is not a text"),
    ],
)
def test_a_field_of_the_wrong_form_is_named(name: str, value: object, message: str) -> None:
    envelope = written(make_link())
    envelope["link"][name] = value

    with pytest.raises(EnvelopeDamaged, match=message):
        read_envelope(rewritten(envelope), PLAIN)


LATER: Final = {"handed_over_to", "dsn", "board", "takes_secret", "account_id", "secret_by_basic"}
"""Members that earlier programs did not write."""


@pytest.mark.parametrize("name", sorted(Link.__dataclass_fields__.keys() - LATER))
def test_every_field_must_be_there(name: str) -> None:
    envelope = written(make_link())
    del envelope["link"][name]

    with pytest.raises(EnvelopeDamaged, match=f"{name} is missing"):
        read_envelope(rewritten(envelope), PLAIN)


def test_what_an_earlier_program_wrote_is_read_without_what_it_did_not_know() -> None:
    envelope = written(make_link())
    for name in LATER:
        del envelope["link"][name]

    assert read_envelope(rewritten(envelope), PLAIN) == (make_link(), ("plain", ""))


def test_a_link_that_was_handed_over_needs_no_refresh_token() -> None:
    link = hand_over(make_link(), "json, /etc/client.json", UnixTime(1.9e9))

    content = write_envelope(link, Plain())

    assert read_envelope(content, PLAIN) == (link, ("plain", ""))
    assert b"canary" not in content


@pytest.mark.parametrize("mark", [None, *(mark for mark in Mark if mark is not Mark.HANDED_OVER)])
def test_no_other_link_goes_without_a_refresh_token(mark: Mark | None) -> None:
    link = replace(hand_over(make_link(), "json", UnixTime(1.9e9)), mark=mark)

    with pytest.raises(EnvelopeDamaged, match="refresh_token is empty"):
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
    with pytest.raises(EnvelopeDamaged, match=message) as caught:
        read_envelope(content, PLAIN)

    assert caught.value.link_id is None


def test_damage_still_says_whose_link_it_was() -> None:
    content = write_envelope(make_link(), Plain()).replace(b"canary", b"kanary")

    with pytest.raises(EnvelopeDamaged, match="the checksum does not match") as caught:
        read_envelope(content, PLAIN)

    assert caught.value.link_id == "anna"


def test_a_newer_version_is_no_damage() -> None:
    with pytest.raises(StoreError, match="version 3") as caught:
        read_envelope(b'{"version": 3}', PLAIN)

    assert not isinstance(caught.value, EnvelopeDamaged)


def test_no_message_holds_a_part_of_the_content() -> None:
    content = write_envelope(make_link(), Plain())

    for end in range(len(content) - 2):
        with pytest.raises(EnvelopeDamaged) as caught:
            read_envelope(content[:end], PLAIN)
        assert "canary" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


# ---------------------------------------------------------------------------------------------------------
# Sealed


def sealed_anew(envelope: dict[str, Any]) -> bytes:
    """Write it with a checksum that fits, as another program might."""
    members = {name: value for name, value in envelope.items() if name != "sha256"}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return json.dumps({**members, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def test_a_sealed_envelope_has_the_documented_members_and_shows_no_other() -> None:
    envelope = written(make_link(replaces=make_link("berta")), KEY)

    assert list(envelope) == [
        "version",
        "key_provider",
        "key_fingerprint",
        "link_id",
        "nonce",
        "sealed",
        "sha256",
    ]
    assert (envelope["version"], envelope["key_provider"], envelope["link_id"]) == (2, "key-file", "anna")
    assert "canary" not in json.dumps(envelope)
    assert "berta" not in json.dumps(envelope)
    assert b"canary" not in base64.b64decode(envelope["sealed"])


@pytest.mark.parametrize("name", KEY_PROVIDERS[:-1])
def test_what_is_sealed_comes_back_under_its_own_key_alone(name: str) -> None:
    key = make_key(name)
    link = make_link(replaces=make_link("berta"))
    content = write_envelope(link, key)

    assert read_envelope(content, keys_of(Plain(), key).named) == (link, (name, key.fingerprint))
    for others in (keys_of(Plain()), keys_of(make_key("other"))):
        with pytest.raises(KeyMissing, match=rf"the key is held by the service \({name}: "):
            read_envelope(content, others.named)
    with pytest.raises(KeyMissing, match=f"sealed under another key than the present one of {name}"):
        read_envelope(content, keys_of(make_key(name, "b")).named)


def test_no_two_writes_share_a_nonce_or_a_sealed_text() -> None:
    envelopes = [written(make_link(), KEY) for _ in range(500)]

    assert len({envelope["nonce"] for envelope in envelopes}) == 500
    assert len({envelope["sealed"] for envelope in envelopes}) == 500
    assert {len(bytes.fromhex(envelope["nonce"])) for envelope in envelopes} == {12}


def test_any_byte_that_changes_is_found_out() -> None:
    content = write_envelope(make_link(), KEY)

    for place in range(len(content)):
        for flip in (0x01, 0x80):
            changed = bytearray(content)
            changed[place] ^= flip
            if json_of(bytes(changed)) == json_of(content):
                continue  # one kind of blank for another
            with pytest.raises(StoreError) as caught:
                read_envelope(bytes(changed), NAMED)
            assert not isinstance(caught.value, KeyMissing)
            assert "canary" not in f"{caught.value}{caught.value.__cause__}"


def json_of(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def flipped(text: str) -> str:
    """Change the last digit of a text of digits."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def flipped_inside(text: str) -> str:
    sealed = bytearray(base64.b64decode(text))
    sealed[3] ^= 1
    return base64.b64encode(sealed).decode()


CHANGES: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "the owner's link": ("link_id", lambda _: "berta"),
    "the nonce": ("nonce", flipped),
    "a nonce that is none": ("nonce", lambda _: "zz"),
    "a short nonce": ("nonce", lambda nonce: nonce[:8]),
    "the sealed text": ("sealed", flipped_inside),
    "a sealed text that is none": ("sealed", lambda _: "***"),
    "an empty sealed text": ("sealed", lambda _: ""),
    "a cut sealed text": ("sealed", lambda text: text[:-8]),
    "a new member": ("colour", lambda _: "orange"),
    "the version's spelling": ("version", lambda _: 2.0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_with_a_checksum_that_fits_is_found_out_by_the_seal(
    change: tuple[str, Callable[[str], object]],
) -> None:
    envelope = written(make_link(), KEY)
    name, make = change
    envelope[name] = make(envelope.get(name, ""))

    with pytest.raises(EnvelopeDamaged, match="the key does not decrypt the link"):
        read_envelope(sealed_anew(envelope), NAMED)


def test_the_provider_cannot_be_exchanged_for_another_with_the_same_key() -> None:
    envelope = {**written(make_link(), KEY), "key_provider": "rpi-fw-crypto"}
    same = SealingKey("rpi-fw-crypto", b"canary key of key-file, of kind a", "")

    with pytest.raises(EnvelopeDamaged, match="the key does not decrypt the link"):
        read_envelope(sealed_anew(envelope), keys_of(same).named)


def test_a_member_that_is_not_known_is_passed_over_if_it_was_sealed_with_the_rest() -> None:
    envelope = written(make_link(), KEY)
    header = {name: envelope[name] for name in list(envelope)[:5]} | {"shape": {"round": True}}
    text = json.dumps(written(make_link())["link"]).encode()
    canonical = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    sealed = KEY.seal(text, bytes.fromhex(envelope["nonce"]), canonical)

    found = read_envelope(sealed_anew({**header, "sealed": base64.b64encode(sealed).decode()}), NAMED)

    assert found[0] == make_link()


def test_damage_is_told_from_a_missing_key_and_says_whose_link_it_was() -> None:
    content = write_envelope(make_link(), KEY).replace(b"key-file", b"kay-file")

    with pytest.raises(EnvelopeDamaged, match="the checksum does not match") as caught:
        read_envelope(content, PLAIN)

    assert caught.value.link_id == "anna"


def test_a_plain_envelope_of_a_provider_is_damaged() -> None:
    with pytest.raises(EnvelopeDamaged, match="key_provider is not known"):
        read_envelope(rewritten({**written(make_link()), "key_provider": "key-file"}), NAMED)


def test_a_key_shows_nothing_of_itself() -> None:
    content = write_envelope(make_link(), KEY)

    for shown in (repr(KEY), str(KEY), repr(keys_of(KEY)), KEY.fingerprint, KEY.protects):
        assert "canary" not in shown
    assert not hasattr(KEY, "__dict__")
    with pytest.raises(EnvelopeDamaged) as caught:
        read_envelope(sealed_anew({**written(make_link(), KEY), "link_id": "berta"}), NAMED)
    assert "canary" not in repr(caught.value.__cause__)
    assert KEY.fingerprint.encode() in content


# ---------------------------------------------------------------------------------------------------------
# What every version ever written looks like


OF_UNIT: Final = replace(
    make_link(replaces=replace(make_link("berta"), dsn="K-0001", board="c0ffee")),
    dsn="K-0001",
    board="c0ffee",
    takes_secret=True,
    account_id="amzn1.account.ANNA",
)
OF_BASIC_CLIENT: Final = replace(
    make_link(),
    dialect=DialectName.RFC8628,
    client_id="speaker",
    scope="openid offline_access",
    token_endpoint="https://id.example/token",
    revocation_endpoint="https://id.example/revoke",
    is_proved=True,
    account="Anna",
    account_id="248289761001",
    board="c0ffee",
    takes_secret=True,
    secret_by_basic=True,
)
GOLDEN_LINKS: Final = {"of-unit": OF_UNIT, "of-basic-client": OF_BASIC_CLIENT}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("link-*.json")), ids=lambda path: path.stem)
def test_what_any_version_wrote_is_read_for_ever(path: Path) -> None:
    key = SealingKey("key-file", (GOLDEN / "device-auth.key").read_bytes(), "")

    link = read_envelope(path.read_bytes(), keys_of(key).named)[0]

    of = path.stem[path.stem.rindex("of-") :] if "-of-" in path.stem else ""
    assert link == GOLDEN_LINKS.get(of, make_link(replaces=make_link("berta")))


def test_there_is_a_golden_file_of_each_version() -> None:
    assert {json.loads(path.read_bytes())["version"] for path in GOLDEN.glob("link-*.json")} == {1, 2}
