from __future__ import annotations

import logging
from errno import EACCES, EBUSY, EIO
from typing import TYPE_CHECKING

import pytest

from hardware.errors import PartBusy, PartMissing
from hardware.kernel_led import KernelLed, pattern_text
from hardware.led import Blink, Breathe, Off, Once, Solid, short_blinks
from hardware.simulated import SimulatedClock
from tests.stand_ins.kernel_leds import KernelLedFiles

if TYPE_CHECKING:
    from pathlib import Path


def opened(
    folder: Path, *, most: int = 255, brightness: float = 1.0, granted_after: float = 0.0
) -> tuple[KernelLed, KernelLedFiles, SimulatedClock]:
    clock = SimulatedClock()
    files = KernelLedFiles(folder, "status", clock.now, most=most, granted_after=granted_after)
    return KernelLed("status", clock, root=files.root, brightness=brightness), files, clock


def test_what_blinks_or_fades_is_left_to_the_pattern_trigger(tmp_path: Path) -> None:
    light, files, clock = opened(tmp_path)
    files.writes.clear()
    light.show(Blink(100, 2900))
    light.show(short_blinks(2, 2000))
    light.show(Breathe(1000, 500))
    clock.pass_time(3600)

    assert files.writes == [
        ("trigger", "pattern"),
        ("pattern", "255 100 255 0 0 2900 0 0"),
        ("pattern", "255 250 255 0 0 250 0 0 255 250 255 0 0 2000 0 0"),
        ("pattern", "0 1000 255 500"),
    ]
    assert clock.rung == 0


def test_a_pattern_waits_until_udev_has_given_us_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # in the service of an ordinary user the light stayed dark: the kernel makes that file anew, as root's
    light, files, clock = opened(tmp_path, granted_after=0.3)
    light.show(Blink(100, 2900))
    clock.pass_time(0.25)
    light.show(Blink(500, 500))
    before = files.brightness()
    clock.pass_time(0.25)
    after = files.brightness()
    light.show(Breathe(1000, 500))

    assert (before, after) == (0, 255)
    assert files.writes[-2:] == [("pattern", "255 500 255 0 0 500 0 0"), ("pattern", "0 1000 255 500")]
    assert not caplog.records


def test_a_pattern_that_is_over_before_it_could_begin_is_not_played(tmp_path: Path) -> None:
    light, files, clock = opened(tmp_path, granted_after=0.3)
    light.show(Blink(100, 2900))
    light.show(Off())
    clock.pass_time(10)

    assert "pattern" not in dict(files.writes)


def test_a_file_that_udev_never_gives_us_is_logged_once_and_then_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    light, files, clock = opened(tmp_path, granted_after=60)
    light.show(Blink(100, 2900))
    clock.pass_time(6)
    with pytest.raises(PartMissing, match="no permission") as refused:
        light.show(Blink(500, 500))
    files.granted_after = 0
    light.show(Blink(250, 250))

    assert [record.message for record in caplog.records] == [
        "the light stays dark: no permission to open kernel LED 'status'"
    ]
    assert "udev rule" in refused.value.hint
    assert files.writes[-1] == ("pattern", "255 250 255 0 0 250 0 0")


def test_a_pattern_shown_once_wakes_us_once(tmp_path: Path) -> None:
    light, files, clock = opened(tmp_path)
    light.show(Once(Blink(500, 500), 60_000))
    clock.pass_time(3600)

    assert clock.rung == 1
    assert files.brightness() == 0


def test_the_brightness_limit_is_a_share_of_what_the_led_can_do(tmp_path: Path) -> None:
    light, files, _ = opened(tmp_path, most=200, brightness=0.25)
    light.show(Solid())

    assert files.brightness() == 50


def test_a_led_that_is_only_on_or_off_stays_visible_under_a_limit(tmp_path: Path) -> None:
    light, files, _ = opened(tmp_path, most=1, brightness=0.25)
    light.show(Solid())

    assert files.brightness() == 1


def test_a_led_that_is_not_there_is_missing_and_those_that_are_are_named(tmp_path: Path) -> None:
    KernelLedFiles(tmp_path, "ACT", lambda: 0.0)
    with pytest.raises(PartMissing, match="no kernel LED 'status'") as missing:
        KernelLed("status", SimulatedClock(), root=tmp_path)

    assert "ACT" in missing.value.hint
    assert "gpio-led" in missing.value.hint


def test_a_machine_without_the_led_class_has_no_led(tmp_path: Path) -> None:
    with pytest.raises(PartMissing) as missing:
        KernelLed("status", SimulatedClock(), root=tmp_path / "leds")

    assert "Known: none" in missing.value.hint


def test_a_trigger_that_is_not_loaded_is_named_with_its_module(tmp_path: Path) -> None:
    files = KernelLedFiles(tmp_path, "status", lambda: 0.0, triggers=["none", "timer"])
    with pytest.raises(PartMissing, match="not loaded the LED trigger 'pattern'") as missing:
        KernelLed("status", SimulatedClock(), root=files.root)

    assert "modprobe ledtrig-pattern" in missing.value.hint


@pytest.mark.parametrize(
    ("errno", "kind", "hint"),
    [
        (EACCES, PartMissing, "udev rule"),
        (EBUSY, PartBusy, "Stop the program"),
        (EIO, PartMissing, "Look at its files"),
    ],
)
def test_files_that_refuse_say_what_to_do(
    tmp_path: Path, errno: int, kind: type[PartMissing | PartBusy], hint: str
) -> None:
    light, files, _ = opened(tmp_path)
    files.fails_with = errno
    with pytest.raises(kind) as refused:
        light.show(Solid())

    assert hint in refused.value.hint

    files.fails_with = 0
    light.show(Solid())
    assert files.brightness() == 255


def test_a_light_that_cannot_be_put_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    light, files, clock = opened(tmp_path)
    light.show(Once(Solid(), 1000))
    files.fails_with = EIO
    with caplog.at_level(logging.WARNING):
        clock.pass_time(2)

    assert "cannot switch the light off" in caplog.text


def test_an_end_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    light, files, _ = opened(tmp_path)
    light.show(Once(Solid(), 1000))
    light.show(Solid())

    light._end()

    assert files.brightness() == 255


def test_the_kernel_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    _, files, _ = opened(tmp_path, most=10)
    led = files.root / "status"
    with pytest.raises(OSError, match="Invalid argument"):
        (led / "trigger").write_text("heartbeat")
    with pytest.raises(FileNotFoundError):
        (led / "pattern").write_text("0 1 1 1")
    (led / "trigger").write_text("pattern")
    with pytest.raises(OSError, match="Invalid argument"):
        (led / "pattern").write_text("11 100 0 100")


def test_off_is_a_pattern_like_the_others() -> None:
    assert pattern_text(Off(), 7) == "0 0 0 0"
