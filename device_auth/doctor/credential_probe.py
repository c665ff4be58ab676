"""Requests that every provider must refuse: the answer shows who answers, and binds nobody to anything.

No code pair is asked for, which takes a physical act. What is asked after here was never given to anyone.
"""

from collections.abc import Mapping
from functools import cached_property
from types import ModuleType
from typing import Final

from device_auth.core.models import (
    CodePair,
    DialectName,
    Flow,
    Link,
    Monotonic,
    Provider,
    Refusal,
    Seconds,
    Secret,
    Unclear,
    UnixTime,
    Unreachable,
    WireRequest,
    WireResponse,
)
from device_auth.core.ports import Transport
from device_auth.wire import lwa, rfc8628
from device_auth.wire.answers import clean, is_from_another, read_fields
from device_auth.world.bounded import cancelled_after
from device_auth.world.settings import Settings

PATIENCE: Final = Seconds(5)
"""Longest wait for one answer, however it drips."""

MADE_UP: Final = "made-up-by-the-doctor"
"""In place of codes and tokens; longer than any user code, and none of any provider's form."""

_WIRES: Final[Mapping[DialectName, ModuleType]] = {DialectName.LWA: lwa, DialectName.RFC8628: rfc8628}

ProbeAnswer = WireResponse | Unreachable | Unclear | Refusal
"""What came of a request, or why there was nowhere to send it."""


def provider_of(settings: Settings, link: Link | None) -> Provider:
    """Return who is asked for tokens: the stored link's own endpoint, else the one that is set.

    The settings need not be enough to link with: where nothing is set, nothing stands here either.
    """
    if link is not None:
        return Provider(link.dialect, link.client_id, link.scope, token_endpoint=link.token_endpoint)
    if settings.dialect is DialectName.LWA:
        endpoint = f"{settings.base_url.rstrip('/')}/token"
        return Provider(settings.dialect, settings.client_id, settings.scope, token_endpoint=endpoint)
    return Provider(
        settings.dialect,
        settings.client_id,
        settings.scope,
        token_endpoint=settings.token_endpoint,
        issuer=settings.issuer,
    )


def first_address(provider: Provider) -> str:
    """Return the address that is asked first; empty if none is set."""
    return provider.token_endpoint or provider.issuer


class CredentialProbe:
    """Asks each question once, when somebody first wants the answer.

    Args:
        transport: carries the requests; used by nobody else meanwhile.
        provider: whom to ask; the endpoints may still have to be found by its issuer's metadata.
        patience: see ``PATIENCE``.
    """

    def __init__(self, transport: Transport, provider: Provider, patience: Seconds = PATIENCE) -> None:
        self.provider = provider
        self._transport = transport
        self._patience = patience

    @cached_property
    def poll(self) -> ProbeAnswer:
        """Ask for the tokens of a code pair that nobody was given."""
        pair = CodePair(
            user_code=MADE_UP,
            device_code=Secret(MADE_UP),
            verification_uri="",
            prefilled_uri=None,
            expires_in=Seconds(0),
            expires_at=Monotonic(0),
            interval=Seconds(0),
        )
        found = self._found
        if not isinstance(found, Provider):
            return found
        return self._send(_WIRES[found.dialect].write_poll(found, pair))

    @cached_property
    def refresh(self) -> ProbeAnswer:
        """Ask to refresh a link that nobody has; unlike LWA's poll it names the client."""
        found = self._found
        if not isinstance(found, Provider):
            return found
        link = Link(
            link_id="",
            dialect=found.dialect,
            flow=Flow.DEVICE_CODE,
            client_id=found.client_id,
            scope="",
            token_endpoint=found.token_endpoint,
            revocation_endpoint="",
            refresh_token=Secret(MADE_UP),
            linked_at=UnixTime(0),
        )
        return self._send(_WIRES[found.dialect].write_refresh(link))

    @cached_property
    def _found(self) -> Provider | Unreachable | Unclear | Refusal:
        """Find the endpoints by the issuer's metadata, where they are not set."""
        if self.provider.token_endpoint:
            return self.provider
        odd: Unclear | None = None
        for request in rfc8628.write_metadata_requests(self.provider.issuer):
            response = self._send(request)
            if isinstance(response, Unreachable):
                return response
            found = rfc8628.read_metadata(response, self.provider)
            if not isinstance(found, Unclear):
                return found
            odd = found
        assert odd is not None, "there are two places for metadata"  # noqa: S101  our own bug
        return odd

    def _send(self, request: WireRequest) -> WireResponse | Unreachable:
        with cancelled_after(self._patience, self._transport.abandon):
            return self._transport.send(request)


def error_name(heard: ProbeAnswer) -> str:
    """Return the error name by which a provider refused, as it came; empty if this is no provider's refusal.

    Any name will do: what providers say to a made-up code is not documented throughout. Source: RFC 6749 §5.2.
    """
    if not isinstance(heard, WireResponse) or is_from_another(heard):
        return ""
    fields = read_fields(heard)
    if fields is None or not 400 <= heard.status < 500:  # noqa: PLR2004  RFC 9110 §15.5
        return ""
    return clean(fields.get("error"))
