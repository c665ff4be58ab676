"""requests-oauthlib with oauthlib's ``DeviceClient``; it has no call for the device request and none to revoke."""

import requests
from oauthlib.oauth2 import DeviceClient, OAuth2Error
from requests_oauthlib import OAuth2Session

from tests.clients.play import WAITING, Pending, Player, Refused, Show, Wish, play, poll_until_done


class RequestsOauthlib(Player):
    """Asks, polls and refreshes as oauthlib's texts have it."""

    def __init__(self, wish: Wish) -> None:
        self.client = DeviceClient(wish.client_id, scope=wish.scope)
        self.session = OAuth2Session(client=self.client, scope=wish.scope.split())
        self.session.verify = wish.ca_file
        self.wish = wish

    def link(self, show: Show) -> None:
        pair = requests.post(
            f"{self.wish.issuer}/device_authorization",
            data={"client_id": self.wish.client_id, "scope": self.wish.scope},
            verify=self.wish.ca_file,
            timeout=30,
        ).json()
        show(pair["user_code"])

        def ask() -> None:
            try:
                self.session.fetch_token(
                    f"{self.wish.issuer}/token", include_client_id=True, device_code=pair["device_code"]
                )
            except OAuth2Error as error:
                raise (Pending if error.error in WAITING else Refused)(error.error) from error

        poll_until_done(ask, pair.get("interval", 5))

    def refresh(self) -> None:
        try:
            self.session.refresh_token(f"{self.wish.issuer}/token", client_id=self.wish.client_id)
        except OAuth2Error as error:
            raise Refused(error.error) from error

    def revoke(self) -> None:
        body = self.client.prepare_token_revocation_request(
            f"{self.wish.issuer}/revoke", self.session.token["refresh_token"], "refresh_token"
        )
        address, headers, text = body
        answer = requests.post(
            address,
            data=f"{text}&client_id={self.wish.client_id}",
            headers=headers,
            verify=self.wish.ca_file,
            timeout=30,
        )
        answer.raise_for_status()


if __name__ == "__main__":
    play(RequestsOauthlib)
