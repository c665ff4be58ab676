"""The endpoints of the simulated Amazon: LWA's, those of RFC 8628, and metadata.

Every request is judged by the referee, then answered by ``Amazon``, unless a fault was scripted. What a
fault does to the wire itself (delay, reset, drip) is left in the ``Delivery`` for the server to carry out.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.answers import (
    OK,
    error_answer,
    is_final,
    json_answer,
    pair_answer,
    scripted,
    tokens_answer,
)
from device_auth.simulator.clients import SCOPE_DATA_RULE, read_applicant, read_credentials
from device_auth.simulator.control import control_pages, host_name
from device_auth.simulator.faults import NO_FAULT, Endpoint, Fault
from device_auth.simulator.models import Applicant, CodeExchange, Credentials, OAuthRefusal, Tokens
from device_auth.simulator.page import phone_pages
from device_auth.simulator.referee import (
    ComplaintKind,
    ObservedRequest,
    Rule,
    carries_refresh_token,
    judge,
    leaks,
)
from device_auth.simulator.sign_in import sign_in_pages

DELIVERY: Final = "device_auth.delivery"
"""Where in the WSGI environment the server leaves the ``Delivery`` of a request."""

URN_DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
"""Source: RFC 8628 §3.4."""

LARGEST_REQUEST: Final = 65_536

_LWA_PAIR: Final = Rule(
    required=frozenset({"response_type", "client_id", "scope"}),
    optional=frozenset({"scope_data"}),
    needs_language=True,
)
_LWA_POLL: Final = Rule(required=frozenset({"grant_type", "device_code", "user_code"}))
_LWA_EXCHANGE: Final = Rule(
    required=frozenset({"grant_type", "code", "client_id", "redirect_uri"}),
    optional=frozenset({"client_secret", "code_verifier"}),
    takes_basic=True,
)
_LWA_REFRESH: Final = Rule(
    required=frozenset({"grant_type", "refresh_token", "client_id"}),
    optional=frozenset({"client_secret"}),
    takes_basic=True,
)
_RFC_PAIR: Final = Rule(required=frozenset({"client_id"}), optional=frozenset({"scope"}))
_RFC_POLL: Final = Rule(required=frozenset({"grant_type", "device_code", "client_id"}))
_RFC_REFRESH: Final = Rule(
    required=frozenset({"grant_type", "refresh_token", "client_id"}), optional=frozenset({"scope"})
)
_RFC_REVOKE: Final = Rule(required=frozenset({"token", "client_id"}), optional=frozenset({"token_type_hint"}))
_METADATA: Final = Rule(method="GET")

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CLIENT_VIEWS: Final = frozenset(
    {"lwa_pair", "lwa_token", "rfc_pair", "rfc_token", "revoke", "metadata", "profile"}
)
_TOKEN_PATHS: Final = frozenset({"/auth/o2/token", "/token", "/revoke"})
"""Where a refresh token may go, in lower case."""


@dataclass(slots=True)
class Delivery:
    """What the server must know to send an answer: the fault, and whom to tell when it ends."""

    fault: Fault = NO_FAULT
    on_end: list[Callable[[float], None]] = field(default_factory=list)


def create_app(amazon: Amazon, *, origin: str, verification_base: str | None = None) -> Flask:
    """Make the simulated Amazon's WSGI application.

    Args:
        amazon: what it remembers and decides.
        origin: scheme, host and port under which clients reach it.
        verification_base: another origin to put into verification URIs, if the owner's phone needs one.
    """
    app = Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    hosts = {urlsplit(each).hostname for each in (origin, verification_base or origin)}
    endpoints = _Endpoints(amazon, origin, verification_base or origin)
    app.before_request(partial(_look, amazon, frozenset(filter(None, hosts))))
    for rule, name, view in endpoints.routes():
        app.add_url_rule(rule, name, view, methods=_METHODS, provide_automatic_options=False)
    app.register_blueprint(phone_pages(amazon, origin=origin, app=app))
    app.register_blueprint(sign_in_pages(amazon))
    app.register_blueprint(control_pages(amazon))
    return app


def _look(amazon: Amazon, hosts: frozenset[str]) -> Response | None:
    """Read a request as the referee sees it, and refuse hosts that are not ours (DNS rebinding)."""
    seen = ObservedRequest(
        method=request.method,
        path=request.path,
        query=request.query_string.decode("latin-1"),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.get_data(cache=True),
    )
    g.seen = seen
    if host_name(request.host) not in hosts | _LOOPBACK_HOSTS:
        return error_answer(OAuthRefusal("invalid_request", "This host is not served here."), status=421)
    is_endpoint = request.url_rule is not None and request.url_rule.endpoint in _CLIENT_VIEWS
    endpoint = request.path if is_endpoint else ""
    for kind, sentence in leaks(seen, amazon.is_device_code, is_page=not is_endpoint):
        amazon.referee.complain(kind, sentence, endpoint=endpoint)
    if endpoint.lower() not in _TOKEN_PATHS and carries_refresh_token(seen):
        sentence = "A refresh token was sent to an address that is not its token endpoint."
        amazon.referee.complain(ComplaintKind.REFRESH_TOKEN_ELSEWHERE, sentence, endpoint=endpoint)
    return None


class _Endpoints:
    """The endpoints that clients call, each a method."""

    def __init__(self, amazon: Amazon, origin: str, verification_base: str) -> None:
        self._amazon = amazon
        self._origin = origin
        self._verification_base = verification_base

    def routes(self) -> list[tuple[str, str, Callable[[], Response]]]:
        """Return each path with the name and the view of its endpoint; Amazon writes O2 and o2."""
        return [
            ("/auth/O2/create/codepair", "lwa_pair", self.lwa_pair),
            ("/auth/o2/create/codepair", "lwa_pair", self.lwa_pair),
            ("/auth/O2/token", "lwa_token", self.lwa_token),
            ("/auth/o2/token", "lwa_token", self.lwa_token),
            ("/device_authorization", "rfc_pair", self.rfc_pair),
            ("/token", "rfc_token", self.rfc_token),
            ("/revoke", "revoke", self.revoke),
            ("/.well-known/oauth-authorization-server", "metadata", self.metadata),
            ("/.well-known/openid-configuration", "metadata", self.metadata),
            ("/user/profile", "profile", self.profile),
            ("/followed-redirect", "followed", self.followed),
        ]

    # Code pairs

    def lwa_pair(self) -> Response:
        """Return a code pair. Source: LWA "Retrieve a User Code and Verification URL"."""
        form, objection = self._read(_LWA_PAIR, Endpoint.CODE_PAIR)
        return self._answer(Endpoint.CODE_PAIR, lambda fault: objection or self._give_lwa_pair(form, fault))

    def _give_lwa_pair(self, form: Mapping[str, str], fault: Fault) -> Response:
        if form["response_type"] != "device_code":
            self._complain(
                ComplaintKind.WRONG_PARAMETER, "response_type must be device_code.", Endpoint.CODE_PAIR
            )
            return error_answer(OAuthRefusal("invalid_request", "response_type must be device_code."))
        applicant = read_applicant(form["client_id"], form["scope"], form.get("scope_data"))
        if applicant is None:
            self._complain(ComplaintKind.WRONG_PARAMETER, SCOPE_DATA_RULE, Endpoint.CODE_PAIR)
            return error_answer(OAuthRefusal("invalid_request", SCOPE_DATA_RULE))
        given = self._amazon.give_code_pair(applicant, fault)
        if isinstance(given, OAuthRefusal):
            return error_answer(given)
        # LWA never gives verification_uri_complete; clients append ?cbl-code= themselves.
        uri = f"{self._verification_base}/{_country(request.headers.get('Accept-Language', ''))}/code"
        return json_answer(OK, pair_answer(given, uri), fault.change)

    def rfc_pair(self) -> Response:
        """Return a code pair. Source: RFC 8628 §3.2."""
        form, objection = self._read(_RFC_PAIR, Endpoint.CODE_PAIR)
        return self._answer(Endpoint.CODE_PAIR, lambda fault: objection or self._give_rfc_pair(form, fault))

    def _give_rfc_pair(self, form: Mapping[str, str], fault: Fault) -> Response:
        scopes = tuple(form.get("scope", "").split())
        applicant = Applicant(dialect=DialectName.RFC8628, client_id=form["client_id"], scopes=scopes)
        given = self._amazon.give_code_pair(applicant, fault)
        if isinstance(given, OAuthRefusal):
            return error_answer(given)
        uri = f"{self._verification_base}/device"
        complete = {"verification_uri_complete": f"{uri}?user_code={given.user_code}"}
        return json_answer(OK, pair_answer(given, uri) | complete, fault.change)

    # Tokens

    def lwa_token(self) -> Response:
        """Answer a poll, a refresh, or the exchange of an authorization code.

        Source: LWA "Retrieve an Access Token and Refresh Token"; "Authorization Code Grant".
        """
        if dict(_seen().form()).get("grant_type") == "authorization_code":
            return self._exchange()
        return self._token(DialectName.LWA, "device_code", _LWA_POLL, _LWA_REFRESH)

    def rfc_token(self) -> Response:
        """Answer a poll or a refresh. Source: RFC 8628 §3.4, §3.5; RFC 6749 §6."""
        return self._token(DialectName.RFC8628, URN_DEVICE_CODE, _RFC_POLL, _RFC_REFRESH)

    def _token(self, dialect: DialectName, poll_grant: str, poll_rule: Rule, refresh_rule: Rule) -> Response:
        grant_type = dict(_seen().form()).get("grant_type", "")
        if grant_type == "refresh_token":
            form, objection = self._read(refresh_rule, Endpoint.REFRESH)
            return self._answer(
                Endpoint.REFRESH, lambda fault: objection or self._refresh(dialect, form, fault)
            )
        form, objection = self._read(poll_rule, Endpoint.TOKEN_POLL)
        if grant_type and grant_type != poll_grant:
            self._complain(
                ComplaintKind.WRONG_PARAMETER,
                "The grant_type is not one of this endpoint.",
                Endpoint.TOKEN_POLL,
            )
            objection = objection or error_answer(
                OAuthRefusal("unsupported_grant_type", "This grant type is not known here.")
            )
        return self._poll(dialect, form, objection)

    def _poll(self, dialect: DialectName, form: Mapping[str, str], objection: Response | None) -> Response:
        device_code = form.get("device_code", "")
        is_in_time = self._amazon.poll_arrived(device_code)

        def answer(fault: Fault) -> Response:
            if objection is not None:
                return objection
            if not is_in_time:
                return error_answer(OAuthRefusal("slow_down", "Poll less often."))
            user_code, client_id = form.get("user_code", ""), form.get("client_id", "")
            given = self._amazon.poll(
                dialect, device_code, user_code=user_code, client_id=client_id, fault=fault
            )
            return tokens_answer(dialect, given, fault)

        response = self._answer(Endpoint.TOKEN_POLL, answer)
        fault = _delivery().fault
        if fault.slow_down:
            self._amazon.slow_down(device_code)
        is_over = not fault.truncate and is_final(response, is_scripted=fault.replaces)
        retry_after = response.headers.get("Retry-After", "")
        wait = float(retry_after) if retry_after.isdecimal() else 0
        told = partial(self._amazon.poll_answered, device_code, is_final=is_over, retry_after=wait)
        _delivery().on_end.append(told)
        return response

    def _exchange(self) -> Response:
        form, objection = self._read(_LWA_EXCHANGE, Endpoint.EXCHANGE)
        code = form.get("code", "")
        self._amazon.exchange_arrived(code)

        def answer(fault: Fault) -> Response:
            if objection is not None:
                return objection
            credentials = read_credentials(form, request.headers.get("Authorization"))
            if isinstance(credentials, OAuthRefusal):
                return _refuse_client(credentials)
            asked = CodeExchange(
                code=code,
                credentials=credentials,
                redirect_uri=form["redirect_uri"],
                verifier=form.get("code_verifier"),
            )
            return _tell(DialectName.LWA, self._amazon.exchange(asked, fault), fault)

        response = self._answer(Endpoint.EXCHANGE, answer)
        fault = _delivery().fault
        if not fault.truncate and is_final(response, is_scripted=fault.replaces):
            _delivery().on_end.append(lambda _: self._amazon.exchange_answered(code))
        return response

    def _refresh(self, dialect: DialectName, form: Mapping[str, str], fault: Fault) -> Response:
        credentials: Credentials | OAuthRefusal = (
            read_credentials(form, request.headers.get("Authorization"))
            if dialect is DialectName.LWA
            else Credentials(form["client_id"])
        )
        if isinstance(credentials, OAuthRefusal):
            return _refuse_client(credentials)
        given = self._amazon.refresh(
            dialect,
            form["refresh_token"],
            credentials.client_id,
            fault,
            client_secret=credentials.client_secret,
        )
        if isinstance(given, Tokens) and given.replaces is not None:
            replaced = given.replaces
            _delivery().on_end.append(lambda _: self._amazon.refresh_answered(replaced))
        return _tell(dialect, given, fault)

    def revoke(self) -> Response:
        """Revoke a token; an unknown one is no error. Source: RFC 7009 §2."""
        form, objection = self._read(_RFC_REVOKE, Endpoint.REVOKE)

        def answer(_fault: Fault) -> Response:
            if objection is not None:
                return objection
            self._amazon.revoke_token(form["token"], form["client_id"])
            return json_answer(OK, {})

        return self._answer(Endpoint.REVOKE, answer)

    # The rest

    def metadata(self) -> Response:
        """Return where the RFC 8628 endpoints are. Source: RFC 8414 §2; RFC 8628 §4."""
        _, objection = self._read(_METADATA, Endpoint.METADATA)
        told: dict[str, object] = {
            "issuer": self._origin,
            "device_authorization_endpoint": f"{self._origin}/device_authorization",
            "token_endpoint": f"{self._origin}/token",
            "revocation_endpoint": f"{self._origin}/revoke",
            "grant_types_supported": [URN_DEVICE_CODE, "refresh_token"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
        }
        return self._answer(Endpoint.METADATA, lambda fault: objection or json_answer(OK, told, fault.change))

    def profile(self) -> Response:
        """Name the linked account, where the scope allows it. Source: LWA "Obtain Customer Profile"."""
        bearer = request.headers.get("Authorization", "").partition(" ")
        token = bearer[2] if bearer[0].lower() == "bearer" else request.headers.get("x-amz-access-token", "")
        grant = self._amazon.grant_of(token)
        # Names and statuses of RFC 6750 §3.1: LWA's own table of profile errors could not be read.
        if grant is None:
            response = error_answer(
                OAuthRefusal("invalid_token", "The access token is not valid."), status=401
            )
            response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
            return response
        profile = {"user_id": f"amzn1.account.SIMULATED{grant.grant_id:08d}"}
        if "profile" in grant.applicant.scopes:
            profile |= {"name": "Sim Ulated", "email": "owner@example.com"}
        elif "profile:user_id" not in grant.applicant.scopes:
            return error_answer(
                OAuthRefusal("insufficient_scope", "The grant has no profile scope."), status=403
            )
        return json_answer(OK, profile)

    def followed(self) -> Response:
        """Receive those who follow a scripted redirect: no client of ours should."""
        self._complain(ComplaintKind.FOLLOWED_REDIRECT, "A client followed a redirect.", "followed-redirect")
        return error_answer(OAuthRefusal("invalid_request", "Nothing is here."), status=404)

    # Inside

    def _read(self, rule: Rule, endpoint: Endpoint) -> tuple[dict[str, str], Response | None]:
        """Let the referee judge the request; give its form, and an answer if it cannot be worked with."""
        seen = _seen()
        remarks = list(judge(seen, rule))
        form = dict(reversed(seen.form())) if rule.method == "POST" else {}
        client = self._amazon.name_of(form)
        for kind, sentence in remarks:
            self._amazon.referee.complain(kind, sentence, endpoint=endpoint, client=client)
        kinds = {kind for kind, _ in remarks}
        if ComplaintKind.WRONG_METHOD in kinds:
            response = error_answer(OAuthRefusal("invalid_request", f"Use {rule.method}."), status=405)
            response.headers["Allow"] = rule.method
            return {}, response
        is_form = rule.method == "GET" or request.mimetype == "application/x-www-form-urlencoded"
        if (
            not is_form
            or ComplaintKind.MISSING_PARAMETER in kinds
            or ComplaintKind.DUPLICATE_PARAMETER in kinds
        ):
            return form, error_answer(OAuthRefusal("invalid_request", "The request is malformed."))
        return form, None

    def _answer(self, endpoint: Endpoint, true_answer: Callable[[Fault], Response]) -> Response:
        """Return the true answer, or the scripted one."""
        fault = self._amazon.take_fault(endpoint)
        _delivery().fault = fault
        response = (
            scripted(endpoint, fault, trap=f"{self._origin}/followed-redirect")
            if fault.replaces
            else true_answer(fault)
        )
        for name, value in fault.headers.items():
            response.headers[name] = value
        return response

    def _complain(self, kind: ComplaintKind, sentence: str, endpoint: str) -> None:
        client = self._amazon.name_of(dict(_seen().form()))
        self._amazon.referee.complain(kind, sentence, endpoint=endpoint, client=client)


def _seen() -> ObservedRequest:
    return cast("ObservedRequest", g.seen)


def _delivery() -> Delivery:
    return cast("Delivery", request.environ.setdefault(DELIVERY, Delivery()))


def _tell(dialect: DialectName, given: Tokens | OAuthRefusal, fault: Fault) -> Response:
    """Tell a client that may have had to prove who it is."""
    return _refuse_client(given) if isinstance(given, OAuthRefusal) else tokens_answer(dialect, given, fault)


def _refuse_client(refused: OAuthRefusal) -> Response:
    """Tell an error; where a client failed to prove itself by a header, that header. Source: RFC 6749 §5.2."""
    if refused.error != "invalid_client" or "Authorization" not in request.headers:
        return error_answer(refused)
    response = error_answer(refused, status=401)
    response.headers["WWW-Authenticate"] = 'Basic realm="simulated Amazon"'
    return response


def _country(accept_language: str) -> str:
    """Pick the country of the verification page, as LWA does by the speaker's locale."""
    found = re.match(r"[A-Za-z]{2,3}-([A-Za-z]{2})\b", accept_language)
    return found[1].lower() if found else "us"
