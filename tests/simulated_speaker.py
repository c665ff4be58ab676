"""A speaker that talks to the simulated Amazon over real HTTP, one request at a time, and a clock that stands still."""

import json
from collections.abc import Mapping
from typing import Any, Final

import requests

from device_auth.core.models import DialectName
from device_auth.simulator.models import Options
from device_auth.simulator.referee import RuleName
from device_auth.simulator.server import Running
from tests.waiting import LONG

CLIENT_ID: Final = "amzn1.application-oa2-client." + "0123456789abcdef" * 2
SCOPE_DATA: Final = json.dumps(
    {"alexa:all": {"productID": "kitchen", "productInstanceAttributes": {"deviceSerialNumber": "K-0001"}}}
)
FORM: Final = "application/x-www-form-urlencoded"
URN: Final = "urn:ietf:params:oauth:grant-type:device_code"


def strict(**options: Any) -> Options:
    """Return options of a simulated Amazon that holds our own speaker to the house rules; it polls every 5 s."""
    return Options(is_strict=True, allowed=frozenset({RuleName.POLL_BELOW_TOLD}), **options)


class Clock:
    """Stands still until told; called for the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def let_pass(self, seconds: float) -> None:
        self.now += seconds


class Speaker:
    """Well-behaved unless a test changes a request."""

    def __init__(self, running: Running, dialect: DialectName = DialectName.LWA) -> None:
        self.is_lwa = dialect is DialectName.LWA
        self.client_id = CLIENT_ID if self.is_lwa else "a-speaker"
        self.origin = running.origin
        self.pair_url = (
            f"{running.base_url}create/codepair" if self.is_lwa else f"{running.issuer}/device_authorization"
        )
        self.token_url = f"{running.base_url}token" if self.is_lwa else f"{running.issuer}/token"
        self.control_url = running.control
        self.verify: str | bool = True if running.ca_file is None else str(running.ca_file)
        self.session = requests.Session()
        self.session.trust_env = False

    def pair_form(self) -> dict[str, str]:
        if self.is_lwa:
            return {
                "response_type": "device_code",
                "client_id": self.client_id,
                "scope": "alexa:all",
                "scope_data": SCOPE_DATA,
            }
        return {"client_id": self.client_id, "scope": "listen"}

    def poll_form(self, pair: Mapping[str, str]) -> dict[str, str]:
        if self.is_lwa:
            return {
                "grant_type": "device_code",
                "device_code": pair["device_code"],
                "user_code": pair["user_code"],
            }
        return {"grant_type": URN, "device_code": pair["device_code"], "client_id": self.client_id}

    def send(
        self,
        url: str,
        form: Mapping[str, str] | str,
        *,
        headers: Mapping[str, str | None] | None = None,
        patience: float = LONG,
    ) -> requests.Response:
        usual: dict[str, str | None] = {"Accept": "application/json", "Content-Type": FORM}
        return self.session.post(
            url,
            data=form,
            headers={**usual, **(headers or {})},
            timeout=patience,
            allow_redirects=False,
            verify=self.verify,
        )

    def ask(self, *, language: str = "en-US") -> requests.Response:
        return self.send(self.pair_url, self.pair_form(), headers={"Accept-Language": language})

    def pair(self) -> dict[str, str]:
        answer = self.ask()
        assert answer.status_code == 200, answer.text
        pair: dict[str, str] = answer.json()
        return pair

    def poll(self, pair: Mapping[str, str]) -> requests.Response:
        return self.send(self.token_url, self.poll_form(pair))

    def refresh(self, refresh_token: str) -> requests.Response:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": self.client_id}
        return self.send(self.token_url, form)

    def control(self, what: str, **asked: object) -> requests.Response:
        return self.session.post(self.control_url + what, json=asked, timeout=LONG, verify=self.verify)

    def close(self) -> None:
        self.session.close()
