"""The endpoints of the simulated Amazon: LWA's, those of RFC 8628, and metadata.

The referee judges every request, then ``Amazon`` answers it, unless a fault is scripted. The server carries out the
parts of a fault that change the connection (delay, reset, drip); it finds them in the ``Delivery``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from http import HTTPStatus
from importlib.resources import files
from threading import Lock
from typing import Final, cast
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, request
from jinja2 import FunctionLoader
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule, RuleFactory

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import AUTHORIZATION_PAGES, Amazon
from device_auth.simulator.answers import (
    NEVER_FROM_LWA,
    OK,
    error_answer,
    error_name,
    is_final,
    json_answer,
    pair_answer,
    reshaped,
    scripted,
    tokens_answer,
)
from device_auth.simulator.clients import (
    SCOPE_DATA_RULE,
    ClientRefusal,
    read_applicant,
    read_basic,
    read_credentials,
)
from device_auth.simulator.control import answer_in_json, control_pages, host_name
from device_auth.simulator.faults import NO_FAULT, Endpoint, Fault
from device_auth.simulator.models import Applicant, CodeExchange, Credentials, Grant, OAuthRefusal, Tokens
from device_auth.simulator.page import phone_pages
from device_auth.simulator.referee import (
    ObservedRequest,
    RequestForm,
    RuleName,
    carries_refresh_token,
    judge,
    leaks,
)
from device_auth.simulator.sign_in import sign_in_pages

DELIVERY: Final = "device_auth.delivery"
"""The name of the ``Delivery`` in the WSGI environment."""

STYLE_SHEET: Final = "page.css"

URN_DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
"""Source: RFC 8628 §3.4."""

LARGEST_REQUEST: Final = 65_536

_LWA_PAIR: Final = RequestForm(
    required=frozenset({"response_type", "client_id", "scope"}),
    optional=frozenset({"scope_data"}),
    needs_language=True,
    takes_json=True,
)
_LWA_POLL: Final = RequestForm(
    required=frozenset({"grant_type", "device_code", "user_code"}), takes_json=True
)
_LWA_EXCHANGE: Final = RequestForm(
    required=frozenset({"grant_type", "code", "client_id", "redirect_uri"}),
    optional=frozenset({"client_secret", "code_verifier"}),
    takes_basic=True,
    takes_json=True,
)
_LWA_REFRESH: Final = RequestForm(
    required=frozenset({"grant_type", "refresh_token", "client_id"}),
    optional=frozenset({"client_secret"}),
    takes_basic=True,
    takes_json=True,
)
_RFC_REQUEST: Final = RequestForm(
    required=frozenset({"client_id"}),
    optional=frozenset({"client_secret"}),
    takes_basic=True,
    authenticates=True,
)
_RFC_PAIR: Final = _RFC_REQUEST.extended(optional={"scope"})
_RFC_POLL: Final = _RFC_REQUEST.extended({"grant_type", "device_code"})
_RFC_REFRESH: Final = _RFC_REQUEST.extended({"grant_type", "refresh_token"}, {"scope"})
_RFC_EXCHANGE: Final = _RFC_REQUEST.extended({"grant_type", "code", "redirect_uri"}, {"code_verifier"})
_RFC_REVOKE: Final = _RFC_REQUEST.extended({"token"}, {"token_type_hint"})
_METADATA: Final = RequestForm(method="GET")

OWNER_NAME: Final = "Sim Ulated"

_ACCOUNT_SCOPES: Final = frozenset({"profile", "profile:user_id"})
_UNKNOWN_TOKEN: Final = OAuthRefusal("invalid_token", "The access token is not valid.")

_RFC_SCOPES: Final = frozenset({"openid", "profile", "offline_access"})
"""The scopes of RFC 8628 that mean something here; any other may be asked for, if the options name none."""

_AUTH_METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
"""Source: RFC 7591 §2."""

_UNUSABLE: Final = frozenset(
    {RuleName.WRONG_CONTENT_TYPE, RuleName.MISSING_PARAMETER, RuleName.DUPLICATE_PARAMETER}
)
"""Breaches after which a request is refused as malformed."""

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TRAP: Final = "followed-redirect"
"""The name and the path of the endpoint to which a scripted redirect leads; no client has a reason to ask there."""

_PROFILE: Final = "/user/profile"
_TOKEN_QUERIES: Final = frozenset({_PROFILE, "/auth/o2/tokeninfo"})
"""The paths, in lower case, that take an access token in their query. Source: LWA "Obtain Customer Profile"; Amazon Pay "Obtain profile information"."""

_TOKEN_PATHS: Final = frozenset({"/auth/o2/token", "/token", "/revoke"})
"""The paths that may receive a refresh token, in lower case."""


@dataclass(slots=True)
class Delivery:
    """The way in which the server sends a response: with this fault, calling these functions with the time when it ends."""

    fault: Fault = NO_FAULT
    on_end: list[Callable[[float], None]] = field(default_factory=list)


def create_app(amazon: Amazon, *, origin: str, verification_base: str | None = None) -> Flask:
    """Make the simulated Amazon's WSGI application.

    Args:
        amazon: its state and decisions.
        origin: scheme, host and port for clients.
        verification_base: another origin for verification URIs, if the owner's phone needs one.
    """
    # Its templates and its style sheet may lie in an archive, where Flask would not find them.
    app = Flask(__name__, static_folder=None)
    app.url_rule_class = _UrlRule
    app.url_map = _RULES
    app.jinja_loader = FunctionLoader(lambda name: _read_own(f"templates/{name}"))
    app.add_url_rule("/static/<path:filename>", "static", _style_sheet)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    hosts = {urlsplit(each).hostname for each in (origin, verification_base or origin)}
    endpoints = _Endpoints(amazon, origin, verification_base or origin)
    routes = endpoints.routes()
    views = frozenset(name for _, name, _ in routes if name != _TRAP)
    app.before_request(partial(_look, amazon, frozenset(filter(None, hosts)), views))
    for rule, name, view in routes:
        app.add_url_rule(rule, name, view, methods=_METHODS, provide_automatic_options=False)
    app.register_blueprint(phone_pages(amazon, origin=origin, app=app))
    app.register_blueprint(sign_in_pages(amazon))
    app.register_blueprint(control_pages(amazon))
    app.register_error_handler(HTTPException, answer_in_json)
    return app


class _UrlRule(Rule):
    """A rule of which the code that builds an address is made when it is first needed.

    The pages build one address. Made beforehand, for every rule, that code takes five times as long as the rest of an
    application. Where werkzeug has no such method any more, it is made beforehand again.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled = cache(partial(super()._compile_builder, append_unknown))

        def build(rule: Rule, **values: object) -> tuple[str, str]:
            return compiled()(rule, **values)

        return build


class _Rules(Map):
    """The rules of all applications, which have the same: to read them takes longer than all else that makes one."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[tuple[object, ...]] = set()
        self._lock = Lock()

    def add(self, rulefactory: RuleFactory) -> None:
        with self._lock:
            for rule in rulefactory.get_rules(self):
                known = (rule.rule, rule.endpoint, frozenset(rule.methods or ()))
                if known not in self._known:
                    self._known.add(known)
                    super().add(rule)


_RULES: Final = _Rules()


def _style_sheet(filename: str) -> Response:
    if filename != STYLE_SHEET:
        abort(HTTPStatus.NOT_FOUND)
    return Response(_read_own(f"static/{STYLE_SHEET}"), content_type="text/css; charset=utf-8")


def _read_own(path: str) -> str:
    return files("device_auth.simulator").joinpath(*path.split("/")).read_text(encoding="utf-8")


def _look(amazon: Amazon, hosts: frozenset[str], views: frozenset[str]) -> Response | None:
    """Record the request for the referee, and refuse other hosts (DNS rebinding); these views are for clients."""
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
    is_endpoint = request.url_rule is not None and request.url_rule.endpoint in views
    endpoint = request.path if is_endpoint else ""
    judged = seen
    if endpoint.lower() in _TOKEN_QUERIES and set(request.args) == {"access_token"}:
        judged = replace(seen, query="")
        if endpoint == _PROFILE:
            sentence = "The access token stood in the address; a header keeps it out of logs."
            amazon.referee.report(RuleName.TOKEN_BY_QUERY, sentence, endpoint=endpoint)
    for kind, sentence in leaks(judged, amazon.is_device_code, is_page=not is_endpoint):
        amazon.referee.report(kind, sentence, endpoint=endpoint)
    if endpoint.lower() not in _TOKEN_PATHS and carries_refresh_token(seen):
        sentence = "A refresh token was sent to an address that is not its token endpoint."
        amazon.referee.report(RuleName.REFRESH_TOKEN_ELSEWHERE, sentence, endpoint=endpoint)
    return None


class _Endpoints:
    """The endpoints for clients, a method each."""

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
            (_PROFILE, "profile", self.profile),
            ("/auth/O2/tokeninfo", "tokeninfo", self.tokeninfo),
            ("/auth/o2/tokeninfo", "tokeninfo", self.tokeninfo),
            ("/userinfo", "userinfo", self.userinfo),
            (f"/{_TRAP}", _TRAP, self.followed),
        ]

    # Code pairs

    def lwa_pair(self) -> Response:
        """Return a code pair. Source: LWA "Retrieve a User Code and Verification URL"."""
        return self._respond(Endpoint.CODE_PAIR, _LWA_PAIR, self._issue_lwa_pair)

    def _issue_lwa_pair(self, form: Mapping[str, str], fault: Fault) -> Response:
        if form["response_type"] != "device_code":
            return self._refuse_parameter("response_type must be device_code.")
        applicant = read_applicant(form["client_id"], form["scope"], form.get("scope_data"))
        if applicant is None:
            return self._refuse_parameter(SCOPE_DATA_RULE)
        issued = self._amazon.issue_code_pair(applicant, fault)
        if isinstance(issued, OAuthRefusal):
            return error_answer(issued)
        # LWA never sends verification_uri_complete; clients append ?cbl-code= themselves.
        uri = f"{self._verification_base}/{_country(request.headers.get('Accept-Language', ''))}/code"
        return json_answer(OK, pair_answer(issued, uri), fault.change)

    def rfc_pair(self) -> Response:
        """Return a code pair. Source: RFC 8628 §3.2."""
        return self._respond(Endpoint.CODE_PAIR, _RFC_PAIR, self._issue_rfc_pair)

    def _issue_rfc_pair(self, form: Mapping[str, str], fault: Fault) -> Response:
        scopes = tuple(form.get("scope", "").split())
        applicant = Applicant(dialect=DialectName.RFC8628, client_id=form["client_id"], scopes=scopes)
        issued = self._amazon.issue_code_pair(applicant, fault)
        if isinstance(issued, OAuthRefusal):
            return error_answer(issued)
        uri = f"{self._verification_base}/device"
        complete = {"verification_uri_complete": f"{uri}?user_code={issued.user_code}"}
        return json_answer(OK, pair_answer(issued, uri) | complete, fault.change)

    def _refuse_parameter(self, sentence: str) -> Response:
        self._report(RuleName.WRONG_PARAMETER, sentence, Endpoint.CODE_PAIR)
        return error_answer(OAuthRefusal("invalid_request", sentence))

    # Tokens

    def lwa_token(self) -> Response:
        """Answer a poll, a refresh, or the exchange of an authorization code.

        Source: LWA "Retrieve an Access Token and Refresh Token"; "Authorization Code Grant".
        """
        return self._token(DialectName.LWA, "device_code", (_LWA_POLL, _LWA_REFRESH, _LWA_EXCHANGE))

    def rfc_token(self) -> Response:
        """Answer a poll, a refresh, or the exchange of an authorization code.

        Source: RFC 8628 §3.4, §3.5; RFC 6749 §4.1.3, §6.
        """
        return self._token(DialectName.RFC8628, URN_DEVICE_CODE, (_RFC_POLL, _RFC_REFRESH, _RFC_EXCHANGE))

    def _token(
        self,
        dialect: DialectName,
        poll_grant: str,
        forms: tuple[RequestForm, RequestForm, RequestForm],
    ) -> Response:
        poll_form, refresh_form, exchange_form = forms
        grant_type = dict(_parameters()).get("grant_type", "")
        if grant_type == "refresh_token":
            return self._respond(Endpoint.REFRESH, refresh_form, partial(self._refresh, dialect))
        if grant_type == "authorization_code":
            return self._exchange(dialect, exchange_form)
        form, refusal = self._read(poll_form, Endpoint.TOKEN_POLL)
        if grant_type and grant_type != poll_grant:
            sentence = "The grant_type is not one of this endpoint."
            self._report(RuleName.WRONG_PARAMETER, sentence, Endpoint.TOKEN_POLL)
            refusal = refusal or error_answer(
                OAuthRefusal("unsupported_grant_type", "This grant type is not known here.")
            )
        return self._poll(dialect, form, refusal)

    def _poll(self, dialect: DialectName, form: Mapping[str, str], refusal: Response | None) -> Response:
        device_code = form.get("device_code", "")
        is_due = self._amazon.poll_arrived(device_code)

        def true_response(fault: Fault) -> Response:
            if refusal is not None:
                return refusal
            result = self._amazon.poll(
                dialect,
                device_code,
                user_code=form.get("user_code", ""),
                client_id=form.get("client_id", ""),
                is_due=is_due,
                fault=fault,
            )
            return tokens_answer(dialect, result, fault)

        response = self._answer(Endpoint.TOKEN_POLL, true_response)
        if _delivery().fault.slow_down:
            self._amazon.slow_down(device_code)
        retry_after = response.headers.get("Retry-After", "")
        wait = float(retry_after) if retry_after.isdecimal() else 0
        is_over = _ends_code(response)
        answered = partial(
            self._amazon.poll_answered,
            device_code,
            is_final=is_over,
            is_documented=not (is_over and error_name(response) in NEVER_FROM_LWA),
            is_due=is_due,
            retry_after=wait,
        )
        _delivery().on_end.append(answered)
        return response

    def _exchange(self, dialect: DialectName, wanted: RequestForm) -> Response:
        form, refusal = self._read(wanted, Endpoint.EXCHANGE)
        code = form.get("code", "")
        self._amazon.exchange_arrived(code)

        def true_response(fault: Fault) -> Response:
            if refusal is not None:
                return refusal
            credentials = self._credentials(form, Endpoint.EXCHANGE, self._amazon.name_of(form))
            if isinstance(credentials, OAuthRefusal):
                return _refuse_client(credentials)
            exchange = CodeExchange(
                dialect=dialect,
                code=code,
                credentials=credentials,
                redirect_uri=form["redirect_uri"],
                verifier=form.get("code_verifier"),
            )
            return _tokens_or_refusal(dialect, self._amazon.exchange(exchange, fault), fault)

        response = self._answer(Endpoint.EXCHANGE, true_response)
        if _ends_code(response):
            _delivery().on_end.append(lambda _: self._amazon.exchange_answered(code))
        return response

    def _refresh(self, dialect: DialectName, form: Mapping[str, str], fault: Fault) -> Response:
        credentials = self._credentials(form, Endpoint.REFRESH, self._amazon.name_of(form))
        if isinstance(credentials, OAuthRefusal):
            return _refuse_client(credentials)
        result = self._amazon.refresh(
            dialect,
            form["refresh_token"],
            credentials.client_id,
            fault,
            client_secret=credentials.client_secret,
        )
        if isinstance(result, Tokens) and result.replaces is not None:
            replaced = result.replaces
            _delivery().on_end.append(lambda _: self._amazon.refresh_answered(replaced))
        return _tokens_or_refusal(dialect, result, fault)

    def revoke(self) -> Response:
        """Revoke a token; an unknown one is not an error. Source: RFC 7009 §2."""

        def true_response(form: Mapping[str, str], _fault: Fault) -> Response:
            self._amazon.revoke_token(form["token"], form["client_id"])
            return json_answer(OK, {})

        return self._respond(Endpoint.REVOKE, _RFC_REVOKE, true_response)

    # The rest

    def metadata(self) -> Response:
        """Return the addresses of the RFC 8628 endpoints. Source: RFC 8414 §2; RFC 8628 §4."""
        members: dict[str, object] = {
            "issuer": self._origin,
            "authorization_endpoint": f"{self._origin}/{AUTHORIZATION_PAGES[DialectName.RFC8628]}",
            "device_authorization_endpoint": f"{self._origin}/device_authorization",
            "token_endpoint": f"{self._origin}/token",
            "revocation_endpoint": f"{self._origin}/revoke",
            "userinfo_endpoint": f"{self._origin}/userinfo",
            "scopes_supported": sorted(self._amazon.options.scopes or _RFC_SCOPES),
            "grant_types_supported": [URN_DEVICE_CODE, "refresh_token", "authorization_code"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": _AUTH_METHODS,
            "revocation_endpoint_auth_methods_supported": _AUTH_METHODS,
        }
        return self._respond(
            Endpoint.METADATA, _METADATA, lambda _form, fault: json_answer(OK, members, fault.change)
        )

    def profile(self) -> Response:
        """Return the linked account, if the scope allows it. Source: LWA "Obtain Customer Profile"."""
        grant = self._grant_of_bearer(request.args.get("access_token", ""))
        # Names and statuses of RFC 6750 §3.1: LWA's table of profile errors could not be obtained.
        if grant is None:
            return _unknown_token()
        profile = {"user_id": _user_id(grant)}
        if "profile" in grant.applicant.scopes:
            profile |= {"name": OWNER_NAME, "email": "owner@example.com"}
        elif "profile:user_id" not in grant.applicant.scopes:
            return error_answer(
                OAuthRefusal("insufficient_scope", "The grant has no profile scope."), status=403
            )
        return json_answer(OK, profile)

    def tokeninfo(self) -> Response:
        """Return the client of an access token. Source: Amazon Pay "Obtain profile information"; captured responses."""
        token = request.args.get("access_token", "")
        grant = self._amazon.grant_of(token)
        if grant is None:
            return error_answer(_UNKNOWN_TOKEN)
        members: dict[str, object] = {"aud": grant.applicant.client_id}
        if _ACCOUNT_SCOPES.intersection(grant.applicant.scopes):
            members |= {"user_id": _user_id(grant)}
        return json_answer(OK, members | {"iss": self._origin, "exp": self._amazon.lifetime_left(token)})

    def userinfo(self) -> Response:
        """Return the linked account of the RFC 8628 side. Source: OpenID Connect Core 1.0 §5.3, §5.4."""
        grant = self._grant_of_bearer()
        if grant is None:
            return _unknown_token()
        if "openid" not in grant.applicant.scopes:
            return error_answer(OAuthRefusal("insufficient_scope", "The scope has no openid."), status=403)
        claims = {"sub": f"simulated-{grant.grant_id:08d}"}
        if "profile" in grant.applicant.scopes:
            claims |= {"name": OWNER_NAME}
        return json_answer(OK, claims)

    def _grant_of_bearer(self, otherwise: str = "") -> Grant | None:
        """Return the grant of the access token in the request's headers, or else of this one."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            token = request.headers.get("x-amz-access-token", otherwise)
        return self._amazon.grant_of(token)

    def followed(self) -> Response:
        """Report a client that follows a scripted redirect."""
        self._report(RuleName.FOLLOWED_REDIRECT, "A client followed a redirect.", _TRAP)
        return error_answer(OAuthRefusal("invalid_request", "Nothing is here."), status=404)

    # Inside

    def _respond(
        self,
        endpoint: Endpoint,
        wanted: RequestForm,
        true_response: Callable[[Mapping[str, str], Fault], Response],
    ) -> Response:
        """Return the scripted response, a refusal if the request is unusable, or the true response."""
        form, refusal = self._read(wanted, endpoint)
        return self._answer(endpoint, lambda fault: refusal or true_response(form, fault))

    def _read(self, wanted: RequestForm, endpoint: Endpoint) -> tuple[dict[str, str], Response | None]:
        """Have the referee judge the request; return its parameters, and a refusal if it is unusable."""
        parameters = _parameters() if wanted.method == "POST" else []
        breaches = list(judge(_seen(), parameters, wanted))
        form = dict(reversed(parameters))
        header = request.headers.get("Authorization", "") if wanted.takes_basic else ""
        sender = read_basic(header)
        if sender is not None:
            form.setdefault("client_id", sender.client_id)
        client = self._amazon.name_of(form)
        for kind, sentence in breaches:
            self._amazon.referee.report(kind, sentence, endpoint=endpoint, client=client)
        kinds = {kind for kind, _ in breaches}
        if RuleName.WRONG_METHOD in kinds:
            response = error_answer(OAuthRefusal("invalid_request", f"Use {wanted.method}."), status=405)
            response.headers["Allow"] = wanted.method
            return {}, response
        if not kinds.isdisjoint(_UNUSABLE):
            return form, error_answer(OAuthRefusal("invalid_request", "The request is malformed."))
        return form, self._authenticate(form, endpoint, client) if wanted.authenticates else None

    def _authenticate(self, form: Mapping[str, str], endpoint: Endpoint, client: str) -> Response | None:
        """Return a refusal if a client of RFC 8628 is not the one that it says it is. Source: RFC 6749 §3.2.1."""
        credentials = self._credentials(form, endpoint, client)
        if isinstance(credentials, OAuthRefusal):
            return _refuse_client(credentials, status=401)
        refused = self._amazon.refuse_credentials(credentials, DialectName.RFC8628, endpoint, client)
        return None if refused is None else _refuse_client(refused, status=401)

    def _credentials(
        self, form: Mapping[str, str], endpoint: Endpoint, client: str
    ) -> Credentials | OAuthRefusal:
        credentials = read_credentials(form, request.headers.get("Authorization"))
        if isinstance(credentials, ClientRefusal):
            return self._amazon.refuse(credentials, endpoint, client)
        return credentials

    def _answer(self, endpoint: Endpoint, true_response: Callable[[Fault], Response]) -> Response:
        """Return the true response, or the scripted one."""
        fault = self._amazon.take_fault(endpoint)
        _delivery().fault = fault
        if fault.replaces:
            response = scripted(endpoint, fault, trap=f"{self._origin}/{_TRAP}")
        else:
            response = true_response(fault)
            if fault.shape is not None:
                response = reshaped(response, fault.shape, endpoint)
        for name, value in fault.headers.items():
            response.headers[name] = value
        return response

    def _report(self, kind: RuleName, sentence: str, endpoint: str) -> None:
        client = self._amazon.name_of(dict(_parameters()))
        self._amazon.referee.report(kind, sentence, endpoint=endpoint, client=client)


def _seen() -> ObservedRequest:
    return cast("ObservedRequest", g.seen)


def _parameters() -> list[tuple[str, str]]:
    """Return the parameters of the request's body, which is read once."""
    if "parameters" not in g:
        g.parameters = _seen().form()
    return cast("list[tuple[str, str]]", g.parameters)


def _delivery() -> Delivery:
    return cast("Delivery", request.environ.setdefault(DELIVERY, Delivery()))


def _ends_code(response: Response) -> bool:
    """Return whether this response is the client's last for its code, and will reach it whole."""
    fault = _delivery().fault
    return not fault.truncate and is_final(response, is_scripted=fault.replaces)


def _tokens_or_refusal(dialect: DialectName, result: Tokens | OAuthRefusal, fault: Fault) -> Response:
    """Return the response to a client that may have sent credentials."""
    if isinstance(result, OAuthRefusal):
        return _refuse_client(result)
    return tokens_answer(dialect, result, fault)


def _refuse_client(refused: OAuthRefusal, *, status: int = 400) -> Response:
    """Return an error; ``invalid_client`` with a challenge to a client that sent an Authorization header, else with this status.

    Source: RFC 6749 §5.2.
    """
    if refused.error != "invalid_client":
        return error_answer(refused)
    if "Authorization" not in request.headers:
        return error_answer(refused, status=status)
    return _unauthorized(refused, 'Basic realm="simulated Amazon"')


def _unknown_token() -> Response:
    return _unauthorized(_UNKNOWN_TOKEN, 'Bearer error="invalid_token"')


def _user_id(grant: Grant) -> str:
    return f"amzn1.account.SIMULATED{grant.grant_id:08d}"


def _unauthorized(refusal: OAuthRefusal, challenge: str) -> Response:
    response = error_answer(refusal, status=401)
    response.headers["WWW-Authenticate"] = challenge
    return response


def _country(accept_language: str) -> str:
    """Return the country of the verification page, by the speaker's locale as LWA does."""
    found = re.match(r"[A-Za-z]{2,3}-([A-Za-z]{2})\b", accept_language)
    return found[1].lower() if found else "us"
