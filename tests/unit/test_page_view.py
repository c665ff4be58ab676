"""What the page shows: each state, each language, and nothing that the provider has slipped in."""

import re
import sys
from dataclasses import replace
from html import escape, unescape
from http import HTTPStatus

import pytest

from device_auth.core.models import CodePair, Monotonic, UnixTime, View
from device_auth.core.states import IDENTIFYING, OneTimeNotice, StateWord, Trouble
from device_auth.prompts.wording import LANGUAGES, Wording, read_wording
from device_auth.service.page_view import (
    MOST_ACCOUNT,
    NOTICE_FOR,
    UNDO_FOR,
    PageModel,
    PageRenderer,
    best_language,
    read_model,
)
from device_auth.service.status_feed import Snapshot
from tests.links import StillClock, make_link
from tests.page_bench import ADDRESS, PREFILLED, make_pair

NOW, WALL = Monotonic(1000), UnixTime(1.8e9)
EVIL = "\"'><script>alert(1)</script>&{0}{host}$style\r\ndata: x"


REFUSALS = [
    "not-this-name",
    "not-this-network",
    "join-network",
    "not-here",
    "too-many",
    "looks-again",
    "not-answered",
]


@pytest.fixture(params=LANGUAGES)
def wording(request: pytest.FixtureRequest) -> Wording:
    return read_wording(request.param)


@pytest.fixture
def painter() -> PageRenderer:
    return PageRenderer(StillClock(), "en-US")


@pytest.fixture
def pair() -> CodePair:
    return make_pair(StillClock())


def shown(painter: PageRenderer, model: PageModel, language: str = "en") -> str:
    return text_of(painter.page(model, language).decode())


def text_of(page: str) -> str:
    """Return the text of ``main`` as people see it."""
    main = page[page.index("<main") : page.index("</main>")]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


def language_of(wording: Wording) -> str:
    return wording.voice[:2]


# -- which language


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en;q=0.5, fr;q=0.7", "fr"),
        ("pt-BR", "pt"),
        ("PT", "pt"),
        ("sv, it;q=0.1", "it"),
        ("sv,*;q=0.5", "es"),
        ("de;q=0, fr;q=0.001", "fr"),
        ("de;q=0", "es"),
        ("*", "es"),
        ("", "es"),
        ("ja", "ja"),
        ("pt-PT, pt;q=0.9", "pt-PT"),
        ("es-mx", "es-419"),
        ("en-IN;q=0.2, sv", "en-GB"),
        ("sv", "es"),
        ("deutsch", "es"),
        ("en;q=0.8,de;q=0.8", "en"),
        ("de;q=2, fr;q=0.1", "fr"),
        ("de;q=0.1234, fr;q=0.1", "fr"),
        ("de ; q=1.0 , fr", "de"),
        (";;;,,,=, de;q=, fr;q=0.3", "fr"),
        ("de\x00, it;q=0.2", "it"),
    ],
)
def test_a_visitor_gets_the_language_he_likes_best(accepted: str, language: str) -> None:
    assert best_language(accepted, "es") == language


def test_a_long_wish_is_read_in_time() -> None:
    assert best_language("a-" * 4000 + "," + " " * 4000 + ";q=" * 1000, "it") == "it"


def test_whoever_likes_none_of_ours_gets_the_speakers_own() -> None:
    assert PageRenderer(StillClock(), "de-AT").language_for("sv") == "de"
    assert PageRenderer(StillClock(), "de-AT,en-US").language_for("sv") == "de"  # it was English
    assert PageRenderer(StillClock(), "sv-SE").language_for("sv") == "en"


@pytest.mark.parametrize(
    ("accepted", "language", "is_so"),
    [
        ("sv-SE, sv;q=0.9, en;q=0.8", "en", True),
        ("sv", "de", True),
        ("en;q=0.8, sv", "en", True),
        ("de-AT, en;q=0.9", "de", False),
        ("en;q=0.9, sv;q=0.1", "en", False),
        ("pt-PT", "pt", False),  # the words of another country are no other language
        ("es-MX, es;q=0.9", "es-419", False),
        ("*", "de", False),
        ("", "de", False),
        ("sv;q=0", "de", False),
    ],
)
def test_the_page_says_when_it_speaks_another_language_than_asked_for(
    painter: PageRenderer, accepted: str, language: str, is_so: bool
) -> None:
    page = painter.page(PageModel(StateWord.UNLINKED, Trouble.NONE), language, accepted).decode()

    assert (read_wording(language).page["other-language"] in unescape(page)) is is_so


def test_arabic_runs_from_right_to_left_and_code_time_and_addresses_from_left_to_right(
    painter: PageRenderer, pair: CodePair
) -> None:
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "ar").decode()
    refusal = painter.refusal(
        HTTPStatus.NOT_FOUND, ["http://a.local:8080/"], "ar", is_stranger=False
    ).decode()
    runs = re.findall(
        r'<(p class="code|span id="left|bdi|strong|a class="go)[^>]*dir="ltr"[^>]*>', page + refusal
    )

    assert '<html lang="ar" dir="rtl">' in page
    assert '<html lang="ar" dir="rtl">' in refusal
    assert runs == ['p class="code', 'span id="left', "bdi", "strong", 'a class="go']
    assert 'dir="ltr">' in painter.page(PageModel(StateWord.UNLINKED, Trouble.NONE), "de").decode()


# -- the model


def news(view: View, linked_at: float | None = None) -> Snapshot:
    link = None if linked_at is None else replace(make_link(), linked_at=UnixTime(linked_at))
    return Snapshot(1, view, WALL, NOW, link=link)


def test_a_code_is_seen_until_its_end(pair: CodePair) -> None:
    told = news(View(StateWord.WAITING, Trouble.NONE, code_pair=pair))

    assert read_model(told, NOW, WALL).code_pair is pair
    assert read_model(told, Monotonic(pair.expires_at - 0.1), WALL).code_pair is pair
    assert read_model(told, pair.expires_at, WALL).code_pair is None


def test_a_code_is_withheld_from_a_visitor_who_may_not_read_it(pair: CodePair) -> None:
    told = news(View(StateWord.WAITING, Trouble.NONE, code_pair=pair))

    model = read_model(told, NOW, WALL, sees_code=False)

    assert (model.code_pair, model.is_withheld) == (None, True)
    assert not read_model(told, pair.expires_at, WALL, sees_code=False).is_withheld
    assert not read_model(news(View(StateWord.LINKED, Trouble.NONE)), NOW, WALL, sees_code=False).is_withheld


def after_notice(notice: OneTimeNotice, passed: float) -> OneTimeNotice | None:
    view = View(StateWord.UNLINKED, Trouble.NONE, notice=notice)
    told = Snapshot(1, view, WALL, NOW, told_at=NOW)
    return read_model(told, Monotonic(NOW + passed), WALL).notice


@pytest.mark.parametrize("notice", sorted({*OneTimeNotice} - IDENTIFYING))
def test_what_a_held_button_would_do_is_told_for_a_moment_above_the_state(
    painter: PageRenderer, wording: Wording, notice: OneTimeNotice
) -> None:
    model = PageModel(StateWord.UNLINKED, Trouble.NONE, notice=notice)
    page = painter.page(model, language_of(wording)).decode()
    event, quiet = (
        painter.event(it, language_of(wording)).decode().split("\n")
        for it in (model, replace(model, notice=None))
    )

    assert f'<p id="notice" role="status">{escape(wording.moments[notice])}</p>\n<main' in page
    assert (event[2], quiet[2]) == (f"data: {wording.moments[notice]}", "data: ")
    assert event[:2] + event[3:] == quiet[:2] + quiet[3:], "what stands below is not read out again"
    assert (after_notice(notice, NOTICE_FOR - 1), after_notice(notice, NOTICE_FOR)) == (notice, None)


@pytest.mark.parametrize("notice", sorted(IDENTIFYING))
def test_which_speaker_it_is_the_light_shows_and_not_the_page(notice: OneTimeNotice) -> None:
    assert after_notice(notice, 0) is None


@pytest.mark.parametrize(("ago", "is_new"), [(0, True), (UNDO_FOR - 1, True), (UNDO_FOR, False), (-3, True)])
def test_a_link_is_new_for_ten_minutes(ago: float, is_new: bool) -> None:
    told = news(View(StateWord.LINKED, Trouble.NONE), linked_at=WALL - ago)

    assert read_model(told, NOW, WALL).is_new is is_new


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_jumps_ten_years_does_not_tell_of_undoing_for_ten_years(years: int) -> None:
    told = news(View(StateWord.LINKED, Trouble.NONE), linked_at=WALL + years * 3e7)

    assert not read_model(told, NOW, WALL).is_new


@pytest.mark.parametrize("state", sorted(set(StateWord) - {StateWord.LINKED}))
def test_an_account_is_seen_only_while_linked(state: StateWord) -> None:
    model = read_model(news(View(state, Trouble.NONE, account="anna"), linked_at=WALL), NOW, WALL)

    assert model.account is None
    assert not model.is_new


def test_an_account_is_cut_where_it_is_too_long() -> None:
    model = read_model(news(View(StateWord.LINKED, Trouble.NONE, account="a" * 10_000)), NOW, WALL)

    assert model.account == "a" * MOST_ACCOUNT


def test_a_sight_prints_no_code(pair: CodePair) -> None:
    assert "FUP8UN" not in repr(PageModel(StateWord.WAITING, Trouble.NONE, pair))


# -- each state, in each language


def test_before_a_press_there_is_what_to_do_and_what_it_is_for(
    painter: PageRenderer, wording: Wording
) -> None:
    said = shown(painter, PageModel(StateWord.UNLINKED, Trouble.NONE), language_of(wording))

    assert said == f"{wording.page['press']} {wording.page['what-for']}"
    assert wording.page["which"] not in said


def test_a_speaker_with_a_light_can_be_asked_which_it_is(painter: PageRenderer, wording: Wording) -> None:
    model, language = PageModel(StateWord.UNLINKED, Trouble.NONE), language_of(wording)

    page = painter.page(model, language, name="Bob's <Kitchen>", has_light=True).decode()

    asked = [escape(wording.page[key]) for key in ("which", "identified", "identify")]
    assert re.search(r'<p>(.*)</p>\n<button .*data-done="(.*)">(.*)</button>', page).groups() == tuple(asked)  # type: ignore[union-attr]
    title, name = escape(wording.page["title"]), "Bob&#x27;s &lt;Kitchen&gt;"
    assert f"<title>{title}: {name}</title>" in page
    assert f"<header><p>{title}: <bdi>{name}</bdi></p></header>" in page


def test_while_waiting_there_is_all_that_an_owner_needs(
    painter: PageRenderer, wording: Wording, pair: CodePair
) -> None:
    language = language_of(wording)
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), language).decode()
    said = shown(painter, PageModel(StateWord.WAITING, Trouble.NONE, pair), language)

    assert f'<html lang="{language}" dir="{wording.direction}">' in page
    assert f'href="{PREFILLED}"' in page
    assert page.count("<h1") == 1
    assert "FUP8UN" in said
    assert wording.page["valid"].format(time="9:41") in said
    assert wording.page["approve"].format(host="amazon.com") in said
    assert wording.page["compare"] in said
    assert wording.page["enter"] not in said
    assert "amazon.com/ us/ code" in said
    assert 'viewBox="0 0 37 37"' in page


def test_where_a_code_is_withheld_the_page_says_why(painter: PageRenderer, wording: Wording) -> None:
    model = PageModel(StateWord.WAITING, Trouble.NO_NETWORK, is_withheld=True)

    said = shown(painter, model, language_of(wording))

    assert wording.states["waiting"] in said
    assert wording.page["withheld"] in said
    assert wording.troubles["no-network"].sentence in said
    assert wording.troubles["expired"].sentence not in said


@pytest.mark.parametrize(
    ("status", "is_stranger", "phrases"),
    [
        (421, False, ["not-this-name"]),
        (404, False, ["not-here"]),
        (429, False, ["too-many", "looks-again"]),
        (503, False, ["too-many", "looks-again"]),
        (400, False, ["not-answered"]),
        (403, False, ["not-answered"]),
        (405, False, ["not-answered"]),
        (500, False, ["not-answered"]),
        (403, True, ["not-this-network", "join-network"]),
        (429, True, ["not-this-network", "join-network"]),
    ],
)
def test_a_refusal_says_why_and_where_the_page_is(
    painter: PageRenderer, wording: Wording, status: int, is_stranger: bool, phrases: list[str]
) -> None:
    addresses = ["http://speaker.local:8080/", "http://192.168.1.5:8080/"]

    page = painter.refusal(
        HTTPStatus(status), addresses, language_of(wording), is_stranger=is_stranger
    ).decode()

    said = text_of(page)
    assert [phrase for phrase in REFUSALS if wording.page[phrase] in said] == phrases
    assert wording.page["open-here"] in said
    assert re.findall(r'href="(http[^"]+)"', page) == addresses
    assert ('http-equiv="refresh"' in page) is (status in {429, 503})
    assert "<script" not in page


def test_a_refusal_without_an_address_names_none(painter: PageRenderer, wording: Wording) -> None:
    page = painter.refusal(HTTPStatus.FORBIDDEN, [], language_of(wording), is_stranger=True).decode()

    assert wording.page["open-here"] not in text_of(page)
    assert "http://" not in page


def test_without_style_the_code_stands_in_a_line_of_its_own(painter: PageRenderer, pair: CodePair) -> None:
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()

    assert 'FUP8UN</span><br><span class="unseen">F, U' in page, "FUP8UNF would be entered else"


def test_a_screen_reader_says_a_code_letter_by_letter(painter: PageRenderer, pair: CodePair) -> None:
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()

    assert '<span aria-hidden="true">FUP8UN</span>' in page
    assert '<span class="unseen">F, U, P, eight, U, N</span>' in page


@pytest.mark.parametrize("trouble", [trouble for trouble in Trouble if trouble is not Trouble.NONE])
def test_a_trouble_says_what_went_wrong_and_what_to_do(
    painter: PageRenderer, wording: Wording, trouble: Trouble
) -> None:
    language, phrases = language_of(wording), wording.troubles[trouble]

    for state in set(StateWord) - {StateWord.WAITING}:
        said = shown(painter, PageModel(state, trouble), language)
        assert phrases.sentence in said
        assert phrases.next_step in said


def test_a_trouble_while_waiting_takes_nothing_away(
    painter: PageRenderer, wording: Wording, pair: CodePair
) -> None:
    said = shown(painter, PageModel(StateWord.WAITING, Trouble.NO_NETWORK, pair), language_of(wording))

    assert wording.troubles["no-network"].sentence in said
    assert "FUP8UN" in said


@pytest.mark.parametrize(
    "state", [StateWord.STARTING, StateWord.REQUESTING, StateWord.SAVING, StateWord.PROVING]
)
def test_what_passes_by_itself_is_said_as_the_voice_says_it(
    painter: PageRenderer, wording: Wording, state: StateWord
) -> None:
    assert shown(painter, PageModel(state, Trouble.NONE), language_of(wording)) == wording.states[state]


def test_a_code_that_has_just_run_out_is_said_to_have(painter: PageRenderer, wording: Wording) -> None:
    said = shown(painter, PageModel(StateWord.WAITING, Trouble.NONE), language_of(wording))

    assert said == wording.troubles["expired"].sentence


def test_a_new_link_says_whose_and_how_to_undo_it(painter: PageRenderer, wording: Wording) -> None:
    model = PageModel(StateWord.LINKED, Trouble.NONE, account="anna@example.com", is_new=True)
    said = shown(painter, model, language_of(wording))

    assert wording.moments["just-linked"] in said
    assert "anna@example.com" in said
    assert wording.page["undo"] in said


def test_an_old_link_says_whose(painter: PageRenderer, wording: Wording) -> None:
    said = shown(painter, PageModel(StateWord.LINKED, Trouble.NONE, account="anna"), language_of(wording))

    account = wording.page["account"].format(account=" anna").replace("  ", " ")
    assert said == f"{wording.states['linked']} {account}"


def test_a_long_code_is_set_smaller(painter: PageRenderer) -> None:
    pair = make_pair(StillClock(), user_code="WDJB-MJHT-01")

    assert (
        'class="code long"' in painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()
    )


def test_without_a_prefilled_address_the_owner_is_told_to_enter_the_code(painter: PageRenderer) -> None:
    pair = make_pair(StillClock(), prefilled=None)
    model = PageModel(StateWord.WAITING, Trouble.NONE, pair)

    assert read_wording("en").page["enter"] in shown(painter, model)
    assert f'href="{ADDRESS}"' in painter.page(model, "en").decode()


# -- what the provider says is text


def test_an_evil_account_stays_text(painter: PageRenderer) -> None:
    model = PageModel(StateWord.LINKED, Trouble.NONE, account=EVIL)

    assert " ".join(EVIL.split()) in shown(painter, model)
    assert "<script>alert" not in painter.page(model, "en").decode()
    assert b"\r" not in painter.event(model, "en")
    assert not re.search(rb"(?m)^(?!data: |id: |$)", painter.event(model, "en"))


def test_an_evil_code_stays_text(painter: PageRenderer) -> None:
    pair = make_pair(StillClock(), user_code=EVIL)
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()

    assert "<script>alert" not in page
    assert page.count("<script>") == 1


def test_half_a_character_breaks_nothing(painter: PageRenderer) -> None:
    assert b"anna?" in painter.page(PageModel(StateWord.LINKED, Trouble.NONE, account="anna\ud800"), "en")


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "http://amazon.com/us/code",
        "https://amazon.com@evil.example/",
        "data:text/html,x",
        'https://evil.example/"onclick="x',
        "https://" + "a" * 600,
    ],
)
def test_no_link_but_to_where_people_may_be_sent(painter: PageRenderer, address: str) -> None:
    both = make_pair(StillClock(), address=address, prefilled=address)
    one = make_pair(StillClock(), prefilled=address)

    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, both), "en").decode()
    assert "href=" not in page.replace('href="data:,"', "")
    assert "FUP8UN" in page
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, one), "en").decode()
    assert re.findall('<a class="go" href="([^"]*)"', page) == [ADDRESS]


def test_a_link_to_this_machine_may_be_plain(painter: PageRenderer) -> None:
    pair = make_pair(StillClock(), prefilled="http://127.0.0.1:8100/us/code?a=1&b=2")
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()

    assert 'href="http://127.0.0.1:8100/us/code?a=1&amp;b=2"' in page


# -- events, and what is kept


def test_the_countdown_alone_does_not_make_another_event(pair: CodePair) -> None:
    clock = StillClock()
    painter, model = PageRenderer(clock, "en-US"), PageModel(StateWord.WAITING, Trouble.NONE, pair)
    before = painter.event(model, "en").decode().split("\n")
    clock.monotonic += 60
    after = painter.event(model, "en").decode().split("\n")

    assert (before[1], after[1]) == ("data: 581", "data: 521")
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    assert f'data-sight="{before[0].removeprefix("id: ")}"' in painter.page(model, "en").decode()


def test_another_sight_is_another_event(painter: PageRenderer, pair: CodePair) -> None:
    sights = [PageModel(StateWord.UNLINKED, Trouble.NONE), PageModel(StateWord.WAITING, Trouble.NONE, pair)]

    assert len({painter.event(model, "en").split(b"\n")[0] for model in sights}) == 2


def test_a_new_code_has_its_own_picture(painter: PageRenderer, pair: CodePair) -> None:
    other = make_pair(StillClock(), prefilled=f"{ADDRESS}?cbl-code=AAYJHL")
    drawn = [
        painter.page(PageModel(StateWord.WAITING, Trouble.NONE, each), "en").decode()
        for each in (pair, other, pair)
    ]
    pictures = [re.findall('<path d="([^"]*)" fill="#000"', page) for page in drawn]

    assert pictures[0] == pictures[2] != pictures[1]


def test_without_the_qr_library_the_rest_is_there(
    painter: PageRenderer, pair: CodePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "qrcode", None)
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()

    assert 'aria-label="QR code that opens the same address"></div>' in page
    assert "FUP8UN" in page


def test_a_code_that_is_over_leaves_nothing_on_the_page(painter: PageRenderer, pair: CodePair) -> None:
    painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en")
    for state in set(StateWord):
        assert b"FUP8UN" not in painter.page(PageModel(state, Trouble.NONE), "en")
    assert "FUP8UN" not in str(vars(painter))


def test_a_whole_page_is_small(painter: PageRenderer, wording: Wording) -> None:
    long = f"https://a.example/{'a' * 480}"
    pair = make_pair(StillClock(), user_code="W" * 64, address=long, prefilled=long)
    largest = painter.page(PageModel(StateWord.WAITING, Trouble.NO_NETWORK, pair), language_of(wording))
    usual = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, make_pair(StillClock())), "en")

    assert len(usual) < 12_000
    assert len(largest) < 40_000


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(painter: PageRenderer) -> None:
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; connect-src 'self';"
        r" img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        painter.policy,
    )


def test_nothing_on_the_page_comes_from_elsewhere(painter: PageRenderer, pair: CodePair) -> None:
    page = painter.page(PageModel(StateWord.WAITING, Trouble.NONE, pair), "en").decode()
    addresses = set(re.findall(r"(?:src|href|action|content)=\"([^\"]*)\"|url\(([^)]*)\)", page))

    assert addresses == {
        ("data:,", ""),
        (PREFILLED, ""),
        ("10", ""),
        ("light dark", ""),
        ("width=device-width, initial-scale=1", ""),
    }


def test_a_refusal_that_is_checked_is_told_in_every_language(painter: PageRenderer, wording: Wording) -> None:
    view = View(StateWord.LINKED, Trouble.PROVIDER_UNAVAILABLE, is_checking=True)
    text = shown(painter, read_model(news(view), NOW, WALL), language_of(wording))

    assert wording.moments["checking-again"] in text
    assert wording.troubles[Trouble.PROVIDER_UNAVAILABLE].sentence not in text


def test_a_link_that_may_not_last_is_told_so_in_every_language(
    painter: PageRenderer, wording: Wording
) -> None:
    view = View(StateWord.LINKED, Trouble.NONE, doubt="/run/x is in memory.")
    model = read_model(news(view, linked_at=WALL - 1e6), NOW, WALL)

    assert shown(painter, model, language_of(wording)) == (
        f"{wording.states['linked']} {wording.moments['for-now']}"
    )


@pytest.mark.parametrize("state", sorted(set(StateWord) - {StateWord.LINKED}))
def test_of_a_link_that_is_not_there_yet_nobody_says_that_it_will_not_last(state: StateWord) -> None:
    assert read_model(news(View(state, Trouble.NONE, doubt="in memory"), linked_at=WALL), NOW, WALL).lasts
