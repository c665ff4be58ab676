"""Requests that every provider must refuse: the error shows who answers, and nothing comes of them.

No code pair is requested, which takes a physical act. The codes and tokens that are sent were never issued.
"""

from collections.abc import Callable, Mapping
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

ANSWER_TIMEOUT: Final = Seconds(5)
"""Longest wait for a whole response."""

MADE_UP: Final = "made-up-by-the-doctor"
"""Sent as code and token; longer than any user code, and in no provider's form."""

_WIRES: Final[Mapping[DialectName, ModuleType]] = {DialectName.LWA: lwa, DialectName.RFC8628: rfc8628}

ProbeAnswer = WireResponse | Unreachable | Unclear | Refusal
"""The response to a request, or why there is none."""


def provider_of(settings: Settings, link: Link | None) -> Provider:
    """Return the provider of the stored link, else that of the settings; its addresses may be empty."""
    if link is not None:
        return Provider(
            link.dialect,
            link.client_id,
            link.scope,
            token_endpoint=link.token_endpoint,
            secret_by_basic=link.secret_by_basic,
        )
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
    """Return the address of the first request; empty if none is set."""
    return provider.token_endpoint or provider.issuer


class CredentialProbe:
    """Sends each request once, when its result is first asked for.

    Args:
        transport: sends the requests; not shared.
        provider: its endpoints may still have to be found by its issuer's metadata.
        timeout: see ``ANSWER_TIMEOUT``.
        find_secret: returns the client secret, if these requests take it and the provider may have it.
    """

    def __init__(
        self,
        transport: Transport,
        provider: Provider,
        timeout: Seconds = ANSWER_TIMEOUT,
        find_secret: Callable[[], Secret | None] = lambda: None,
    ) -> None:
        self.provider = provider
        self._transport = transport
        self._timeout = timeout
        self._find_secret = find_secret

    @cached_property
    def client_secret(self) -> Secret | None:
        """Return the client secret that is sent, if any."""
        return self._find_secret()

    @cached_property
    def poll(self) -> ProbeAnswer:
        """Poll for a code pair that was never issued."""
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
        request = _WIRES[found.dialect].write_poll(found, pair)
        # LWA's code-based linking takes no secret, and its poll names no client
        return self._send(request if found.dialect is DialectName.LWA else self._as_client(request, found))

    @cached_property
    def refresh(self) -> ProbeAnswer:
        """Refresh with a token that was never issued; unlike LWA's poll it names the client."""
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
        return self._send(self._as_client(_WIRES[found.dialect].write_refresh(link), found))

    @cached_property
    def _found(self) -> Provider | Unreachable | Unclear | Refusal:
        """Find the endpoints by the issuer's metadata if they are not set."""
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

    def _as_client(self, request: WireRequest, provider: Provider) -> WireRequest:
        secret = self.client_secret
        if secret is None:
            return request
        return rfc8628.add_secret(request, provider.client_id, secret, by_basic=provider.secret_by_basic)

    def _send(self, request: WireRequest) -> WireResponse | Unreachable:
        with cancelled_after(self._timeout, self._transport.abandon):
            return self._transport.send(request)


def error_name(answer: ProbeAnswer) -> str:
    """Return the error name of a provider's refusal; empty if this is not one.

    Any name counts: providers do not document their error for a code that was never issued. Source: RFC 6749 §5.2.
    """
    if not isinstance(answer, WireResponse) or is_from_another(answer):
        return ""
    fields = read_fields(answer)
    if fields is None or answer.status not in range(400, 500):
        return ""
    return clean(fields.get("error"))
