"""The memory of an SSD1306 and of an SH1106 behind the I2C bus, as their data sheets describe it.

Sources: Solomon Systech SSD1306 rev. 1.1 §10; Sino Wealth SH1106 v2.3, command table.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import ClassVar

from PIL import Image

WIDE = 132
PAGES = 8


class Controller:
    """As much of an I2C display as an smbus speaks to: commands at register 0x00, memory at 0x40."""

    arguments: ClassVar[dict[int, int]] = {}
    first_column: ClassVar = 0

    def __init__(self) -> None:
        self.memory = [bytearray(WIDE) for _ in range(PAGES)]
        self.is_on = False
        self.frames = 0
        self.contrast = 0
        self.fails_with: int | None = None
        self.page = self.column = 0

    def write_i2c_block_data(self, address: int, register: int, block: Sequence[int]) -> None:
        assert address == 0x3C
        assert 0 < len(block) <= 32
        if self.fails_with is not None:
            raise OSError(self.fails_with, errno.errorcode[self.fails_with])
        if register == 0x40:
            for byte in block:
                self.store(byte)
            return
        assert register == 0x00
        commands = iter(block)
        for command in commands:
            self.obey(command, [next(commands) for _ in range(self.arguments.get(command, 0))])

    def obey(self, command: int, arguments: list[int]) -> None:
        if command in (0xAE, 0xAF):
            self.is_on = command == 0xAF
        elif command == 0x81:
            (self.contrast,) = arguments

    def store(self, byte: int) -> None:
        self.memory[self.page][self.column] = byte

    def picture(self, height: int = 64) -> Image.Image:
        """What is lit, as a person sees it."""
        image = Image.new("1", (128, height))
        for y in range(height if self.is_on else 0):
            for x in range(128):
                image.putpixel((x, y), self.memory[y // 8][x + self.first_column] >> y % 8 & 1)
        return image


class Bus:
    """An I2C bus as smbus2 opens it, with one controller on it."""

    def __init__(self, controller: Controller) -> None:
        self.write_i2c_block_data = controller.write_i2c_block_data
        self.is_closed = False

    def i2c_rdwr(self, message: Iterable[int]) -> None:
        register, *block = message
        for start in range(0, len(block), 32):
            self.write_i2c_block_data(0x3C, register, block[start : start + 32])

    def close(self) -> None:
        self.is_closed = True


class Ssd1306(Controller):
    """Horizontal addressing: the column runs within its range, then the page, then from the top again."""

    arguments: ClassVar = {
        0x20: 1, 0x21: 2, 0x22: 2, 0x81: 1, 0x8D: 1, 0xA8: 1, 0xD3: 1, 0xD5: 1, 0xD9: 1, 0xDA: 1, 0xDB: 1,
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.columns = (0, 127)
        self.pages = (0, 7)

    def obey(self, command: int, arguments: list[int]) -> None:
        super().obey(command, arguments)
        if command == 0x21:
            self.columns = (arguments[0], arguments[1])
            self.column = arguments[0]
            self.frames += 1
        elif command == 0x22:
            self.pages = (arguments[0], arguments[1])
            self.page = arguments[0]

    def store(self, byte: int) -> None:
        super().store(byte)
        self.column += 1
        if self.column > self.columns[1]:
            self.column = self.columns[0]
            self.page = self.pages[0] if self.page == self.pages[1] else self.page + 1


class Sh1106(Controller):
    """Page addressing only; 132 columns, of which a 128 pixel panel shows those from 2."""

    arguments: ClassVar = {0x81: 1, 0xA8: 1, 0xAD: 1, 0xD3: 1, 0xD5: 1, 0xD9: 1, 0xDA: 1, 0xDB: 1}
    first_column: ClassVar = 2

    def obey(self, command: int, arguments: list[int]) -> None:
        super().obey(command, arguments)
        if command <= 0x0F:
            self.column = self.column & 0xF0 | command
        elif command <= 0x1F:
            self.column = self.column & 0x0F | (command & 0x0F) << 4
        elif 0xB0 <= command <= 0xB7:
            self.page = command & 0x0F
            self.frames += self.page == 0

    def store(self, byte: int) -> None:
        super().store(byte)
        self.column += 1
