"""RFC 8628 as two large providers speak it: Google's device flow, and version 1 of Microsoft's endpoints."""

import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

import pytest

from tests.command import read_lines, started, stream_of
from tests.waiting import LONG

SECRET = "GOCSPX-canary+secret/1"
Response = tuple[int, dict[str, object]]


@dataclass
class Shape:
    """A provider of one shape: what the owner decided, and what was asked.

    Attributes:
        approved: None while the owner is thinking; each poll reads it once.
        seen: path, form and Authorization header of each request.
    """

    answer: "Callable[[Shape, str, dict[str, str], str], Response]"
    approved: bool | None = None
    methods: tuple[str, ...] = ("client_secret_post", "client_secret_basic")
    origin: str = ""
    seen: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    def forms(self, grant_type: str) -> list[dict[str, str]]:
        return [form for _, form, _ in self.seen if form.get("grant_type", "").endswith(grant_type)]


def google(shape: Shape, path: str, form: dict[str, str], header: str) -> Response:
    if path == "/.well-known/openid-configuration":
        return 200, {
            "issuer": shape.origin,
            "device_authorization_endpoint": f"{shape.origin}/device/code",
            "token_endpoint": f"{shape.origin}/token",
            "userinfo_endpoint": f"{shape.origin}/v1/userinfo",
            "token_endpoint_auth_methods_supported": list(shape.methods),
        }
    if path == "/v1/userinfo":
        is_ours = header == "Bearer ya29.canary"
        claims: dict[str, object] = {"sub": "1087", "name": "Anna", "email": "anna@example.com"}
        return (200, claims) if is_ours else (401, {"error": "invalid_request"})
    if path == "/device/code":
        return 200, {
            "device_code": "AH-1Ng-canary",
            "user_code": "GQVQ-JKEC",
            "expires_in": 1800,
            "interval": 1,
            "verification_url": "https://www.google.com/device",
        }
    if path != "/token":
        return 404, {"error": "not_found"}
    given = form.get("client_secret", "")
    if shape.methods == ("client_secret_basic",):
        given = unquote_plus(b64decode(header.removeprefix("Basic ")).decode().partition(":")[2])
    if not given:
        return 400, {"error": "invalid_request", "error_description": "client_secret is missing."}
    if given != SECRET:
        description = "The provided client secret is invalid."
        return 401, {"error": "invalid_client", "error_description": description}
    tokens: dict[str, object] = {
        "access_token": "ya29.canary",
        "expires_in": 3599,
        "scope": "openid profile",
        "token_type": "Bearer",
    }
    if form["grant_type"] == "refresh_token":
        return 200, tokens
    if shape.approved is None:
        return 428, {"error": "authorization_pending", "error_description": "Precondition Required"}
    if not shape.approved:
        return 403, {"error": "access_denied", "error_description": "Forbidden"}
    return 200, tokens | {"refresh_token": "1//canary"}


def microsoft(shape: Shape, path: str, form: dict[str, str], _header: str) -> Response:
    if path == "/common/oauth2/devicecode":
        return 200, {
            "user_code": "GK2ABC3D",
            "device_code": "GAQABAAEAAACanary",
            "verification_url": "https://microsoft.com/devicelogin",
            "expires_in": "900",
            "interval": "1",
            "message": "To sign in, use a web browser to open the page.",
        }
    if path != "/common/oauth2/token":
        return 404, {"error": "not_found"}
    number = len(shape.forms("refresh_token"))
    tokens: dict[str, object] = {
        "token_type": "Bearer",
        "scope": "user_impersonation",
        "expires_in": "3599",
        "ext_expires_in": "3599",
        "expires_on": "1800003599",
        "not_before": "1800000000",
        "access_token": f"eyJ0.canary.{number}",
        "refresh_token": f"0.AAAA.canary.{number}",
    }
    if form["grant_type"] == "refresh_token":
        return 200, tokens
    if shape.approved is None:
        return 400, {"error": "authorization_pending", "error_codes": [70016]}
    return (200, tokens) if shape.approved else (400, {"error": "authorization_declined"})


@contextmanager
def served(shape: Shape) -> Iterator[Shape]:
    """Serve a shape on a free loopback port."""

    class Exchange(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            header = self.headers.get("Authorization", "")
            status, fields = shape.answer(shape, self.path, form, header)
            shape.seen.append((self.path, form, header))
            content = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815  the server's name

        def log_message(self, *_words: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    shape.origin = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shape
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Speaker:
    """The installed command with one provider, and how it ended."""

    folder: Path
    options: list[str]
    lines: list[dict[str, object]] = field(default_factory=list)
    output: str = ""
    errors: str = ""

    def run(self, *words: str) -> int:
        places = ("--state-dir", str(self.folder / "state"), "--runtime-dir", str(self.folder / "run"))
        config = ("--config", str(self.folder / "config.toml"))
        with started(*words, *self.options, *places, *config) as process:
            self.output, self.errors = process.communicate(timeout=LONG)
            return process.returncode

    def link(self) -> int:
        code = self.run("link", "--json")
        self.lines = list(read_lines(self.output.splitlines()))
        return code

    @property
    def stored(self) -> dict[str, object]:
        link: dict[str, object] = json.loads((self.folder / "state" / "link.json").read_text())["link"]
        return link


def speaker_of(folder: Path, options: list[str], secret: str = "") -> Speaker:
    config = folder / "config.toml"
    config.touch(0o600)
    config.write_text(f'client_secret = "{secret}"\n' if secret else "")
    return Speaker(folder, ["--dialect", "rfc8628", "--client-id", "123.apps.example", *options])


@pytest.fixture(params=[("client_secret_post", "client_secret_basic"), ("client_secret_basic",)])
def like_google(request: pytest.FixtureRequest) -> Iterator[Shape]:
    with served(Shape(google, methods=request.param)) as shape:
        yield shape


@pytest.fixture
def like_microsoft() -> Iterator[Shape]:
    with served(Shape(microsoft)) as shape:
        yield shape


def at_google(folder: Path, shape: Shape, secret: str = SECRET) -> Speaker:
    return speaker_of(folder, ["--issuer", shape.origin, "--scope", "openid profile"], secret)


def at_microsoft(folder: Path, shape: Shape) -> Speaker:
    base = f"{shape.origin}/common/oauth2"
    endpoints = ["--device-endpoint", f"{base}/devicecode", "--token-endpoint", f"{base}/token"]
    return speaker_of(folder, [*endpoints, "--scope", "offline_access"])


def test_a_speaker_is_linked_with_googles_shapes_and_named_by_the_account(
    tmp_path: Path, like_google: Shape
) -> None:
    like_google.approved = True
    speaker = at_google(tmp_path, like_google)

    assert speaker.link() == 0, speaker.errors

    code = speaker.lines[0]
    assert (code["user_code"], code["verification_uri"]) == ("GQVQ-JKEC", "https://www.google.com/device")
    assert (speaker.stored["account"], speaker.stored["account_id"]) == ("Anna", "1087")
    assert speaker.stored["takes_secret"] is True
    assert SECRET not in str(speaker.stored) + speaker.output + speaker.errors
    is_basic = like_google.methods == ("client_secret_basic",)
    for path, form, header in like_google.seen:
        if form:
            assert ("client_secret" in form, header.startswith("Basic ")) == (not is_basic, is_basic), path


def test_a_link_with_googles_shapes_is_refreshed_with_the_secret(tmp_path: Path, like_google: Shape) -> None:
    like_google.approved = True
    speaker = at_google(tmp_path, like_google)
    speaker.link()
    before = len(like_google.forms("refresh_token"))

    assert speaker.run("token", "--min-lifetime", "3600") == 0, speaker.errors

    assert speaker.output == "ya29.canary\n"
    assert len(like_google.forms("refresh_token")) == before + 1


def test_an_owner_who_declines_with_googles_shapes_is_believed(tmp_path: Path, like_google: Shape) -> None:
    like_google.approved = False
    speaker = at_google(tmp_path, like_google)

    assert speaker.link() == 77
    assert speaker.lines[-1]["reason"] == "denied"


@pytest.mark.parametrize("secret", ["", "wrong"])
def test_a_secret_that_is_missing_or_wrong_is_named_and_not_the_client_id(
    tmp_path: Path, secret: str
) -> None:
    with served(Shape(google)) as shape:
        shape.approved = True
        speaker = at_google(tmp_path, shape, secret)

        assert speaker.link() == 78

    hint = str(speaker.lines[-1]["hint"])
    assert speaker.lines[-1]["reason"] == "misconfigured"
    assert "client_secret" in hint
    assert "client_id" not in hint


def test_a_speaker_is_linked_and_refreshed_with_microsofts_shapes(
    tmp_path: Path, like_microsoft: Shape
) -> None:
    like_microsoft.approved = True
    speaker = at_microsoft(tmp_path, like_microsoft)

    assert speaker.link() == 0, speaker.errors
    assert speaker.run("token", "--min-lifetime", "3600") == 0, speaker.errors

    assert speaker.output == "eyJ0.canary.1\n"
    assert speaker.stored["refresh_token"] == "0.AAAA.canary.1"
    assert speaker.stored["takes_secret"] is False
    assert not any("client_secret" in form for _, form, _ in like_microsoft.seen)


def test_an_owner_who_thinks_and_declines_with_microsofts_shapes_is_believed(
    tmp_path: Path, like_microsoft: Shape
) -> None:
    speaker = at_microsoft(tmp_path, like_microsoft)
    places = ("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"))
    with started("link", "--json", *speaker.options, *places) as process:
        lines = read_lines(stream_of(process.stdout))
        assert next(lines)["user_code"] == "GK2ABC3D"
        like_microsoft.approved = False

        assert next(lines)["reason"] == "denied"
        assert process.wait(LONG) == 77
