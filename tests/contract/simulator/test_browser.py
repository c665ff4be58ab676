import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import PairState
from tests.simulated_speaker import Speaker

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"),
]

WIDTH, HEIGHT = 360, 640

CONTRAST = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const ground = node => {
  for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
};
const has_text = node => [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || node.tagName === 'INPUT';
return [...document.body.querySelectorAll('*')].filter(has_text).filter(n => n.getClientRects().length).map(node => {
  const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}).reduce((least, ratio) => Math.min(least, ratio), 21);
"""
"""The least contrast between a text and its ground. Source: WCAG 2.2, 1.4.3 and "relative luminance"."""

SMALL_TARGETS = """
return [...document.querySelectorAll('button, input:not([type=hidden])')].map(node => node.getBoundingClientRect())
  .filter(box => box.height < 44 || box.right > innerWidth || box.bottom > innerHeight).map(box => box.toJSON());
"""
"""What a thumb cannot hit without scrolling. Source: WCAG 2.2, 2.5.5."""


class Phone:
    """A browser of a phone's size; it notes what does not fit or cannot be read."""

    def __init__(self, driver: webdriver.Chrome, shots: Path) -> None:
        self.driver = driver
        self.shots = shots

    def open(self, address: str) -> None:
        self.driver.get(address)

    def element(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, selector: str, then: str) -> None:
        self.element(selector).click()
        self.element(then)

    def look(self, name: str) -> None:
        """Keep a picture, and see that everything fits, can be read and can be hit with a thumb."""
        assert self.driver.save_screenshot(str(self.shots / f"{name}.png"))
        size = self.driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert size == [WIDTH, HEIGHT]
        assert self.driver.execute_script(CONTRAST) >= 4.5
        assert self.driver.execute_script(SMALL_TARGETS) == []
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium has no type for it
        assert not [entry for entry in log if "Security Policy" in entry["message"]]


@pytest.fixture(params=["light", "dark"])
def phone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Phone]:
    assert CHROMIUM
    assert DRIVER
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'browser'}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.implicitly_wait(10)
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": True}
    scheme = {"features": [{"name": "prefers-color-scheme", "value": request.param}]}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    yield Phone(driver, tmp_path)
    driver.quit()


def test_an_owner_approves_on_the_phone(amazon: Amazon, lwa: Speaker, phone: Phone) -> None:
    pair = lwa.pair()
    phone.open(pair["verification_uri"])
    phone.look("1-enter")
    phone.element("#code").send_keys("abc 123")
    phone.press("button", ".error")
    phone.look("2-wrong")

    phone.open(f"{pair['verification_uri']}?cbl-code={pair['user_code']}")
    phone.look("3-prefilled")
    phone.press("button", "[value=approve]")
    phone.look("4-ask")
    assert pair["user_code"] in phone.element("dl").text
    phone.press("button[value=approve]", ".result")
    phone.look("5-approved")

    assert amazon.pairs()[0].state is PairState.APPROVED
    assert "Approved" in phone.element("main").text
    assert amazon.referee.complaints() == ()


def test_an_owner_declines_on_the_phone(amazon: Amazon, rfc: Speaker, phone: Phone) -> None:
    pair = rfc.pair()
    phone.open(pair["verification_uri_complete"])
    phone.press("button", "[value=approve]")
    phone.look("6-ask")
    phone.press("button[value=decline]", ".result")
    phone.look("7-declined")

    assert amazon.pairs()[0].state is PairState.DENIED
    assert rfc.poll(pair).json()["error"] == "access_denied"
