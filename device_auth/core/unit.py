"""Which unit a link belongs to: a link on a copied card is not used.

Two speakers with one refresh token take it from each other: where the provider rotates it, the one that refreshes first
revokes the other. So a link bears the mark of the unit it was made on.
"""

from typing import Protocol

from device_auth.core.models import Link, Mark
from device_auth.core.values import replace


class UnitMarks(Protocol):
    """What identifies this unit; each is looked for when it is asked for."""

    @property
    def board(self) -> str:
        """Return the mark of the board; empty if it has none that would differ on another board."""
        ...

    @property
    def dsn(self) -> str:
        """Return the DSN that the unit's identity or its settings file names; empty if neither does."""
        ...


def is_copied(link: Link, unit: UnitMarks) -> bool:
    """Return whether a link belongs to another unit: by the marks, and without one on either side by the DSN."""
    if link.board and unit.board:
        return link.board != unit.board
    return bool(link.dsn and unit.dsn) and link.dsn != unit.dsn


def judge(link: Link, unit: UnitMarks) -> Link:
    """Return the link, marked if it is copied. One that is not used for another reason keeps its own mark."""
    return replace(link, mark=Mark.COPIED) if link.mark is None and is_copied(link, unit) else link


def fill_in(link: Link, unit: UnitMarks) -> Link:
    """Return this unit's own link with the marks that it has not got yet, and likewise the one that it replaces."""
    former = None if link.replaces is None else fill_in(link.replaces, unit)
    return replace(link, board=link.board or unit.board, dsn=link.dsn or unit.dsn, replaces=former)


def claim_new(link: Link, unit: UnitMarks) -> Link:
    """Return a link that was made on this unit, with its marks.

    Without a mark of the board the DSN decides, so it is the one that ``is_copied`` compares with: a DSN that was given
    for one command only would make the link a copy at once.
    """
    dsn = link.dsn if unit.board else unit.dsn or link.dsn
    return fill_in(replace(link, dsn=dsn), unit)


def adopt(link: Link, unit: UnitMarks) -> Link:
    """Return a copied link as this unit's own."""
    former = None if link.replaces is None else adopt(link.replaces, unit)
    mark = None if link.mark is Mark.COPIED else link.mark
    return replace(link, mark=mark, board=unit.board, dsn=unit.dsn, replaces=former)
