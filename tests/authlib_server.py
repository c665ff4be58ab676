"""An authorization server that this project did not write: Authlib's, with what its integrators fill in.

Clients, codes and tokens lie in memory, and every exchange is kept, to be looked at.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oauth2.rfc8628 import (
    DEVICE_CODE_GRANT_TYPE,
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    DeviceCredentialDict,
)
from authlib.oidc.discovery import get_well_known_url as get_openid_url
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

SPEAKER: Final = "a-speaker"
NO_REFRESH: Final = "a-client-without-refresh"
NO_DEVICE_FLOW: Final = "a-client-without-device-flow"
CONFIDENTIAL: Final = "a-client-with-a-secret"
SECRET: Final = "canary-secret-of-a-client"
SCOPES: Final = ["music", "offline_access"]
OWNER: Final = "the owner"

METHODS: Final = ["none", "client_secret_post", "client_secret_basic"]

GRANT_TYPES: Final = {
    SPEAKER: {DEVICE_CODE_GRANT_TYPE, "refresh_token"},
    CONFIDENTIAL: {DEVICE_CODE_GRANT_TYPE, "refresh_token"},
    NO_REFRESH: {DEVICE_CODE_GRANT_TYPE},
    NO_DEVICE_FLOW: {"refresh_token"},
}


@dataclass
class Exchange:
    """One request and how it was answered."""

    path: str
    form: dict[str, str]
    has_credentials: bool
    at: float
    status: int
    error: str | None


@dataclass
class Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """A public client has no secret and says its name in the body; a confidential one sends its secret in one way."""

    client_id: str
    method: str

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        return " ".join(name for name in (scope or "").split() if name in SCOPES)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == (self.method if self.client_id == CONFIDENTIAL else "none")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in GRANT_TYPES[self.client_id]


@dataclass
class Token(TokenMixin):  # type: ignore[misc]  # Authlib has no types
    """What was given to a client."""

    client_id: str
    scope: str
    access_token: str
    refresh_token: str
    is_over: bool = False

    def check_client(self, client: Client) -> bool:
        return bool(self.client_id == client.client_id)

    def get_scope(self) -> str:
        return self.scope


@dataclass
class Provider:
    """The server as tests see it: what it is to do, and what it has seen.

    Attributes:
        approved: what the owner decided; None while the owner is thinking.
        clock: what the time between polls is measured by.
        interval: seconds between polls that clients are told.
        least_gap: seconds between polls below which they are told to slow down.
        code_lifetime: seconds that clients are told a code lives.
        true_lifetime: seconds of real time that it lives indeed.
        rotates: whether each refresh brings a new refresh token and ends the old one.
        method: how a confidential client authenticates, and what the metadata say.
        is_openid: whether its metadata stand where OpenID Connect has them, not where RFC 8414 does.
    """

    approved: bool | None = None
    clock: Callable[[], float] = time.monotonic
    interval: int = 1
    least_gap: float = 0
    code_lifetime: int = 600
    true_lifetime: float = 600
    rotates: bool = False
    is_openid: bool = False
    method: str = "none"
    origin: str = ""
    codes: dict[str, DeviceCredentialDict] = field(default_factory=dict)
    tokens: list[Token] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"{self.origin}/homes/1"

    @property
    def polls(self) -> list[Exchange]:
        return [one for one in self.seen if one.form.get("grant_type") == DEVICE_CODE_GRANT_TYPE]

    @property
    def errors(self) -> list[str | None]:
        return [one.error for one in self.polls]

    def revoke_all(self) -> None:
        """Have the owner remove the speaker from the account."""
        for token in self.tokens:
            token.is_over = True

    def find(self, refresh_token: str) -> Token | None:
        return next((token for token in self.tokens if token.refresh_token == refresh_token), None)


class Server(AuthorizationServer):  # type: ignore[misc]  # Authlib has no types
    """Authlib's server over what one provider has in memory."""

    def __init__(self, app: Flask, provider: Provider) -> None:
        super().__init__(app)
        self.provider = provider

    def query_client(self, client_id: str) -> Client | None:
        return Client(client_id, self.provider.method) if client_id in GRANT_TYPES else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        former = getattr(request, "refresh_token", None)
        refresh_token = token.get("refresh_token") or (former.refresh_token if former else "")
        self.provider.tokens.append(
            Token(request.client.client_id, token.get("scope", ""), token["access_token"], refresh_token)
        )
        # a device code is good for one grant. Source: RFC 8628 §3.5, RFC 6749 §10.5
        self.provider.codes.pop(request.form.get("device_code", ""), None)


class CodeEndpoint(DeviceAuthorizationEndpoint):  # type: ignore[misc]  # Authlib has no types
    """Issues code pairs."""

    CLIENT_AUTH_METHODS: Final = METHODS

    @property
    def EXPIRES_IN(self) -> int:  # noqa: N802  Authlib's name
        return _provider_of(self).code_lifetime

    @property
    def INTERVAL(self) -> int:  # noqa: N802  Authlib's name
        return _provider_of(self).interval

    def get_verification_uri(self) -> str:
        return f"{_provider_of(self).origin}/activate"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        provider = _provider_of(self)
        provider.codes[data["device_code"]] = DeviceCredentialDict(
            data,
            client_id=client_id,
            scope=scope,
            expires_at=time.time() + provider.true_lifetime,
            polled_at=provider.clock(),
        )


class CodeGrant(DeviceCodeGrant):  # type: ignore[misc]  # Authlib has no types
    """Answers polls."""

    TOKEN_ENDPOINT_AUTH_METHODS: Final = METHODS

    def query_device_credential(self, device_code: str) -> DeviceCredentialDict | None:
        return _provider_of(self).codes.get(device_code)

    def query_user_grant(self, _user_code: str) -> tuple[str, bool] | None:
        approved = _provider_of(self).approved
        return None if approved is None else (OWNER, approved)

    def should_slow_down(self, credential: DeviceCredentialDict) -> bool:
        provider = _provider_of(self)
        before, credential["polled_at"] = credential["polled_at"], provider.clock()
        return bool(credential["polled_at"] - before < provider.least_gap)


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]  # Authlib has no types
    """Answers refreshes."""

    TOKEN_ENDPOINT_AUTH_METHODS: Final = METHODS

    @property
    def INCLUDE_NEW_REFRESH_TOKEN(self) -> bool:  # noqa: N802  Authlib's name
        return _provider_of(self).rotates

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        token = _provider_of(self).find(refresh_token)
        return None if token is None or token.is_over else token

    def authenticate_user(self, _token: Token) -> str:
        return OWNER

    def revoke_old_credential(self, token: Token) -> None:
        token.is_over = self.INCLUDE_NEW_REFRESH_TOKEN


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib has no types
    """Ends tokens."""

    CLIENT_AUTH_METHODS: Final = METHODS

    def query_token(self, token_string: str, _hint: str | None) -> Token | None:
        return _provider_of(self).find(token_string)

    def revoke_token(self, token: Token, _request: object) -> None:
        _provider_of(self).revoke_all()
        token.is_over = True


def _provider_of(part: Any) -> Provider:
    provider = part.server.provider
    assert isinstance(provider, Provider)
    return provider


def make_app(provider: Provider) -> Flask:
    """Put Authlib's parts behind the addresses that its metadata name."""
    app = Flask(__name__)
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    app.config["OAUTH2_SCOPES_SUPPORTED"] = SCOPES
    server = Server(app, provider)
    server.register_endpoint(CodeEndpoint(server))
    server.register_endpoint(Revocation(server))
    server.register_grant(CodeGrant)
    server.register_grant(RefreshGrant)
    place = (get_openid_url if provider.is_openid else get_well_known_url)(provider.issuer)

    @app.get(place)
    def metadata() -> Response:
        fields = AuthorizationServerMetadata(
            issuer=provider.issuer,
            device_authorization_endpoint=f"{provider.origin}/device",
            token_endpoint=f"{provider.origin}/token",
            token_endpoint_auth_methods_supported=[provider.method],
            revocation_endpoint=f"{provider.origin}/revoke",
            revocation_endpoint_auth_methods_supported=["none"],
            grant_types_supported=[DEVICE_CODE_GRANT_TYPE, "refresh_token"],
            response_types_supported=["none"],
            scopes_supported=SCOPES,
        )
        fields.validate()
        return jsonify(fields)

    @app.post("/device")
    def device() -> Response:
        answer = server.create_endpoint_response(CodeEndpoint.ENDPOINT_NAME)
        assert isinstance(answer, Response)
        return answer

    @app.post("/token")
    def token() -> Response:
        answer = server.create_token_response()
        assert isinstance(answer, Response)
        return answer

    @app.post("/revoke")
    def revoke() -> Response:
        answer = server.create_endpoint_response(Revocation.ENDPOINT_NAME)
        assert isinstance(answer, Response)
        return answer

    @app.after_request
    def keep(response: Response) -> Response:
        said = response.get_json(silent=True) or {}
        provider.seen.append(
            Exchange(
                path=request.full_path.rstrip("?"),
                form=request.form.to_dict(),
                has_credentials="Authorization" in request.headers,
                at=provider.clock(),
                status=response.status_code,
                error=said.get("error"),
            )
        )
        return response

    return app


@contextmanager
def serve(provider: Provider) -> Iterator[Provider]:
    """Serve on a free loopback port."""

    def answer(environ: Any, start: Any) -> Any:
        return app(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    provider.origin = f"http://127.0.0.1:{server.server_port}"
    app = make_app(provider)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
