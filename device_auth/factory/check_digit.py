"""The form of a DSN, and its check digit: one more character, by which a DSN that was typed or read wrong is recognised.

The check digit is that of ISO/IEC 7064 MOD 37,36 over 0-9 and A-Z: it tells each wrong character and each pair of neighbours
that changed places. An underscore or a hyphen does not count, and small letters count as capital ones.
"""

import re
from typing import Final

ANY_DSN: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_-]{3,31}")
"""The form of every DSN; that of a product may be narrower. It is an argument of programs: never an option."""

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def check_digit_of(body: str) -> str:
    """Return the check digit of a DSN that has none yet: a digit or a capital letter.

    Source: ISO/IEC 7064, hybrid systems; its own example is A12425GABC1234002 with the digit M.
    """
    number = 36
    for letter in body.upper():
        if letter in DIGITS:
            number = (number + DIGITS.index(letter)) % 36 or 36
            number = number * 2 % 37
    return DIGITS[(37 - number) % 36]


def has_check_digit(dsn: str) -> bool:
    """Return whether the last character of a DSN is the check digit of those before it."""
    return len(dsn) > 1 and check_digit_of(dsn[:-1]) == dsn[-1].upper()
