"""A phone: Debian's chromium without a window, of a phone's size; it notes what does not fit or cannot be read."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import LONG

CHROMIUM: Final = shutil.which("chromium")
DRIVER: Final = shutil.which("chromedriver")

needs_a_browser: Final = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"),
]
"""The marks of a test that opens a phone."""

WIDTH: Final = 360
HEIGHT: Final = 640

CONTRAST: Final = """
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

SMALL_TARGETS: Final = """
return [...document.querySelectorAll('button, input:not([type=hidden])')].map(node => node.getBoundingClientRect())
  .filter(box => box.height < 44 || box.right > innerWidth || box.bottom > innerHeight).map(box => box.toJSON());
"""
"""What a thumb cannot hit without scrolling. Source: WCAG 2.2, 2.5.5."""


AXE: Final = Path(sys.prefix, "axe", "axe_playwright_python", "axe.min.js")
"""What judges pages: ``make test-slow`` puts it there."""

JUDGE: Final = """
const tell = arguments[0];
axe.run().then(found => tell(found.violations.map(each => `${each.id}: ${each.nodes.map(node => node.html)}`)));
"""


class Phone:
    """The browser, and where its pictures are kept."""

    def __init__(self, driver: webdriver.Chrome, shots: Path) -> None:
        self.driver = driver
        self.shots = shots
        self.runs_scripts = True

    def open(self, address: str) -> None:
        self.driver.get(address)

    def element(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, selector: str, then: str) -> None:
        self.element(selector).click()
        self.element(then)

    def wear(self, scheme: str, *, scripts: bool) -> None:
        """Choose light or dark colours, and whether pages may run scripts."""
        self.runs_scripts = scripts
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})

    def look(self, name: str) -> None:
        """Keep a picture, and see that everything fits, can be read and can be hit with a thumb."""
        assert self.driver.save_screenshot(str(self.shots / f"{name}.png"))
        size = self.driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert size == [WIDTH, HEIGHT]
        assert self.driver.execute_script(CONTRAST) >= 4.5
        assert self.driver.execute_script(SMALL_TARGETS) == []
        found = violations(self.driver) if self.runs_scripts else []
        assert found == [], found
        assert not [message for message in console_of(self.driver) if "Security Policy" in message]


def violations(driver: webdriver.Chrome) -> list[str]:
    """Return what axe-core finds wrong with the page, which may run scripts; nothing where it is not installed."""
    if not AXE.exists():
        return []
    driver.execute_script(AXE.read_text("utf-8"))
    found = driver.execute_async_script(JUDGE)
    assert isinstance(found, list)
    return found


def console_of(driver: webdriver.Chrome) -> list[str]:
    """Return the newest messages about pages, without what a browser says of its own pages and of a slow machine."""
    log = driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium has no type for it
    return [entry["message"] for entry in log if entry["source"] != "intervention"]


@contextmanager
def open_browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """Start a browser of a phone's size with a profile of its own, which is gone at the end."""
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
        "--accept-lang=en-US",
        f"--user-data-dir={folder / 'browser'}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver
    finally:
        driver.quit()


@contextmanager
def open_phone(folder: Path) -> Iterator[Phone]:
    """Pick up a phone; it waits for what a page is about to show."""
    with open_browser(folder) as driver:
        driver.implicitly_wait(LONG)
        yield Phone(driver, folder)
