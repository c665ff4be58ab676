"""The page on a phone, in real Chromium: every state, with script and without, in light and in dark."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from device_auth.core.models import View
from device_auth.core.states import OneTimeNotice, StateWord, Trouble
from device_auth.prompts.wording import LANGUAGES, VARIANTS, read_wording
from tests.page_bench import PREFILLED, PRESS, Bench, make_pair
from tests.phone import AXE, CONTRAST, HEIGHT, WIDTH, console_of, needs_a_browser, violations
from tests.phone import Phone as AnyPhone
from tests.qr_decoders import READERS, Reader
from tests.waiting import LONG

pytestmark = [*needs_a_browser, pytest.mark.slow]

SMALL_TARGETS = """
return [...document.querySelectorAll('a, button')].filter(node => node.checkVisibility()).map(node => node.getBoundingClientRect())
  .filter(box => box.height < 44 || box.right > innerWidth || box.bottom > innerHeight).map(box => box.toJSON());
"""
"""What a thumb cannot hit without scrolling. Source: WCAG 2.2, 2.5.5."""


RUNS: Final = """
return [...document.querySelectorAll('.code, #left, strong, bdi')].map(node => getComputedStyle(node).direction);
"""
"""The directions of code, time left and addresses."""


class Phone:
    """A browser of a phone's size that looks at the page."""

    def __init__(self, driver: webdriver.Chrome, bench: Bench, shots: Path) -> None:
        self.driver = driver
        self.bench = bench
        self.shots = shots
        self.has_script = True

    def switch_script_off(self) -> None:
        self.has_script = False
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})

    def open(self) -> None:
        self.driver.get(self.bench.origin)

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "main").text

    def until(self, is_so: Callable[[], bool]) -> None:
        # without script the page reloads itself, at times between a search for an element and a look at it
        reloaded = [StaleElementReferenceException]
        WebDriverWait(self.driver, LONG, ignored_exceptions=reloaded).until(lambda _: is_so())

    def see(self, said: str, name: str) -> None:
        """Wait until the page says this; see that all of it fits and can be read, and keep a picture."""
        if not self.has_script:
            self.open()
        self.until(lambda: said in self.text())
        self.look(name)
        assert console_of(self.driver) == []

    def look(self, name: str) -> None:
        """See that all of it fits and can be read, and keep a picture."""
        assert self.driver.save_screenshot(str(self.shots / f"{name}.png"))
        measured = "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        assert self.driver.execute_script(measured) == [WIDTH, HEIGHT]
        assert self.driver.execute_script(CONTRAST) >= 4.5
        assert self.driver.execute_script(SMALL_TARGETS) == []
        assert not self.has_script or violations(self.driver) == []


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


@pytest.fixture
def scheme() -> str:
    return "light"


@pytest.fixture
def phone(browser: AnyPhone, bench: Bench, scheme: str, tmp_path: Path) -> Iterator[Phone]:
    browser.wear(scheme, scripts=True)
    browser.driver.implicitly_wait(0)
    console_of(browser.driver)
    yield Phone(browser.driver, bench, tmp_path)
    browser.driver.implicitly_wait(LONG)
    browser.open("about:blank")


needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make .venv/axe")
in_light_and_dark = pytest.mark.parametrize("scheme", ["light", "dark"])


def go_through_every_state(phone: Phone) -> None:
    bench = phone.bench
    phone.open()
    phone.driver.execute_script("window.isTheSame = true")
    phone.see(PRESS, "1-press")
    bench.show(StateWord.REQUESTING)
    phone.see("I am asking for a code", "2-requesting")
    bench.show(StateWord.REQUESTING, Trouble.NO_NETWORK)
    phone.see("I have no network", "3-no-network")
    pair = bench.wait_for_approval()
    phone.see("FUP8UN", "4-waiting")
    bench.show(StateWord.WAITING, Trouble.PROVIDER_UNAVAILABLE, pair=pair)
    phone.see("cannot be used", "5-waiting-in-trouble")
    bench.show(StateWord.UNLINKED, Trouble.DENIED)
    phone.see("The request was declined", "6-declined")
    bench.show(StateWord.UNLINKED, Trouble.EXPIRED)
    phone.see("The code has expired", "7-expired")
    bench.wait_for_approval()
    phone.see("FUP8UN", "8-waiting-again")
    bench.show(StateWord.SAVING)
    phone.see("I am saving", "9-saving")
    bench.show(StateWord.PROVING)
    phone.see("I am checking it", "10-proving")
    bench.link(account="anna@example.com")
    phone.see("anna@example.com", "11-just-linked")
    assert "Hold the button" in phone.text()
    bench.link(ago=3600)
    phone.see("This speaker is linked to your account", "12-linked")
    assert "FUP8UN" not in phone.driver.page_source
    bench.show(StateWord.UNLINKED, Trouble.REVOKED)
    phone.see("has ended the link", "13-revoked")


@in_light_and_dark
def test_the_page_follows_by_itself_from_state_to_state(phone: Phone) -> None:
    go_through_every_state(phone)

    assert phone.driver.execute_script("return window.isTheSame")


@in_light_and_dark
def test_every_state_can_be_seen_without_script(phone: Phone) -> None:
    phone.switch_script_off()

    go_through_every_state(phone)


@pytest.fixture
def reader(phone: Phone) -> Iterator[Callable[[str], None]]:
    """Set the languages that the browser asks for."""

    def ask_for(accepted: str) -> None:
        headers = {"headers": {"Accept-Language": accepted} if accepted else {}}
        phone.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", headers)

    phone.driver.execute_cdp_cmd("Network.enable", {})
    yield ask_for
    ask_for("")


def test_arabic_runs_from_right_to_left_around_code_and_address(
    phone: Phone, reader: Callable[[str], None]
) -> None:
    words = read_wording("ar")
    reader("ar-EG,ar;q=0.9,en;q=0.8")
    phone.bench.wait_for_approval()
    phone.open()
    phone.see("FUP8UN", "waiting")

    button, sentence = (phone.driver.find_element(By.CSS_SELECTOR, it) for it in ("a.go", "main > p"))
    assert button.text == words.page["approve"].format(host="amazon.com")
    assert sentence.value_of_css_property("direction") == "rtl"
    assert set(phone.driver.execute_script(RUNS)) == {"ltr"}


def test_a_browser_that_asks_for_another_language_is_told_so_at_the_foot(
    phone: Phone, reader: Callable[[str], None]
) -> None:
    reader("sv-SE,sv;q=0.9,en;q=0.8")
    phone.open()
    phone.see(PRESS, "another-language")

    foot = phone.driver.find_element(By.CSS_SELECTOR, "footer .quiet").text
    assert foot == read_wording("en").page["other-language"]


def test_without_script_the_page_looks_again_by_itself(phone: Phone) -> None:
    phone.switch_script_off()
    phone.open()
    phone.bench.wait_for_approval()

    phone.until(lambda: "FUP8UN" in phone.text())


@in_light_and_dark
def test_a_refusal_leads_to_the_page_without_script(phone: Phone) -> None:
    phone.switch_script_off()
    phone.driver.get(f"http://localhost:{phone.bench.port}/?code=secret")
    assert "The speaker does not answer to this name." in phone.text()
    assert "secret" not in phone.driver.page_source
    phone.look("1-another-name")
    phone.driver.get(f"{phone.bench.origin}/nothing")
    assert "There is no such page on the speaker." in phone.text()
    phone.look("2-nothing-here")

    phone.driver.find_element(By.CSS_SELECTOR, "a.go").click()

    phone.until(lambda: PRESS in phone.text())


@in_light_and_dark
@pytest.mark.parametrize("read", READERS)
def test_the_qr_code_is_read_from_the_screen(phone: Phone, read: Reader) -> None:
    phone.bench.wait_for_approval()
    phone.open()
    phone.see("FUP8UN", "waiting")

    assert read(Image.open(io.BytesIO(phone.driver.get_screenshot_as_png())).convert("L")) == [PREFILLED]


@needs_axe
def test_what_judges_pages_finds_what_is_wrong(phone: Phone) -> None:
    phone.open()
    phone.driver.execute_script("document.documentElement.lang = 'xx-nothing'; document.title = ''")

    assert {each.partition(":")[0] for each in violations(phone.driver)} == {
        "html-lang-valid",
        "document-title",
    }


@needs_axe
@pytest.mark.parametrize("language", [*LANGUAGES, *VARIANTS])
def test_each_language_is_judged_and_its_code_read(
    phone: Phone, reader: Callable[[str], None], language: str
) -> None:
    reader(language)
    phone.bench.show(StateWord.UNLINKED, Trouble.COPIED)
    phone.open()
    phone.look("1-copied")
    phone.bench.link(account="anna@example.com")
    phone.open()
    phone.look("2-linked")
    phone.bench.feed.tell(View(StateWord.UNLINKED, Trouble.NONE, notice=OneTimeNotice.HELD_UNLINK), None)
    phone.open()
    phone.look("2-held")
    phone.bench.wait_for_approval()
    phone.open()
    phone.look("3-waiting")

    html = phone.driver.find_element(By.TAG_NAME, "html")
    assert language.startswith(html.get_attribute("lang") or "nothing")
    assert html.get_attribute("dir") == read_wording(language).direction
    picture = Image.open(io.BytesIO(phone.driver.get_screenshot_as_png())).convert("L")
    assert [read(picture) for read in READERS] == [[PREFILLED]] * len(READERS)


def test_the_countdown_counts_down(phone: Phone) -> None:
    phone.bench.wait_for_approval()
    phone.open()
    left = phone.driver.find_element(By.ID, "left")
    before = left.text

    phone.until(lambda: left.text < before)


def test_the_owner_leaves_by_the_link_and_comes_back(phone: Phone) -> None:
    there = f"{phone.bench.origin}/somewhere"
    pair = make_pair(phone.bench.clock, address=there, prefilled=f"{there}?code=FUP8UN")
    phone.bench.show(StateWord.WAITING, pair=pair)
    phone.open()
    here = phone.driver.current_window_handle
    phone.until(lambda: "FUP8UN" in phone.text())

    phone.driver.find_element(By.CSS_SELECTOR, "a.go").click()
    assert phone.bench.actions.next() == "left"
    phone.until(lambda: len(phone.driver.window_handles) == 2)
    there = next(handle for handle in phone.driver.window_handles if handle != here)
    phone.driver.switch_to.window(there)
    phone.until(lambda: phone.driver.current_url.endswith("/somewhere?code=FUP8UN"))
    phone.bench.link()
    phone.driver.close()
    phone.driver.switch_to.window(here)
    phone.until(lambda: "Done." in phone.text())

    assert phone.bench.actions.next() == "back"


@in_light_and_dark
def test_a_held_button_is_told_above_what_stands_there(phone: Phone) -> None:
    phone.open()
    headline = phone.driver.find_element(By.TAG_NAME, "h1")
    held = View(StateWord.UNLINKED, Trouble.NONE, notice=OneTimeNotice.HELD_RESET)
    phone.bench.feed.tell(held, None)
    notice = phone.driver.find_element(By.ID, "notice")
    phone.until(lambda: notice.text == read_wording("en").moments["held-reset"])
    phone.look("held")

    assert headline.text == PRESS
    assert notice.location["y"] < headline.location["y"]
    phone.bench.show(StateWord.UNLINKED)
    phone.until(lambda: notice.text == "")


@in_light_and_dark
def test_a_button_lets_the_speaker_be_known_by_its_light(phone: Phone) -> None:
    phone.open()
    button = phone.driver.find_element(By.TAG_NAME, "button")
    button.click()

    assert phone.bench.actions.next() == "identify"
    assert (button.text, button.is_enabled()) == ("Look: its light is blinking now.", False)
    phone.look("asked")
    phone.bench.wait_for_approval()
    phone.until(lambda: not button.is_displayed())


def test_a_page_that_lost_the_speaker_says_so(phone: Phone) -> None:
    phone.open()
    phone.bench.page.close()
    lost = phone.driver.find_element(By.ID, "lost")

    phone.until(lambda: "No contact with the speaker" in lost.text)


def test_a_screen_reader_finds_the_heading_the_code_letter_by_letter_and_the_link(phone: Phone) -> None:
    phone.bench.wait_for_approval()
    phone.open()
    phone.until(lambda: "FUP8UN" in phone.text())
    tree = phone.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    seen = {
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree["nodes"]
        if not node["ignored"]
    }

    assert ("heading", "Link this speaker") in seen
    assert ("StaticText", "F, U, P, eight, U, N") in seen
    assert ("link", "Approve at amazon.com") in seen
    assert not {name for _, name in seen if name and "FUP8UN" in name}


def test_text_twice_as_large_still_fits_across(phone: Phone) -> None:
    phone.bench.wait_for_approval()
    phone.open()
    phone.until(lambda: "FUP8UN" in phone.text())
    phone.driver.execute_script("document.documentElement.style.fontSize = '200%'")

    assert phone.driver.execute_script("return document.documentElement.scrollWidth") == WIDTH
    assert phone.driver.save_screenshot(str(phone.shots / "twice.png"))
