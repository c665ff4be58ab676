"""The disk doors, simulated: they keep what they are given in memory, and fail when told to."""

from typing import Self

from device_auth.core.errors import StoreError
from device_auth.core.models import Link, Mark, PendingPair, TokenGrant
from device_auth.core.values import replace


class SimulatedStore:
    """A grant store in memory.

    Attributes:
        link: what is stored.
        writes: every generation that was stored, in order; None for an erasure.
        fault: raised by every method that writes, while it is set.
    """

    def __init__(self, link: Link | None = None) -> None:
        self.link = link
        self.writes: list[Link | None] = []
        self.fault: StoreError | None = None
        self._is_locked = False

    def __enter__(self) -> Self:
        self._is_locked = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_locked = False

    def read(self) -> Link | None:
        return self.link

    def prove_writable(self) -> None:
        self._check()

    def save(self, link: Link) -> None:
        self._check()
        if self.link is None or self.link.link_id != link.link_id:
            raise StoreError("no generation of this link is stored")
        if self.link != link:
            self._write(link)

    def replace(self, link: Link) -> None:
        self._check()
        self._write(link)

    def adopt(self) -> bool:
        self._check()
        if self.link is None or self.link.mark is not Mark.COPIED:
            return False
        self._write(replace(self.link, mark=None))
        return True

    def take_back(self) -> None:
        self.erase()

    def erase(self) -> None:
        self._check()
        if self.link is not None:
            self._write(None)

    def _check(self) -> None:
        if not self._is_locked:
            raise StoreError("the lock is not held")
        if self.fault is not None:
            raise self.fault

    def _write(self, link: Link | None) -> None:
        self.link = link
        self.writes.append(link)


class SimulatedPending:
    """A pending store in memory."""

    def __init__(self, pending: PendingPair | None = None) -> None:
        self.pending = pending

    def keep(self, pending: PendingPair) -> None:
        self.pending = pending

    def read(self) -> PendingPair | None:
        return self.pending

    def forget(self) -> None:
        self.pending = None


class SimulatedTokenFiles:
    """Token files in memory."""

    def __init__(self) -> None:
        self.grant: TokenGrant | None = None

    def publish(self, grant: TokenGrant) -> None:
        self.grant = grant

    def withdraw(self) -> None:
        self.grant = None
