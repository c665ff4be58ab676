"""requests_oauth2client: discovers, and has a job that polls."""

import requests
from requests_oauth2client import (
    DeviceAuthorizationPoolingJob,
    OAuth2Client,
    OAuth2Error,
    PublicApp,
)
from requests_oauth2client.client_authentication import ClientSecretPost

from tests.clients.play import Player, Refused, Show, Wish, play


class RequestsOauth2client(Player):
    """Does all by the library's own calls."""

    def __init__(self, wish: Wish) -> None:
        session = requests.Session()
        session.verify = wish.ca_file
        self.client = OAuth2Client.from_discovery_endpoint(
            issuer=wish.issuer,
            session=session,
            auth=ClientSecretPost(wish.client_id, wish.client_secret)
            if wish.client_secret
            else PublicApp(wish.client_id),
            device_authorization_endpoint=f"{wish.issuer}/device_authorization",  # it reads none from the metadata
            testing=True,  # loopback, with a port
        )
        self.wish = wish

    def link(self, show: Show) -> None:
        pair = self.client.authorize_device(scope=self.wish.scope)
        show(pair.user_code)
        job = DeviceAuthorizationPoolingJob(self.client, pair)
        try:
            token = None
            while token is None:
                token = job()
        except OAuth2Error as error:
            raise Refused(error.error) from error
        self.token = token

    def refresh(self) -> None:
        try:
            newer = self.client.refresh_token(self.token)
        except OAuth2Error as error:
            raise Refused(error.error) from error
        self.token = newer

    def revoke(self) -> None:
        if not self.client.revoke_refresh_token(self.token.refresh_token):
            raise Refused("not revoked")


if __name__ == "__main__":
    play(RequestsOauth2client)
