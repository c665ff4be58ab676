"""The sign-in page of the authorization-code flow: a maker signs in, sees which client asks, and allows or cancels.

It works without script. The forms carry the request, which is read again at each step; nothing is stored until the
maker allows. Source: RFC 6749 §4.1.1, §4.1.2; LWA "Authorization Code Grant".
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, Response, request

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import AUTHORIZATION_PAGES, Amazon
from device_auth.simulator.models import AuthorizationRequest, OAuthRefusal, SentBack
from device_auth.simulator.page import OPEN_TOO_LONG, SCOPES, is_own_form, page, policy, protect
from device_auth.simulator.referee import AUTHORIZATIONS

_ROOTS: Final = {DialectName.LWA: "/ap", DialectName.RFC8628: "/authorize"}
"""The folders of the pages by dialect."""

_LONGEST_NAME: Final = 64
_SOMEBODY: Final = "Sim Ulated"

_SEE_OTHER: Final = 303
"""The browser follows with a GET, without the form. Source: RFC 9700 §4.12."""


def sign_in_pages(amazon: Amazon) -> Blueprint:
    """Make the pages at LWA's ``/ap/oa`` and RFC 6749's ``/authorize``; ``phone_pages`` sets the application's key and cookies."""
    pages = Blueprint("sign_in", __name__)
    pages.after_request(protect)
    for dialect, root in _ROOTS.items():
        views = _SignInPages(amazon, dialect)
        pages.add_url_rule(f"/{AUTHORIZATION_PAGES[dialect]}", f"open-{dialect}", views.open, methods=["GET"])
        for name, view in (("signin", views.sign_in), ("consent", views.decide)):
            pages.add_url_rule(f"{root}/{name}", f"{name}-{dialect}", view, methods=["POST"])
            pages.add_url_rule(f"{root}/{name}", f"{name}-again-{dialect}", _no_request, methods=["GET"])
    return pages


class _SignInPages:
    """The three steps: open with a request, sign in, decide."""

    def __init__(self, amazon: Amazon, dialect: DialectName) -> None:
        self._amazon = amazon
        self._dialect = dialect
        self._root = _ROOTS[dialect]

    def open(self) -> Response:
        """Show the sign-in page for the request in the address."""
        parameters = list(request.args.items(multi=True))
        self._amazon.judge_authorization(parameters, self._dialect)
        match self._amazon.read_authorization(parameters, self._dialect):
            case OAuthRefusal(description=description):
                return _problem(description)
            case SentBack(address=address):
                return _leave(address)
            case AuthorizationRequest():
                return self._sign_in(_SOMEBODY)

    def sign_in(self) -> Response:
        """Take any name; then show the client and its scopes."""
        return self._go_on(self._consent)

    def decide(self) -> Response:
        """Carry out the maker's decision."""

        def carry_out(wanted: AuthorizationRequest, account: str) -> Response:
            match request.form.get("decision"):
                case "allow":
                    return _leave(self._amazon.allow(wanted))
                case "cancel":
                    return _leave(self._amazon.decline(wanted))
                case _:
                    return self._consent(
                        wanted, account, error="Please press one of the two buttons.", status=400
                    )

        return self._go_on(carry_out)

    def _go_on(self, step: Callable[[AuthorizationRequest, str], Response]) -> Response:
        """Read the request and the name from a form of this page, then take the step."""
        wanted = self._amazon.read_authorization(list(request.form.items(multi=True)), self._dialect)
        if not isinstance(wanted, AuthorizationRequest):
            return _no_request()
        account = " ".join(request.form.get("account", "").split())[:_LONGEST_NAME]
        if not is_own_form():
            return self._sign_in(account, error=OPEN_TOO_LONG, status=403)
        if not account:
            return self._sign_in(account, error="Please type a name; any will do.", status=400)
        return step(wanted, account)

    def _sign_in(self, account: str, *, error: str = "", status: int = 200) -> Response:
        return page(
            "sign_in", root=self._root, status=status, carried=_carried(), account=account, error=error
        )

    def _consent(
        self, wanted: AuthorizationRequest, account: str, *, error: str = "", status: int = 200
    ) -> Response:
        applicant = wanted.applicant
        response = page(
            "consent",
            root=self._root,
            status=status,
            carried=_carried(),
            account=account,
            applicant=applicant,
            scopes=[SCOPES.get(scope, scope) for scope in applicant.scopes],
            back_to=urlsplit(wanted.redirect_uri).netloc,
            error=error,
        )
        # Browsers apply form-action to redirects too, and this form redirects to the client.
        response.headers["Content-Security-Policy"] = policy(form_target(wanted.redirect_uri))
        return response


def _carried() -> dict[str, str]:
    """Return the parameters of the authorization request, from the address or else from the form."""
    sent = request.args if request.method == "GET" else request.form
    names = {name for form in AUTHORIZATIONS.values() for name in form.required | form.optional}
    return {name: sent[name] for name in sorted(names) if sent.get(name)}


def form_target(address: str) -> str:
    """Return the origin of an address for ``form-action``, which cannot name IPv6 hosts: of those, the scheme alone.

    Source: CSP Level 3 §2.3.1, "host-part".
    """
    parts = urlsplit(address)
    return f"{parts.scheme}:" if "[" in parts.netloc else f"{parts.scheme}://{parts.netloc}"


def _leave(address: str) -> Response:
    return Response(status=_SEE_OTHER, headers={"Location": address})


def _no_request() -> Response:
    return _problem("No program has asked for anything here.")


def _problem(reason: str) -> Response:
    return page("problem", reason=reason, status=400)
