"""The simulated Amazon's authorization-code flow, tried by a client that this project did not write: Authlib's.

Authlib writes the address, makes verifier and challenge, reads the redirect and sends the exchange; the pages in
between are gone through by a browser without script.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final
from urllib.parse import urljoin

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from tests.command import started, stream_of
from tests.page_elements import Elements
from tests.waiting import LONG
from tests.world import CLIENT_ID

SECRET: Final = "the secret of the maker"
SECRET_CLIENT: Final = CLIENT_ID[:-1] + "0"
RETURN_URL: Final = "https://localhost:9745/authresponse"
SCOPE_DATA: Final = json.dumps(
    {"alexa:all": {"productID": "kitchen", "productInstanceAttributes": {"deviceSerialNumber": "K-0001"}}}
)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    path = tmp_path_factory.mktemp("rig") / "clients"
    path.touch(0o600)
    path.write_text(
        f'[[client]]\nid = "{CLIENT_ID}"\n[[client]]\nid = "{SECRET_CLIENT}"\nsecret = "{SECRET}"\n'
    )
    words = ("--clients-file", str(path), "--redirect-uri", RETURN_URL)
    with started("simulator", "--json", "--port", "0", *words) as simulator:
        yield json.loads(stream_of(simulator.stdout).readline())
        simulator.terminate()
        assert simulator.wait(LONG) == 0


@pytest.fixture(autouse=True)
def _plain_http_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


class Maker:
    """A maker with a browser and Authlib."""

    def __init__(self, addresses: dict[str, str], client: OAuth2Session) -> None:
        self.addresses = addresses
        self.client = client
        client.trust_env = False
        self.verifier = generate_token(48)

    def allow(self) -> str:
        """Go through the pages; give the address that the browser is sent back to."""
        address, state = self.client.create_authorization_url(
            self.addresses["authorization_url"], code_verifier=self.verifier, scope_data=SCOPE_DATA
        )
        assert state
        with requests.Session() as browser:
            browser.trust_env = False
            page = browser.get(address, timeout=LONG)
            for answer in ({}, {"decision": "allow"}):
                form = Elements(page.text)
                page = browser.post(
                    urljoin(address, form.action),
                    data={**form.fields, **answer},
                    allow_redirects=False,
                    timeout=LONG,
                )
        assert page.status_code == 303
        return page.headers["Location"]

    def exchange(self, address: str, **more: str) -> dict[str, object]:
        given = {"code_verifier": self.verifier, **more}
        tokens: dict[str, object] = self.client.fetch_token(
            f"{self.addresses['base_url']}token", authorization_response=address, **given
        )
        return tokens

    def refresh(self) -> dict[str, object]:
        tokens: dict[str, object] = self.client.refresh_token(f"{self.addresses['base_url']}token")
        return tokens

    def complaints(self) -> set[str]:
        told = requests.get(f"{self.addresses['control']}referee", timeout=LONG).json()["complaints"]
        return {each["kind"] for each in told}


WAYS: Final = {
    "PKCE alone": (CLIENT_ID, None, "none"),
    "secret in the form": (SECRET_CLIENT, SECRET, "client_secret_post"),
    "secret in the header": (SECRET_CLIENT, SECRET, "client_secret_basic"),
}


NewMaker = Callable[[str, str | None, str], Maker]


@pytest.fixture
def new_maker(addresses: dict[str, str]) -> Iterator[NewMaker]:
    with ExitStack() as opened:

        def make(client_id: str, secret: str | None, way: str) -> Maker:
            requests.post(f"{addresses['control']}referee/reset", timeout=LONG)
            client = OAuth2Session(
                client_id,
                secret,
                token_endpoint_auth_method=way,
                scope="alexa:all",
                redirect_uri=RETURN_URL,
                code_challenge_method="S256",
            )
            return Maker(addresses, opened.enter_context(client))

        yield make


@pytest.mark.parametrize("way", WAYS)
def test_authlib_is_given_tokens_and_refreshes_them(new_maker: NewMaker, way: str) -> None:
    maker = new_maker(*WAYS[way])

    tokens = maker.exchange(maker.allow())
    refreshed = maker.refresh()

    assert str(tokens["access_token"]).startswith("Sim|A|")
    assert tokens["token_type"] == "bearer"
    assert refreshed["access_token"] != tokens["access_token"]
    assert refreshed["refresh_token"] == tokens["refresh_token"]
    assert maker.complaints() == set()


def test_authlib_is_refused_what_is_not_its_own(new_maker: NewMaker) -> None:
    maker = new_maker(*WAYS["PKCE alone"])
    address = maker.allow()

    for more, error in (
        ({"code_verifier": generate_token(48)}, "invalid_grant"),
        ({"redirect_uri": f"{RETURN_URL}/"}, "invalid_grant"),
        ({"client_secret": SECRET}, "unauthorized_client"),
    ):
        with pytest.raises(OAuthError) as caught:
            maker.exchange(address, **more)
        assert caught.value.error == error
    maker.exchange(address)
    with pytest.raises(OAuthError) as caught:
        maker.exchange(address)
    assert caught.value.error == "invalid_grant"
    with pytest.raises(OAuthError) as caught:
        maker.refresh()
    assert caught.value.error == "invalid_grant"
