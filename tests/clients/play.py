"""How a client that this project did not write is played: commands on standard input, events on standard output.

A player links, refreshes and revokes when it is told to. Each event is one JSON object on a line, and no token is in
any: ``code`` (the user code), ``linked``, ``refreshed``, ``revoked``, ``refused`` (with the error that the client
gave up for). The wish of the stories, the addresses and the client's name, is the last argument, as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol


@dataclass(frozen=True)
class Wish:
    """Who plays, against which simulated Amazon.

    Attributes:
        folder: the player's own.
    """

    issuer: str
    authorization_url: str
    client_id: str
    client_secret: str | None
    scope: str
    ca_file: str
    folder: Path


class Refused(Exception):
    """The client has given up."""


Show = Callable[[str], None]
"""Shows a user code to its owner."""


class Player(Protocol):
    """One client."""

    def link(self, show: Show) -> None:
        """Link; raise ``Refused`` if the client gives up."""

    def refresh(self) -> None:
        """Refresh the access token once."""

    def revoke(self) -> None:
        """End the link from this side, if the client can."""

    def close(self) -> None:
        """End what the client has started; most have started nothing."""


class Pending(Exception):
    """The owner has not answered yet, or the client polls too fast: ``name`` is the error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


WAITING: Final = frozenset({"authorization_pending", "slow_down"})


def poll_until_done(ask: Callable[[], object], interval: float) -> None:
    """Poll as RFC 8628 §3.5 says, for the libraries that leave the loop to their users."""
    while True:
        try:
            ask()
        except Pending as pending:
            interval += 5 if pending.name == "slow_down" else 0
            time.sleep(interval)
        else:
            return


def play(make: Callable[[Wish], Player]) -> None:
    """Do as the stories say, until they have no more to say."""
    with closing(make(read_wish(sys.argv[-1]))) as player:
        for line in iter(sys.stdin.readline, ""):
            try:
                _do(player, line.strip())
            except Refused as refused:
                tell(event="refused", why=str(refused))
            except Exception as error:  # noqa: BLE001  # foreign code may raise anything, and the table shows it
                tell(event="refused", why=f"{type(error).__name__}: {error}"[:200])


def _do(player: Player, command: str) -> None:
    match command:
        case "link":
            player.link(lambda code: tell(event="code", code=code))
            tell(event="linked")
        case "refresh":
            player.refresh()
            tell(event="refreshed")
        case "revoke":
            player.revoke()
            tell(event="revoked")
        case _:
            raise ValueError(command)


def read_wish(text: str) -> Wish:
    members = json.loads(text)
    return Wish(**{**members, "folder": Path(members["folder"])})


def tell(**members: str) -> None:
    print(json.dumps(members), flush=True)
