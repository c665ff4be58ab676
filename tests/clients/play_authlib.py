"""Authlib's ``OAuth2Session`` as a client of the device flow, as its documentation has it."""

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from tests.clients.play import WAITING, Pending, Player, Refused, Show, Wish, play, poll_until_done

URN = "urn:ietf:params:oauth:grant-type:device_code"


class Authlib(Player):
    """Discovers, asks, polls, refreshes and revokes."""

    def __init__(self, wish: Wish) -> None:
        self.session = OAuth2Session(
            wish.client_id,
            wish.client_secret,
            scope=wish.scope,
            token_endpoint_auth_method="client_secret_basic" if wish.client_secret else "none",
        )
        self.session.verify = wish.ca_file
        address = f"{wish.issuer}/.well-known/oauth-authorization-server"
        self.metadata = requests.get(address, verify=wish.ca_file, timeout=30).json()
        self.wish = wish

    def link(self, show: Show) -> None:
        pair = self.session.request(
            "POST",
            self.metadata["device_authorization_endpoint"],
            data={"scope": self.wish.scope},
            withhold_token=True,
            auth=self.session.client_auth(self.session.token_endpoint_auth_method),
        ).json()
        show(pair["user_code"])

        def ask() -> None:
            try:
                self.session.fetch_token(
                    self.metadata["token_endpoint"], grant_type=URN, device_code=pair["device_code"]
                )
            except OAuthError as error:
                raise (Pending if error.error in WAITING else Refused)(error.error) from error

        poll_until_done(ask, pair.get("interval", 5))

    def refresh(self) -> None:
        try:
            self.session.refresh_token(self.metadata["token_endpoint"])
        except OAuthError as error:
            raise Refused(error.error) from error

    def revoke(self) -> None:
        answer = self.session.revoke_token(
            self.metadata["revocation_endpoint"], token=self.session.token["refresh_token"]
        )
        answer.raise_for_status()


if __name__ == "__main__":
    play(Authlib)
