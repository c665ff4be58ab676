"""Plays one of Amazon's own clients: ``sdk``, ``adapter``, ``java`` or ``toolkit``, named by the first argument."""

import sys

from tests.clients.own_clients import DeviceSdk, JavaSample, SkillsToolkit, Wire
from tests.clients.play import Player, Refused, Show, Wish, play

JAVAS_ACCEPT = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
AXIOS_ACCEPT = "application/json, text/plain, */*"


class Own(Player):
    """One of them; none can revoke, for LWA has no such endpoint."""

    def __init__(self, wish: Wish) -> None:
        name = sys.argv[1]
        self.client: DeviceSdk | JavaSample | SkillsToolkit
        if name == "java":
            self.client = JavaSample(
                Wire(wish.issuer, wish.ca_file, {"Accept": JAVAS_ACCEPT, "User-Agent": "Java/1.8.0"}),
                wish.client_id,
                wish.authorization_url,
                carry=lambda _address: sys.stdin.readline().strip(),
            )
        elif name == "toolkit":
            self.client = SkillsToolkit(
                Wire(wish.issuer, wish.ca_file, {"Accept": AXIOS_ACCEPT, "User-Agent": "axios/0.21"}),
                wish.client_id,
                "a-secret-of-the-web-client",
            )
        else:
            wire = Wire(wish.issuer, wish.ca_file)
            self.client = DeviceSdk(wire, wish.client_id, asks_profile=name == "adapter")

    def link(self, show: Show) -> None:
        self.client.link(show)

    def refresh(self) -> None:
        self.client.refresh()

    def revoke(self) -> None:
        raise Refused("has no call for it")


if __name__ == "__main__":
    play(Own)
