"""The control API for tests and rigs on this machine: approve, deny, allow, script faults, read the referee.

It answers loopback clients only, and no browser on behalf of another site, because it can approve any code.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import AUTHORIZATION_PAGES, EVERY_CODE, Amazon
from device_auth.simulator.faults import Endpoint, FaultError, read_fault
from device_auth.simulator.models import AuthorizationCode, PairState
from device_auth.simulator.referee import RULES
from device_auth.wire.addresses import is_loopback

DESCRIPTION: Final = files("device_auth.simulator") / "openapi.json"
"""The control API and the endpoints for clients, in OpenAPI 3.1."""

_PREFIX: Final = "/control"
_OWN_SITES: Final = frozenset({"same-origin", "none"})

Reply = Response | tuple[Response, int]


def control_pages(amazon: Amazon) -> Blueprint:
    """Make the control API below ``/control``."""
    pages = Blueprint("control", __name__, url_prefix=_PREFIX)
    pages.before_request(_refuse_other_clients)

    @pages.get("/")
    def controls() -> Reply:
        return jsonify(controls=list_controls())

    @pages.get("/openapi.json")
    def description() -> Reply:
        return Response(DESCRIPTION.read_bytes(), content_type="application/json")

    def act(change: Callable[[str], int]) -> Reply:
        user_code = _members().get("user_code")
        if not isinstance(user_code, str):
            return _error(f'user_code must be a text, or "{EVERY_CODE}"')
        changed = change(user_code)
        if not changed and user_code != EVERY_CODE:
            return _error("no such code is open to that", 404)
        return jsonify(changed=changed)

    pages.add_url_rule("/approve", "approve", lambda: act(amazon.approve), methods=["POST"])
    pages.add_url_rule("/deny", "deny", lambda: act(amazon.deny), methods=["POST"])
    pages.add_url_rule("/expire", "expire", lambda: act(amazon.expire), methods=["POST"])
    pages.add_url_rule("/revoke", "revoke", lambda: act(amazon.revoke), methods=["POST"])

    def answer(decide: Callable[[dict[str, str], DialectName], str]) -> Reply:
        address = _members().get("address")
        if not isinstance(address, str):
            return _error("address must be that of an authorization request")
        try:
            parts = urlsplit(address)
            is_lwa = parts.path.strip("/") != AUTHORIZATION_PAGES[DialectName.RFC8628]
            dialect = DialectName.LWA if is_lwa else DialectName.RFC8628
            return jsonify(address=decide(dict(parse_qsl(parts.query)), dialect))
        except ValueError as error:
            return _error(f"the browser would not be sent back: {error}")

    allow, cancel = amazon.approve_authorization, amazon.decline_authorization
    pages.add_url_rule("/authorization/allow", "allow", lambda: answer(allow), methods=["POST"])
    pages.add_url_rule("/authorization/cancel", "cancel", lambda: answer(cancel), methods=["POST"])

    @pages.post("/faults")
    def script() -> Reply:
        members = _members()
        faults = members.get("faults")
        if not isinstance(faults, list):
            return _error("faults must be a list")
        try:
            endpoint = Endpoint(str(members.get("endpoint")))
            amazon.script(endpoint, [read_fault(fault) for fault in faults])
        except FaultError as error:
            return _error(str(error))
        except ValueError:
            return _error(f"endpoint must be one of {', '.join(Endpoint)}")
        return jsonify(waiting=amazon.faults_waiting())

    @pages.delete("/faults")
    def clear() -> Reply:
        amazon.clear_faults()
        return jsonify(waiting=amazon.faults_waiting())

    @pages.get("/state")
    def state() -> Reply:
        return jsonify(_state(amazon))

    @pages.get("/referee")
    def referee() -> Reply:
        complaints, notes = (
            [asdict(remark) | {"source": RULES[remark.kind].source} for remark in remarks]
            for remarks in (amazon.referee.complaints(), amazon.referee.notes())
        )
        return jsonify(complaints=complaints, notes=notes, counts=amazon.referee.counts())

    @pages.post("/referee/reset")
    def reset() -> Reply:
        amazon.referee.reset()
        return jsonify(complaints=[], notes=[], counts={})

    return pages


def list_controls() -> list[dict[str, str]]:
    """Return method, path and purpose of each request of the control API."""
    paths = json.loads(DESCRIPTION.read_bytes())["paths"]
    return [
        {"method": method.upper(), "path": path, "does": operation["summary"]}
        for path, operations in paths.items()
        if path.startswith(_PREFIX)
        for method, operation in operations.items()
    ]


def answer_in_json(error: HTTPException) -> HTTPException | Reply:
    """Answer a path or method that the control API does not have in JSON too, like its other errors."""
    if request.path.startswith(f"{_PREFIX}/"):
        answer, status = _error(f"{error.name}: GET {_PREFIX}/ lists what there is", error.code or 400)
        if isinstance(error, MethodNotAllowed):
            answer.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return answer, status
    return error


def _state(amazon: Amazon) -> dict[str, object]:
    now = amazon.clock()
    return {
        "pairs": [
            {
                "user_code": pair.user_code,
                "state": pair.state,
                "dialect": pair.applicant.dialect,
                "client_id": pair.applicant.client_id,
                "scope": " ".join(pair.applicant.scopes),
                "product_id": pair.applicant.product_id,
                "dsn": pair.applicant.dsn,
                "interval": pair.interval,
                "expires_in": max(0, round(pair.expires_at - now)),
                "polls": pair.polls,
            }
            for pair in amazon.pairs()
        ],
        "authorizations": [
            {
                "state": _code_state(code, now),
                "client_id": code.request.applicant.client_id,
                "scope": " ".join(code.request.applicant.scopes),
                "product_id": code.request.applicant.product_id,
                "dsn": code.request.applicant.dsn,
                "redirect_uri": code.request.redirect_uri,
                "expires_in": max(0, round(code.expires_at - now)),
            }
            for code in amazon.authorizations()
        ],
        "grants": [
            {
                "grant_id": grant.grant_id,
                "flow": grant.flow,
                "dialect": grant.applicant.dialect,
                "client_id": grant.applicant.client_id,
                "dsn": grant.applicant.dsn,
                "refreshes": grant.refreshes,
                "is_revoked": grant.is_revoked,
            }
            for grant in amazon.grants()
        ],
        "faults": amazon.faults_waiting(),
        "forgotten": amazon.forgotten(),
    }


def _code_state(code: AuthorizationCode, now: float) -> PairState:
    if code.grant_id is not None:
        return PairState.USED
    return PairState.EXPIRED if now >= code.expires_at else PairState.APPROVED


def _members() -> dict[str, object]:
    """Return the JSON object of the request; an empty one without a body."""
    return _read_object() or {}


def _read_object() -> dict[str, object] | None:
    """Return the JSON object of the request; None if it is not one."""
    try:
        members = request.get_json(silent=True)
    except RecursionError:
        return None
    return members if isinstance(members, dict) else None


def _refuse_other_clients() -> Reply | None:
    """Refuse all but loopback clients that send JSON; a web page of another site cannot do both."""
    host = host_name(request.host)
    if not is_loopback(request.remote_addr or "") or not is_loopback(host):
        return _error("the control API is for this machine only", 403)
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if (origin is not None and origin != request.host_url.rstrip("/")) or site not in _OWN_SITES:
        return _error("the control API is not for other sites", 403)
    if request.method == "POST" and request.content_length and not request.is_json:
        return _error("send application/json", 415)
    if request.content_length and _read_object() is None:
        return _error("the body must be a JSON object")
    return None


def host_name(host: str) -> str:
    """Return the name in a Host header; empty if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _error(sentence: str, status: int = 400) -> tuple[Response, int]:
    return jsonify(error=sentence), status
