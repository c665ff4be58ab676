"""The talk of a unit: any bytes are read, in bounded memory, and no secret comes through."""

import json
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_auth.core.models import Secret
from device_auth.factory.talk import (
    LONGEST_LINE,
    LONGEST_TALK,
    LONGEST_TEXT,
    AskEvent,
    CheckEvent,
    CheckOutcome,
    CodeEvent,
    Event,
    IdentityEvent,
    Masks,
    MeasurementEvent,
    ResultEvent,
    RunOutcome,
    StatusEvent,
    TalkReader,
    UnitEvent,
    Unreadable,
    signed,
    write_event,
)

SECRET: Final = 'kept"quiet\\1234'
TOKENS: Final = (
    "Atzr|IQEBLzAtAhUAjagYW4Jrgw84",
    "Atza|MQEWYJxEnP3I1ND03ZzbY",
    "Sim|refresh|0000000000000001",
    SECRET,
)

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(TOKENS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
MEMBERS: Final = (
    *(
        "verb",
        "dut_id",
        "version",
        "at",
        "name",
        "outcome",
        "detail",
        "seconds",
        "value",
        "unit",
        "exit",
        "failed",
        "mac",
    ),
    *(
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
        "for",
        "question",
        "answers",
    ),
    *("dsn", "product_id", "client_id", "part_number", "revision", "batch", "locked", "opened_for", "linked"),
)
EVENTS: Final = (
    *(
        "started",
        "check",
        "measurement",
        "unit",
        "identity",
        "status",
        "code",
        "wait",
        "ask",
        "result",
        "from tomorrow",
    ),
)
ALMOST: Final = st.builds(
    lambda event, schema, members: json.dumps({"event": event, "schema": schema, **members}).encode(),
    st.sampled_from(EVENTS),
    st.sampled_from([1, 1, 1, 1, 2, None]),
    st.dictionaries(st.sampled_from(MEMBERS), JSON | st.sampled_from(["PASS", "FAIL", 1, True]), max_size=8),
)
TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=30).filter(
    lambda text: (
        text.isprintable() and Masks().readable(text.encode()) == text
    )  # what looks like a token is masked
)
NUMBER: Final = st.floats(0, 1e9)
PERHAPS: Final = st.none() | TEXT
GOOD: Final[st.SearchStrategy[Event]] = st.one_of(
    st.builds(CheckEvent, TEXT, st.sampled_from(CheckOutcome), TEXT, NUMBER),
    st.builds(MeasurementEvent, TEXT, NUMBER | PERHAPS, TEXT),
    st.builds(IdentityEvent, TEXT, PERHAPS, PERHAPS, PERHAPS, PERHAPS, PERHAPS),
    st.builds(
        StatusEvent, st.booleans(), st.none() | st.integers(0, 600), st.none() | st.booleans(), PERHAPS
    ),
    st.builds(CodeEvent, TEXT, TEXT, PERHAPS, st.integers(0, 9999), st.integers(0, 99)),
    st.builds(UnitEvent, st.dictionaries(st.sampled_from(["serial", "mmc_cid", "eth_mac"]), PERHAPS)),
)
LINE: Final = st.binary(max_size=80) | ALMOST | GOOD.map(lambda event: write_event(event).encode())


FILLING: Final = b" " * 1023 + b"\n"


def texts_of(value: object) -> list[str]:
    """Return every text in an event."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts_of(part)]
    return [text for part in value for text in texts_of(part)] if isinstance(value, list | tuple) else []


def read_all(reader: TalkReader, raw: bytes, cuts: list[int]) -> list[Event | Unreadable]:
    """Read bytes in the pieces that they came in."""
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [event for start, end in pairwise(places) for event in reader.feed(raw[start:end])]


@given(st.lists(LINE, max_size=6), st.booleans(), st.lists(st.integers(0, 5000), max_size=4))
def test_any_bytes_give_events_or_one_reason_and_no_secret(
    lines: list[bytes], is_cut: bool, cuts: list[int]
) -> None:
    raw = b"\n".join(lines) + (b"" if is_cut else b"\n")
    reader = TalkReader(Masks([Secret(SECRET)]), bytes(32))

    events = read_all(reader, raw, cuts)
    ended = reader.end()

    assert [event for event in events if isinstance(event, Unreadable)] in ([], events[-1:])
    assert isinstance(ended, Unreadable) or ended is reader.result
    for text in texts_of(events):
        assert text.isprintable() or text == ""
        assert len(text) <= LONGEST_TEXT
        assert not any(token in text for token in TOKENS)


@given(st.lists(GOOD, max_size=5), st.lists(st.integers(0, 5000), max_size=4))
def test_what_a_unit_writes_is_what_a_station_reads(events: list[Event], cuts: list[int]) -> None:
    key = b"k" * 32
    result = signed(ResultEvent("facts", RunOutcome.PASS, 0, ("a",), 1.5), key)
    raw = "".join(f"{write_event(event)}\n" for event in [*events, result]).encode()
    reader = TalkReader(Masks(), key)

    assert read_all(reader, raw, cuts) == [*events, result._replace(is_proved=True)]
    assert reader.end() == result._replace(is_proved=True)


@given(st.binary(max_size=200))
def test_no_result_is_proved_without_the_key(noise: bytes) -> None:
    reader = TalkReader(Masks(), b"k" * 32)
    forged = signed(ResultEvent("wipe", RunOutcome.PASS, 0, (), 1.5), noise)

    reader.feed(write_event(forged).encode() + b"\n")

    assert reader.result is not None
    assert not reader.result.is_proved


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"x" * (LONGEST_LINE + 1)], f"a line is longer than {LONGEST_LINE} bytes"),
        ([b'"' + b"x" * LONGEST_LINE + b'"\n'], f"a line is longer than {LONGEST_LINE} bytes"),
        ([FILLING * 64] * 17, f"it is longer than {LONGEST_TALK} bytes"),
        ([FILLING * 1024 + b"\n"], f"it is longer than {LONGEST_TALK} bytes"),
        ([b"\xff\n"], "a line is not JSON"),
        ([b"[" * 5000 + b"\n"], "a line is not JSON"),
        ([b"[1]\n"], "a line is not a JSON object"),
        ([b'{"schema": 2}\n'], "a line is not of schema 1: update the older of unit and station"),
        ([b'{"schema": 1}\n'], "a line names no event"),
        ([b'{"schema": 1, "event": "wait", "for": 1}\n'], "the event wait has no valid for"),
        ([b'{"schema": 1, "event": "unit", "a": NaN}\n'], "a line has the number NaN"),
        ([b'{"schema": 1, "event": "unit", "a": 1e999}\n'], "a line has a number that is too large"),
        (
            [b'{"schema": 1, "event": "unit", "a": 9223372036854775808}\n'],
            "a line has a number that is too large",
        ),
        (
            [b'{"schema": 1, "event": "unit", "a": ' + b"[" * 20 + b"]" * 20 + b"}\n"],
            "a line has more than 16 lists and objects inside one another",
        ),
        *(
            (
                [write_event(AskEvent(name, question, ())).encode() + b"\n"],
                f"the event ask has no valid {member}",
            )
            for name, question, member in (
                ("--help", "Is it lit?", "name"),
                ("\x07-e", "Is it lit?", "name"),
                ("two words", "Is it lit?", "name"),
                ("", "Is it lit?", "name"),
                ("part-button-tap", "-rf /", "question"),
            )
        ),
        (
            [write_event(ResultEvent("facts", RunOutcome.PASS, 0, (), 1)).encode() + b"\n{}\n"],
            "a line follows the result",
        ),
        ([b"{"], "it ends within a line"),
        ([b""], "it ends without a result"),
    ],
)
def test_a_broken_talk_is_told_in_words(pieces: list[bytes], reason: str) -> None:
    reader = TalkReader(Masks())

    for piece in pieces:
        reader.feed(piece)

    assert reader.end() == Unreadable(reason)


def test_a_newer_units_words_are_ignored() -> None:
    reader = TalkReader(Masks())
    raw = b'{"schema": 1, "event": "from tomorrow"}\r\n\n{"schema": 1, "event": "wait", "for": "approval", "new": 1}\n'

    (event,) = reader.feed(raw)

    assert event == ("approval",)


def test_a_token_is_masked_in_the_remains_of_a_talk() -> None:
    raw = b"first\nlast \x1b[31m" + b"\n".join(token.encode() for token in TOKENS) + b"\xff\n"

    shown = Masks([Secret(SECRET)]).readable(raw, most=21)

    assert shown == "…\nlast [31m…\n…\n…\n…�\n"


@pytest.mark.parametrize("end", [b"\n", b'"}\n{"event": "check"}\n', b""])
def test_of_a_secret_whose_beginning_was_cut_off_nothing_is_left(end: bytes) -> None:
    raw = b'{"detail": "a ' + SECRET.encode() + end

    for length in range(1, len(raw) + 1):
        shown = Masks([Secret(SECRET)]).readable(raw[-length:], most=length)

        assert SECRET[-3:] not in shown
