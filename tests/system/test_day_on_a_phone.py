"""A day in the life: the button is pressed, and the owner's phone does the rest, in a real browser over real sockets."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from tests.daemon_process import Household
from tests.phone import Phone, needs_a_browser, open_phone
from tests.simulated_speaker import strict
from tests.waiting import LONG

pytestmark = needs_a_browser


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Phone]:
    with open_phone(tmp_path) as phone:
        yield phone


def see(phone: Phone, said: str, name: str) -> None:
    """Wait until the speaker's page says this, and keep a picture."""
    main = (By.TAG_NAME, "main")
    reloaded = [StaleElementReferenceException]
    WebDriverWait(phone.driver, LONG, ignored_exceptions=reloaded).until(
        lambda driver: said in driver.find_element(*main).text
    )
    assert phone.driver.save_screenshot(str(phone.shots / f"{name}.png"))


def test_an_owner_links_the_speaker_with_a_press_and_a_phone(tmp_path: Path, phone: Phone) -> None:
    amazon = Amazon(strict(interval=1), clock=time.monotonic)
    with serve(amazon) as running:
        household = Household(tmp_path, running)
        with household.living() as living:
            phone.open(f"http://127.0.0.1:{household.page_port}/")
            see(phone, "Press the button on the speaker", "1-before")

            living.press("tap")
            code = living.user_code()
            see(phone, code, "2-code")
            own = phone.driver.current_window_handle
            phone.element("a.go").click()
            WebDriverWait(phone.driver, LONG).until(lambda driver: len(driver.window_handles) == 2)
            [other] = set(phone.driver.window_handles) - {own}
            phone.driver.switch_to.window(other)
            phone.press("button", "[value=approve]")
            phone.press("button[value=approve]", ".result")
            assert phone.driver.save_screenshot(str(phone.shots / "3-approved.png"))
            phone.driver.close()
            phone.driver.switch_to.window(own)
            see(phone, "linked", "4-linked")

            living.wait_until("linked")
            assert living.client.token().expires_in > 3000
            assert living.end() == 0
        assert amazon.referee.complaints() == ()
        assert len(amazon.grants()) == 1
