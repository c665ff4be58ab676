"""Amazon's own clients, request by request: the AVS Device SDK, the Java sample, the Skills Toolkit for VS Code.

Written from their sources: the same headers, bodies, order and pace, and the same opinion of each answer. Nothing
of them is installed; what they do is played, so that it can be played without waiting too.
"""

import base64
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.clients.play import Refused, Show

FORM: Final = "application/x-www-form-urlencoded"
URL_ENCODED: Final = {"Content-Type": FORM}
SPEAKER: Final = {
    "alexa:all": {"productID": "kitchen", "productInstanceAttributes": {"deviceSerialNumber": "K-0001"}}
}
"""Names product and unit, as ``scope_data``; Java's JSON has spaces, that of the others has none."""

_KNOWN: Final = {
    "authorization_pending": "AUTHORIZATION_PENDING",
    "slow_down": "SLOW_DOWN",
    "invalid_code_pair": "INVALID_CODE_PAIR",
    "invalid_client": "AUTHORIZATION_FAILED",
    "invalid_grant": "AUTHORIZATION_EXPIRED",
    "invalid_request": "INVALID_REQUEST",
    "unauthorized_client": "UNAUTHORIZED_CLIENT",
    "unsupported_grant_type": "UNSUPPORTED_GRANT_TYPE",
    "servererror": "SERVER_ERROR",
    "InvalidValue": "INVALID_VALUE",
}
"""The SDK's table of error names; ``access_denied`` is not in it."""

_RETRIED: Final = frozenset({"AUTHORIZATION_PENDING", "SLOW_DOWN", "SERVER_ERROR", "UNKNOWN_ERROR"})


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    members: Mapping[str, object]

    def text(self, name: str) -> str:
        value = self.members.get(name)
        return value if isinstance(value, str) else ""


@dataclass
class Wire:
    """Sends requests with exactly these headers, as libcurl, axios and Java do: none is added but Host and the length."""

    origin: str
    ca_file: str | None = None
    usual: Mapping[str, str] = field(default_factory=lambda: {"Accept": "*/*"})

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        parts = urlsplit(self.origin)
        assert parts.hostname is not None
        connection = (
            HTTPSConnection(
                parts.hostname,
                parts.port,
                timeout=60,
                context=ssl.create_default_context(cafile=self.ca_file),
            )
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname, parts.port, timeout=60)
        )
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {**self.usual, **headers}.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        try:
            members = json.loads(raw)
        except ValueError:
            members = {}
        return Reply(answer.status, members if isinstance(members, dict) else {})

    def post_form(
        self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] = URL_ENCODED
    ) -> Reply:
        return self.send("POST", path, headers, urlencode(fields).encode())

    def post_json(self, path: str, members: Mapping[str, str]) -> Reply:
        text = json.dumps(members, separators=(",", ":"))
        return self.send("POST", path, {"Content-Type": "application/json"}, text.encode())


@dataclass
class DeviceSdk:
    """The AVS Device SDK: its CBL delegate (1.7 to 1.26), or with the profile the LWA adapter (1.25 on).

    Source: CBLAuthDelegate.cpp; LWAAuthorizationAdapter.cpp at 1.26.0.

    Attributes:
        wait: waits seconds.
        now: monotonic seconds.
    """

    wire: Wire
    client_id: str
    asks_profile: bool = False
    wait: Callable[[float], object] = time.sleep
    now: Callable[[], float] = time.monotonic
    user_id: str = ""
    refresh_token: str = ""

    def link(self, show: Show) -> None:
        """Ask for a pair, poll at once and every 5 s, ask for the profile, and prove the token by a refresh."""
        pair = self.wire.post_form(
            "/auth/O2/create/codepair",
            {
                "response_type": "device_code",
                "client_id": self.client_id,
                "scope": "alexa:all profile:user_id" if self.asks_profile else "alexa:all",
                "scope_data": json.dumps(SPEAKER, separators=(",", ":")),
            },
            {**URL_ENCODED, "Accept-Language": "en-US"},
        )
        error = _opinion(pair)
        lifetime = pair.members.get("expires_in")
        is_whole = all(pair.text(name) for name in ("user_code", "device_code", "verification_uri"))
        if error or not is_whole or not isinstance(lifetime, int) or lifetime <= 0:
            raise Refused(error or "UNKNOWN_ERROR")
        expires_at = self.now() + lifetime
        show(pair.text("user_code"))
        tokens = self._poll(pair, expires_at)
        if self.asks_profile:
            # unescaped, as the SDK writes it
            profile = self.wire.send("GET", f"/user/profile?access_token={tokens.text('access_token')}", {})
            self.user_id = profile.text("user_id")
            if not self.user_id:
                raise Refused(f"no user_id: {profile.status}")
        self.refresh_token = tokens.text("refresh_token")
        self.refresh()

    def _poll(self, pair: Reply, expires_at: float) -> Reply:
        """Poll until the answer is final. ``interval`` is read and not used; ``slow_down`` doubles the pace."""
        pace = 5.0
        while self.now() < expires_at:
            reply = self.wire.post_form(
                "/auth/O2/token",
                {
                    "grant_type": "device_code",
                    "device_code": pair.text("device_code"),
                    "user_code": pair.text("user_code"),
                },
            )
            error = _opinion(reply) or _incomplete(reply)
            if not error:
                return reply
            if error not in _RETRIED:
                raise Refused(error)
            pace = min(pace * 2, 60.0) if error == "SLOW_DOWN" else pace
            self.wait(pace)
        raise Refused("INVALID_CODE_PAIR by its own clock")

    def refresh(self) -> None:
        """Refresh, and keep whichever refresh token arrives."""
        reply = self.wire.post_form(
            "/auth/O2/token",
            {
                "grant_type": "refresh_token",
                "refresh_token": self.refresh_token,
                "client_id": self.client_id,
            },
        )
        error = _opinion(reply) or _incomplete(reply)
        if error:
            raise Refused(error)
        self.refresh_token = reply.text("refresh_token")


def _opinion(reply: Reply) -> str:
    """Return the SDK's name for an error; empty for a success."""
    if reply.status == 200:
        return ""
    named = reply.text("error")
    if named:
        return _KNOWN.get(named, "UNKNOWN_ERROR")
    statuses = {0: "UNKNOWN_ERROR", 400: "INVALID_REQUEST", 500: "SERVER_ERROR", 503: "SERVER_ERROR"}
    return statuses.get(reply.status, "INTERNAL_ERROR")


def _incomplete(reply: Reply) -> str:
    """Return the SDK's name for a grant that it does not take."""
    lifetime = reply.members.get("expires_in")
    is_whole = (
        reply.text("access_token")
        and reply.text("refresh_token")
        and reply.text("token_type") == "bearer"
        and isinstance(lifetime, int)
        and lifetime > 0
    )
    return "" if is_whole else "UNKNOWN_ERROR"


@dataclass
class JavaSample:
    """The Java sample, provisioned by a companion app: PKCE, and JSON bodies. Source: OAuth2ClientForPkce.java.

    Attributes:
        carry: takes the address of the authorization request to the owner; gives the one that the app is sent back to.
    """

    wire: Wire
    client_id: str
    authorization_url: str
    carry: Callable[[str], str]
    refresh_token: str = ""

    def link(self, show: Show) -> None:
        """Let the companion app fetch a code, and exchange it."""
        verifier = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        digest = hashlib.sha256(verifier.encode()).digest()
        redirect_uri = "https://localhost:8443/authresponse"
        query = {
            "client_id": self.client_id,
            "scope": "alexa:all",
            "scope_data": json.dumps(SPEAKER),
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        address = f"{self.authorization_url}?{urlencode(query)}"
        show(address)
        words = parse_qs(urlsplit(self.carry(address)).query)
        if "code" not in words:
            raise Refused(words.get("error", ["no code"])[0])
        self._take(
            {
                "grant_type": "authorization_code",
                "code": words["code"][0],
                "redirect_uri": redirect_uri,
                "client_id": self.client_id,
                "code_verifier": verifier,
            }
        )

    def refresh(self) -> None:
        """Refresh at the end of a token's life."""
        self._take(
            {
                "grant_type": "refresh_token",
                "client_id": self.client_id,
                "refresh_token": self.refresh_token,
            }
        )

    def _take(self, members: Mapping[str, str]) -> None:
        reply = self.wire.post_json("/auth/o2/token", members)
        lifetime = reply.members.get("expires_in")
        if reply.status != 200 or not isinstance(lifetime, int) or not reply.text("access_token"):
            raise Refused(reply.text("error") or f"status {reply.status}")
        self.refresh_token = reply.text("refresh_token")


@dataclass
class SkillsToolkit:
    """The Skills Toolkit for VS Code: one poll once its user says that he has approved. Source: deviceToken.ts.

    Attributes:
        wait: waits for the user, who takes 6 s.
    """

    wire: Wire
    client_id: str
    client_secret: str
    wait: Callable[[float], object] = time.sleep
    refresh_token: str = ""

    CHARSET: Final = "application/x-www-form-urlencoded;charset=UTF-8"

    def link(self, show: Show) -> None:
        """Ask for a pair, and once for tokens; any error ends it."""
        pair = self.wire.post_form(
            "/auth/O2/create/codepair",
            {
                "response_type": "device_code",
                "client_id": self.client_id,
                "scope": "alexa:all",
                "scope_data": json.dumps(SPEAKER, separators=(",", ":")),
            },
        )
        if pair.status != 200:
            raise Refused(pair.text("error"))
        show(pair.text("user_code"))
        self.wait(6)
        form = {
            "grant_type": "device_code",
            "device_code": pair.text("device_code"),
            "user_code": pair.text("user_code"),
        }
        reply = self.wire.post_form("/auth/O2/token", form, {"Content-Type": self.CHARSET})
        if reply.status != 200:
            raise Refused(reply.text("error"))
        self.refresh_token = reply.text("refresh_token")

    def refresh(self) -> None:
        """Refresh with the secret that the profile has beside its device client."""
        reply = self.wire.post_form(
            "/auth/o2/token",
            {
                "grant_type": "refresh_token",
                "refresh_token": self.refresh_token,
                "client_id": self.client_id,
                "client_secret": self.client_secret,
            },
            {"Content-Type": self.CHARSET},
        )
        if reply.status != 200:
            raise Refused(reply.text("error"))
        self.refresh_token = reply.text("refresh_token")
