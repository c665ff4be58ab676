"""Redaction: canaries of every kind in texts of any kind; none comes out, and the same one keeps its mask."""

import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device_auth.core.models import Secret
from device_auth.doctor.findings import Verdict, fail, ok
from device_auth.doctor.redaction import KINDS, READABLE, Redaction

KNOWN = {
    "dsn": "G0A1-CANARY-7",
    "serial": "10000000c4n4ry77",
    "host": "Kitchen-7",
    "ssid": "Canary's Nest",
    "user_code": "CNRY77",
    "account": "Carla Canary",
}
SECRET = "c4n4ry/secret+of|all"
CLIENT_ID = "amzn1.application-oa2-client.c4n4ry0123456789abcdef0123456789"

FORMS = [
    "Atza|IQEBcanary-_7",
    "Atzr|IQEBcanary-_7",
    "Sim|canary.7",
    "Atza%7CIQEBcanary",
    "b8:27:eb:c4:4a:77",
    "B8-27-EB-C4-4A-77",
    "b827.ebc4.4a77",
    "enxb827ebc44a77",
    "93.184.216.34",
    "p93-184-216-34.isp.example",
    "2606:2800:220:1:248:1893:25c8:1946",
    "::ffff:93.184.216.34",
    "fe80::ba27:ebff:fec4:4a77",
    "carla.canary@example.com",
    "amzn1.account.CANARY77",
    "refresh_token=canary-7",
    'client_secret = "canary 7"',
    "Authorization: Bearer canary-7.x",
    "https://carla:canary7@proxy.example:3128/",
    "https://amazon.com/us/code?cbl-code=CANARY7",
    'ssid="The Canary"',
    "SSID: canary",
    "//nas/share rw,username=canary,uid=0",
]

SEEN = re.compile(r"canary|c4n4ry|CNRY77|Kitchen-7|27.?eb|93.184.216.34|25c8|carla|nest", re.IGNORECASE)
"""What must not be left of any of them."""


def make() -> Redaction:
    redaction = Redaction()
    for kind, value in KNOWN.items():
        redaction.learn(kind, value)
    redaction.learn_secret(Secret(SECRET))
    redaction.learn("client_id", CLIENT_ID)
    return redaction


around = st.text(st.sampled_from(" \n\t.,;:=-()[]{}<>\"'→") | st.sampled_from("xyz "), max_size=12).filter(
    lambda text: not text or not text[-1].isalnum()
)
behind = st.text(st.sampled_from(" \n\t,;:)]}<>\"'"), max_size=3)


@given(st.lists(st.tuples(around, st.sampled_from([*FORMS, *KNOWN.values(), SECRET]), behind), min_size=1))
@example([("", "::ffff:93.184.216.34", "."), ("", "93.184.216.34", "")])
@example([(".", "2606:2800:220:1:248:1893:25c8:1946", ".")])
@example([(":.", "2606:2800:220:1:248:1893:25c8:1946", "")])
@example([("::", "2606:2800:220:1:248:1893:25c8:1946", "::")])
@example([("mac:", "b8:27:eb:c4:4a:77", ":")])
@example([("wlan0_", "b8:27:eb:c4:4a:77", "_"), ("_", "2606:2800:220:1:248:1893:25c8:1946", "_")])
@example([("of_", "Atza|IQEBcanary-_7", "")])
def test_no_canary_of_any_kind_comes_out_of_any_text(pieces: list[tuple[str, str, str]]) -> None:
    # a blank between two values: one behind the other is a third
    text = " ".join(before + canary + after for before, canary, after in pieces)
    redaction = make()
    shown = redaction.text(text)

    assert not SEEN.search(shown), shown
    assert redaction.text(shown) == shown
    assert redaction.text(text) == shown


@given(st.text(max_size=60))
@example("std::string at 12:34:56, v1.2.3, ::, 1:2:3:4:5:6:7:8:9")
def test_any_text_can_be_redacted_and_that_twice_changes_nothing_more(text: str) -> None:
    redaction = make()
    shown = redaction.text(text)

    assert redaction.text(shown) == shown


@given(st.ip_addresses())
def test_an_address_is_shown_only_if_it_is_of_a_network_without_a_place(address: object) -> None:
    found = ip_address(str(address))
    shown = Redaction().text(f"from {found}, to [{found}]:443 and {found}.")

    if str(found) in shown:
        meant = (found.ipv4_mapped if found.version == 6 else None) or found
        assert any(meant in network for network in READABLE)
    else:
        assert shown == "from <ip-1>, to [<ip-1>]:443 and <ip-1>."


@pytest.mark.parametrize(
    "text",
    [
        "192.168.178.20, 10.0.0.1/8, 127.0.0.1:9745, 172.16.0.1, 169.254.1.1",
        "::1, fe80::1%wlan0, fd00::17",
        "It took 12:34:56; std::string; version 2.28.1; 0.0.0.0",
        "2026-11-23T04:05:52+0000, and C:\\\\",
        "1-2-3-400 and 1.2.3.400",
    ],
)
def test_what_says_nothing_of_where_the_speaker_is_stays_readable(text: str) -> None:
    assert make().text(text) == text


def test_the_same_value_keeps_its_mask_and_another_gets_another() -> None:
    redaction = make()

    assert redaction.text("93.184.216.34 93.184.216.35 ::ffff:93.184.216.34") == "<ip-1> <ip-2> <ip-1>"
    assert redaction.text("b8:27:eb:01:02:03 B8-27-EB-01-02-03") == "<mac-1> <mac-1>"
    assert redaction.text("Kitchen-7 kitchen-7.local") == "<host-1> <host-1>.local"


def test_of_a_client_id_the_last_four_characters_stay() -> None:
    redaction = make()
    redaction.learn("client_id", "tiny")

    assert redaction.text(f"as {CLIENT_ID}, or tiny") == "as …6789, or <client-id-1>"
    assert redaction.text("amzn1.application-oa2-client.00000000000000000000000000001234") == "…1234"


def test_a_secret_is_masked_within_a_word_and_percent_encoded() -> None:
    redaction = make()

    assert redaction.text(f"x{SECRET}y") == "x<secret-1>y"
    assert redaction.text("c4n4ry%2Fsecret%2Bof%7Call") == "<secret-1>"


def test_a_short_secret_is_masked_as_a_word_alone() -> None:
    redaction = Redaction()
    redaction.learn("secret", "no")
    redaction.learn("secret", "77")

    assert redaction.text("no, it is not known") == "<secret-1>, it is not known"
    assert redaction.text("77 of 177") == "<secret-2> of 177"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("DSN 1234, told by pi4 at 1234.", "DSN <dsn-1>, told by <host-1> at <dsn-1>."),
        ("93.184.216.34 2606:2800:1234:1::1946", "<ip-2> <ip-1>"),
        ("10.1.0.1:1234 by pi4, 1234", "10.1.0.1:1234 by <host-1>, <dsn-1>"),
        ("b827.ebc4.1234 1234", "<mac-1> <dsn-1>"),
    ],
)
def test_a_short_value_takes_nothing_else_apart(text: str, redacted: str) -> None:
    redaction = Redaction()
    redaction.learn("dsn", "1234")
    redaction.learn("host", "pi4")

    assert redaction.text(text) == redacted
    assert redaction.text(redacted) == redacted


def test_a_host_that_is_called_like_a_thing_of_ours_is_masked_as_a_machine_alone() -> None:
    redaction = Redaction()
    redaction.learn("host", "speaker")

    assert redaction.text("The speaker is linked.") == "The speaker is linked."
    assert (
        redaction.text("pi@speaker http://speaker/ speaker.local")
        == "pi@<host-1> http://<host-1>/ <host-1>.local"
    )


def test_nothing_is_learnt_from_what_is_empty_or_masked() -> None:
    redaction = Redaction()
    redaction.learn("dsn", " ")
    redaction.learn("dsn", "<dsn-1>")
    redaction.learn_secret(None)

    assert redaction.text("a text <dsn-1>") == "a text <dsn-1>"
    assert redaction.mask("dsn", "") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_fact_is_masked_wherever_its_value_stands(kind: str) -> None:
    redaction = Redaction()
    told = fail("The canary is wrong.", "Mend the canary.", 78, **{kind: "canary"})
    other = ok("Another canary.", path="/run/canary", note="canaries")
    redaction.learn_facts([told, other])
    shown, another = redaction.finding(told), redaction.finding(other)
    mask = f"<{kind.replace('_', '-')}-1>"

    assert (shown.sentence, shown.next_step) == (f"The {mask} is wrong.", f"Mend the {mask}.")
    assert (shown.verdict, shown.exit_code, dict(shown.facts)) == (Verdict.FAIL, 78, {kind: mask})
    assert dict(another.facts)["note"] == "canaries" or kind in {"secret", "token"}
    assert mask in dict(another.facts)["path"]


def test_the_networks_that_stay_readable_hold_no_public_address() -> None:
    assert not any(network.overlaps(ip_network("8.0.0.0/8")) for network in READABLE if network.version == 4)


def test_a_dsn_that_is_also_the_number_of_a_port_takes_no_port_from_the_advice() -> None:
    redaction = Redaction()
    redaction.learn("dsn", "123")
    found = redaction.finding(ok("It lets UDP port 123 out, and is 123.", dsn="123"))

    assert found.sentence == "It lets UDP port 123 out, and is <dsn-1>."
    assert dict(found.facts) == {"dsn": "<dsn-1>"}
