"""The clients of the simulated Amazon: which it knows, what they may ask for, how they prove their identity."""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from device_auth.core.models import DialectName
from device_auth.simulator.models import Applicant, Credentials, OAuthRefusal, Options
from device_auth.simulator.referee import Breach, RuleName

LWA_SCOPES: Final = frozenset({"alexa:all", "profile", "profile:user_id", "postal_code"})
"""The scopes a client may ask for. Source: LWA "Customer Profile"; "Retrieve a User Code"."""

SCOPE_DATA_RULE: Final = "scope_data must name a productID and a deviceSerialNumber for alexa:all."

UNKNOWN_CLIENT: Final = OAuthRefusal("invalid_client", "Client authentication failed")

_LWA_CLIENT_PREFIX: Final = "amzn1.application-oa2-client."
_LWA_CLIENT_TAIL: Final = 32
_LONGEST_CLIENT_ID: Final = 100


@dataclass(frozen=True, slots=True)
class ClientRefusal:
    """The reason why a request is refused, and the referee's rule that it breaks, if any."""

    answer: OAuthRefusal
    breach: Breach | None = None


def is_client_id(text: str, dialect: DialectName) -> bool:
    """Return whether a text has the form of a client ID."""
    if dialect is DialectName.LWA:
        tail = text.removeprefix(_LWA_CLIENT_PREFIX)
        is_plain = tail.isascii() and tail.isalnum() and tail == tail.lower()
        return text.startswith(_LWA_CLIENT_PREFIX) and len(tail) == _LWA_CLIENT_TAIL and is_plain
    return 0 < len(text) <= _LONGEST_CLIENT_ID and text.isascii() and text.isprintable() and " " not in text


def is_known(client_id: str, options: Options) -> bool:
    """Return whether a client is known, or may be any."""
    return options.takes_others or client_id in options.clients


def refuse_client(client_id: str, dialect: DialectName, options: Options) -> OAuthRefusal | None:
    """Return why the client is refused; None if it is known and may use the dialect.

    Source: ``InvalidValue`` was captured for an ID that LWA does not know (issues 613 and 1305 of Amazon's AVS Device
    SDK); ``unauthorized_client`` is documented by LWA "Retrieve a User Code".
    """
    client = options.clients.get(client_id)
    if not is_client_id(client_id, dialect) or not is_known(client_id, options):
        if dialect is DialectName.LWA:
            return OAuthRefusal("InvalidValue", "The request has an invalid parameter : client_id")
        return UNKNOWN_CLIENT
    if client is not None and dialect not in client.dialects:
        return OAuthRefusal("unauthorized_client", "The client may not use this flow.")
    return None


def has_secret(client_id: str, options: Options) -> bool:
    """Return whether a client is known to have a secret."""
    client = options.clients.get(client_id)
    return client is not None and client.secret is not None


def refuse_scopes(applicant: Applicant, options: Options) -> OAuthRefusal | None:
    """Return why the scopes are refused; None if the client may ask for them."""
    is_lwa = applicant.dialect is DialectName.LWA
    known = options.scopes if options.scopes is not None or not is_lwa else LWA_SCOPES
    if known is not None and not known.issuperset(applicant.scopes):
        return OAuthRefusal("invalid_scope", "The client may not ask for this scope.")
    return None


def read_scope_data(text: str) -> tuple[str, str] | None:
    """Read product ID and DSN from ``scope_data``; None if it has not both. The referee looks at its other members."""
    try:
        match json.loads(text):
            case {
                "alexa:all": {
                    "productID": str(product_id),
                    "productInstanceAttributes": {"deviceSerialNumber": str(dsn)},
                }
            } if product_id and dsn:
                f"{product_id}{dsn}".encode()  # raises where JSON has half of a surrogate pair
                return product_id, dsn
            case _:
                return None
    except (ValueError, RecursionError):
        return None


def read_applicant(client_id: str, scope: str, scope_data: str | None) -> Applicant | None:
    """Read an applicant from a request to LWA; None if ``scope_data`` does not fit the scope."""
    scopes = tuple(scope.split())
    product_id, dsn = "", ""
    if "alexa:all" in scopes or scope_data is not None:
        named = read_scope_data(scope_data or "")
        if named is None:
            return None
        product_id, dsn = named
    return Applicant(
        dialect=DialectName.LWA, client_id=client_id, scopes=scopes, product_id=product_id, dsn=dsn
    )


def read_credentials(form: Mapping[str, str], authorization: str | None) -> Credentials | ClientRefusal:
    """Read a client's credentials from the form or from HTTP Basic authentication, not from both.

    Args:
        form: has ``client_id`` unless there is a header.
        authorization: the Authorization header.

    Source: RFC 6749 §2.3, §2.3.1; LWA "Authorization Code Grant".
    """
    if authorization is None:
        return Credentials(form["client_id"], form.get("client_secret"))
    credentials = read_basic(authorization)
    if credentials is None:
        return ClientRefusal(
            OAuthRefusal("invalid_client", "The Authorization header is not HTTP Basic authentication.")
        )
    if "client_secret" in form or form.get("client_id", credentials.client_id) != credentials.client_id:
        breach = (
            RuleName.DUPLICATE_PARAMETER,
            "The client sent its credentials in the header and in the form.",
        )
        return ClientRefusal(
            OAuthRefusal("invalid_request", "The client must send its credentials in one way only."), breach
        )
    return credentials


def read_basic(authorization: str) -> Credentials | None:
    """Read an Authorization header; None if it is not HTTP Basic authentication. An empty secret is not one.

    Source: RFC 7617 §2; RFC 6749 §2.3.1, appendix B.
    """
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return None
    if scheme.lower() != "basic" or not colon:
        return None
    return Credentials(unquote_plus(client_id), unquote_plus(secret) or None)


def authenticate(credentials: Credentials, dialect: DialectName, options: Options) -> ClientRefusal | None:
    """Return why a client's credentials are refused; None if they are right. One without a secret has no proof to give.

    Source: RFC 6749 §5.2; that LWA answers ``unauthorized_client`` to the wrong kind of client has been seen in
    issue 2080 of Amazon's AVS Device SDK.
    """
    is_lwa = dialect is DialectName.LWA
    client, sent = options.clients.get(credentials.client_id), credentials.client_secret
    if not is_known(credentials.client_id, options):
        return ClientRefusal(UNKNOWN_CLIENT)
    refused = refuse_client(credentials.client_id, dialect, options)
    if refused is not None:
        return ClientRefusal(refused)
    known = None if client is None else client.secret
    if known is None:
        if sent is None or (client is None and not is_lwa):
            return None
        breach = RuleName.UNEXPECTED_SECRET, "A client without a secret sent one."
        error = "unauthorized_client" if is_lwa else "invalid_client"
        return ClientRefusal(OAuthRefusal(error, "The client has no secret."), breach)
    if sent is None:
        breach = RuleName.MISSING_PARAMETER, "The parameter client_secret is missing."
        return ClientRefusal(OAuthRefusal("invalid_client", "The client must send its secret."), breach)
    if not hmac.compare_digest(known.encode(), sent.encode()):
        breach = RuleName.WRONG_PARAMETER, "The client secret is wrong."
        return ClientRefusal(OAuthRefusal("invalid_client", "The secret of the client is not valid."), breach)
    return None
