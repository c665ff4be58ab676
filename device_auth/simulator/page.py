"""The phone page: the owner enters the user code, sees which speaker asks, and approves or declines.

It works without script, never lists codes, shows a client's words as text only, and accepts only its own forms.
Source: RFC 8628 §3.3, §5.1, §5.4.
"""

import hmac
import math
import secrets
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, make_response, redirect, render_template, request, session

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import IssuedPair

WRONG_CODES: Final = 10
"""Wrong codes that one IP address may enter within ``WRONG_CODES_WINDOW`` seconds."""

WRONG_CODES_WINDOW: Final = 600
_MOST_ADDRESSES: Final = 1_000
_LONGEST_CODE: Final = 64

OPEN_TOO_LONG: Final = "This page was open for too long. Please try once more."

SCOPES: Final = {
    "alexa:all": "Use Alexa on this speaker",
    "profile": "See your name and e-mail address",
    "profile:user_id": "Tell your account from others",
    "postal_code": "See your postal code",
    "openid": "Tell your account from others",
    "offline_access": "Stay linked",
}
"""Scopes in words for the owner."""


class WrongCodes:
    """Counts wrong codes by IP address, against guessing. Source: RFC 8628 §5.1."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: dict[str, list[float]] = {}

    def add(self, address: str) -> None:
        """Count one wrong code."""
        with self._lock:
            self._times.setdefault(address, []).append(self._clock())
            if len(self._times) > _MOST_ADDRESSES:
                del self._times[next(iter(self._times))]

    def minutes_to_wait(self, address: str) -> int:
        """Return how long an address must wait, in whole minutes; 0 if it need not."""
        with self._lock:
            now = self._clock()
            recent = [each for each in self._times.get(address, []) if each > now - WRONG_CODES_WINDOW]
            self._times[address] = recent
            if len(recent) < WRONG_CODES:
                return 0
            return math.ceil((recent[-WRONG_CODES] + WRONG_CODES_WINDOW - now) / 60)


def phone_pages(amazon: Amazon, *, origin: str, app: Flask) -> Blueprint:
    """Make the phone page at LWA's verification URIs (``/us/code``) and RFC 8628's (``/device``)."""
    app.secret_key = secrets.token_bytes(32)
    app.config.update(
        SESSION_COOKIE_NAME=f"simulated-amazon-{urlsplit(origin).port}",  # a browser's cookies ignore ports
        SESSION_COOKIE_SECURE=urlsplit(origin).scheme == "https",
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_HTTPONLY=True,
    )
    pages = Blueprint("page", __name__)
    pages.after_request(protect)
    phone = _Phone(amazon)
    for path in ("/<country>/code", "/code", "/device"):
        pages.add_url_rule(path, "enter", phone.enter, methods=["GET"])
        pages.add_url_rule(path, "ask", phone.ask, methods=["POST"])
    pages.add_url_rule("/answer", "answer", phone.answer, methods=["POST"])
    pages.add_url_rule("/answer", "again", lambda: redirect("/us/code"), methods=["GET"])
    pages.add_url_rule("/", "start", lambda: redirect("/us/code"), methods=["GET"])
    return pages


class _Phone:
    """The three steps of the page: enter a code, decide, read the result."""

    def __init__(self, amazon: Amazon) -> None:
        self._amazon = amazon
        self._wrong_codes = WrongCodes(amazon.clock)

    def enter(self, country: str = "") -> Response:
        """Show the form for the code; a code in the address only fills it in."""
        _ = country
        typed = request.args.get("cbl-code") or request.args.get("user_code") or ""
        return _enter(typed[:_LONGEST_CODE])

    def ask(self, country: str = "") -> Response:
        """Look the code up, and show the speaker and its scopes."""
        _ = country
        found = self._find()
        if isinstance(found, Response):
            return found
        scopes = [SCOPES.get(scope, scope) for scope in found.applicant.scopes]
        return page("ask", pair=found, applicant=found.applicant, scopes=scopes)

    def answer(self) -> Response:
        """Carry out the owner's decision."""
        found = self._find()
        if isinstance(found, Response):
            return found
        match request.form.get("decision"):
            case "approve":
                changed, result = self._amazon.approve(found.user_code), "approved"
            case "decline":
                changed, result = self._amazon.deny(found.user_code), "declined"
            case _:
                return _enter(found.user_code, error="Please press one of the two buttons.", status=400)
        if not changed:
            return _enter(error="Too late: this code was answered or has expired.", status=409)
        return page("result", result=result, applicant=found.applicant)

    def _find(self) -> IssuedPair | Response:
        """Return the code pair of a form, or a page with the reason why not."""
        typed = (request.form.get("code") or request.form.get("cbl-code") or "")[:_LONGEST_CODE]
        if not is_own_form():
            return _enter(typed, error=OPEN_TOO_LONG, status=403)
        address = request.remote_addr or ""
        minutes = self._wrong_codes.minutes_to_wait(address)
        if minutes:
            unit = "minute" if minutes == 1 else "minutes"
            return _enter(error=f"Too many wrong codes. Please wait {minutes} {unit}.", status=429)
        found = self._amazon.find(typed)
        if found is None:
            self._wrong_codes.add(address)
            error = "This code is not valid, or it has expired. Check it, or press the speaker's button for a new one."
            return _enter(typed, error=error, status=404)
        return found


def is_own_form() -> bool:
    """Return whether a form comes from a page that was sent to this browser."""
    return hmac.compare_digest(request.form.get("form_token", "").encode(), _form_token().encode())


def _form_token() -> str:
    """Return the token that binds forms to this browser; other sites cannot know it."""
    token = session.get("form_token")
    if not isinstance(token, str):
        session["form_token"] = token = secrets.token_urlsafe()
    return token


def _enter(typed: str = "", *, error: str = "", status: int = 200) -> Response:
    return page("enter", typed=typed, error=error, status=status)


def page(name: str, *, status: int = 200, **words: object) -> Response:
    """Make a page whose forms are tied to this browser."""
    return make_response(render_template(f"{name}.html", form_token=_form_token(), **words), status)


def protect(response: Response) -> Response:
    """Forbid script, framing, caching, and a referrer, which would hold the code."""
    response.headers.setdefault("Content-Security-Policy", policy())
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def policy(form_target: str = "") -> str:
    """Return a page's policy for the browser; its form may lead to one more origin. Source: CSP Level 3."""
    targets = f"'self' {form_target}".rstrip()
    return (
        "default-src 'none'; style-src 'self'; img-src data:; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )
