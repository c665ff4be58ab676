"""The client of the provider: sends what the wire writes, and reads the responses with it.

Every method blocks until there is an answer and is meant for a worker thread; none raises for anything the
provider or the network does.
"""

from collections.abc import Callable
from typing import Final, Protocol

from device_auth.core.models import (
    FOREVER,
    Answer,
    CodePair,
    DialectName,
    Flow,
    Link,
    Mark,
    PollRules,
    Provider,
    Refusal,
    Seconds,
    Secret,
    Unclear,
    Unreachable,
    WireRequest,
    WireResponse,
)
from device_auth.core.ports import Transport
from device_auth.core.states import Trouble
from device_auth.core.values import replace
from device_auth.wire import lwa, rfc8628
from device_auth.wire.answers import conceal


class Dialect(Protocol):
    """One dialect of the device flow; the modules ``wire.lwa`` and ``wire.rfc8628`` are two."""

    @property
    def RULES(self) -> PollRules:  # noqa: N802  a module's constant
        """Return how to poll."""
        ...

    def write_code_pair_request(self, provider: Provider) -> WireRequest:
        """Write the request for a code pair."""
        ...

    def read_code_pair_answer(self, response: WireResponse) -> Answer:
        """Read its answer."""
        ...

    def write_poll(self, provider: Provider, pair: CodePair) -> WireRequest:
        """Write a poll."""
        ...

    def read_poll_answer(self, response: WireResponse) -> Answer:
        """Read its answer."""
        ...

    def write_refresh(self, link: Link, client_secret: Secret | None = None) -> WireRequest:
        """Write a refresh."""
        ...

    def read_refresh_answer(self, response: WireResponse, *, is_proof: bool) -> Answer:
        """Read its answer."""
        ...


_DIALECTS: Final[dict[DialectName, Dialect]] = {DialectName.LWA: lwa, DialectName.RFC8628: rfc8628}


def dialect_of(name: DialectName) -> Dialect:
    """Return the dialect of that name."""
    return _DIALECTS[name]


NAME_THE_ENDPOINT: Final = (
    "If that endpoint is right, name it in the settings (base_url, issuer or token_endpoint), or seal the link: see"
    " docs/encryption.md. If not, link the speaker again: device-auth link"
)


class ProviderClient:
    """Sends requests to one provider, and for a stored link to the provider in its envelope.

    Args:
        transport: carries the requests.
        provider: issues code pairs; None where only stored links are refreshed.
        client_secret: sent in the authorization-code flow, and by confidential clients of RFC 8628; by LWA's code-based
            linking never.
        secret_of: the client ID that the secret belongs to; empty if unknown.
        poll_every: the interval of LWA's polls, ``told`` for the one it tells; empty for that of Amazon's own
            clients.
        is_trusted: returns whether a stored link may name the endpoint that the secret is sent to.
    """

    def __init__(
        self,
        transport: Transport,
        provider: Provider | None = None,
        client_secret: Secret | None = None,
        secret_of: str = "",
        poll_every: int | str = "",
        is_trusted: Callable[[Link], bool] = lambda _: True,
    ) -> None:
        self._poll_every = poll_every
        self._transport = transport
        self._provider = provider
        self._client_secret = client_secret
        self._secret_of = secret_of
        self._is_trusted = is_trusted

    @property
    def provider(self) -> Provider:
        """Return the provider, with its endpoints once a code pair has been requested."""
        assert self._provider is not None, "a code pair is asked for only where a provider was given"  # noqa: S101  our own bug
        return self._provider

    @property
    def has_provider(self) -> bool:
        """Return whether a code pair can be requested."""
        return self._provider is not None

    @property
    def rules(self) -> PollRules:
        """Return how to poll the provider."""
        rules = dialect_of(self.provider.dialect).RULES
        if self.provider.dialect is not DialectName.LWA or not self._poll_every:
            return rules
        if isinstance(self._poll_every, str):
            return replace(rules, at_most=FOREVER)
        least = most = Seconds(self._poll_every)
        return replace(rules, at_least=least, at_most=most)

    def go_on_with(self, provider: Provider) -> None:
        """Use this provider from now on, endpoints included: it issued the current code pair."""
        self._provider = provider

    def discover(self) -> Answer | None:
        """Read the issuer's metadata if the endpoints are not known; return the problem, or None."""
        provider = self.provider
        if provider.device_endpoint:
            return None
        problem: Refusal | Unclear | Unreachable | None = None
        for request in rfc8628.write_metadata_requests(provider.issuer):
            response = self._transport.send(request)
            found = (
                response if isinstance(response, Unreachable) else rfc8628.read_metadata(response, provider)
            )
            if isinstance(found, Provider):
                self._provider = found
                return None
            problem = problem or found
            if isinstance(found, Unreachable | Refusal):
                break
        return problem

    def request_code_pair(self) -> Answer:
        """Request a code pair; where only an issuer is known, its metadata first."""
        problem = self.discover()
        if problem is not None:
            return problem
        dialect = dialect_of(self.provider.dialect)
        secret = self._secret_for_provider()
        response = self._send_as_client(dialect.write_code_pair_request(self.provider), secret)
        if isinstance(response, Unreachable):
            return response
        return conceal(self._explain(dialect.read_code_pair_answer(response), secret), secret)

    def poll(self, pair: CodePair) -> Answer:
        """Poll once."""
        dialect = dialect_of(self.provider.dialect)
        secret = self._secret_for_provider()
        response = self._send_as_client(dialect.write_poll(self.provider, pair), secret)
        if isinstance(response, Unreachable):
            return response
        return conceal(self._explain(dialect.read_poll_answer(response), secret), pair.device_code, secret)

    def exchange(self, code: Secret, redirect_uri: str, verifier: Secret | None) -> Answer:
        """Exchange an authorization code for a grant, with the client secret if there is one."""
        from device_auth.wire import authorization_code

        request = authorization_code.write_exchange(
            self.provider,
            code,
            redirect_uri=redirect_uri,
            client_secret=self._client_secret,
            verifier=verifier,
        )
        response = self._transport.send(request)
        if isinstance(response, Unreachable):
            return response
        answer = authorization_code.read_exchange_answer(response)
        return conceal(answer, code, verifier, self._client_secret)

    def refresh(self, link: Link) -> Answer:
        """Request a new access token."""
        dialect = dialect_of(link.dialect)
        client_secret = self._secret_for(link)
        if client_secret is not None and not self._may_have_secret(link):
            return Unreachable(
                Trouble.MISCONFIGURED,
                f"the client secret is not sent to {link.token_endpoint}: no setting names that endpoint, and the link is"
                " not sealed",
                hint=NAME_THE_ENDPOINT,
            )
        if link.secret_by_basic and client_secret is not None:
            request = dialect.write_refresh(link)
            request = rfc8628.add_secret(request, link.client_id, client_secret, by_basic=True)
        else:
            request = dialect.write_refresh(link, client_secret)
        response = self._transport.send(request)
        if isinstance(response, Unreachable):
            return response
        if link.flow is Flow.AUTHORIZATION_CODE:
            from device_auth.wire import authorization_code

            answer = authorization_code.explain_refresh(dialect.read_refresh_answer(response, is_proof=False))
        else:
            answer = dialect.read_refresh_answer(response, is_proof=not link.is_proved)
            if link.dialect is DialectName.RFC8628:
                has_secret = client_secret is not None
                answer = rfc8628.explain_client(answer, has_secret=has_secret, is_needed=link.takes_secret)
        return conceal(answer, link.refresh_token, client_secret)

    def request_profile(self, link: Link, access_token: Secret) -> Answer:
        """Ask whose account a link belongs to: its own provider, or the issuer of the settings if that is it."""
        if link.dialect is DialectName.LWA:
            response = self._transport.send(lwa.write_profile_request(link, access_token))
            return response if isinstance(response, Unreachable) else lwa.read_profile_answer(response)
        if self._provider is not None and self._provider.issuer:
            self.discover()
        provider = self._provider
        if (
            provider is None
            or not provider.userinfo_endpoint
            or provider.token_endpoint != link.token_endpoint
        ):
            return Unclear(Trouble.PROVIDER_UNAVAILABLE, "no address is known to ask at")
        response = self._transport.send(rfc8628.write_userinfo_request(provider, access_token))
        return response if isinstance(response, Unreachable) else rfc8628.read_userinfo(response)

    def revoke(self, link: Link) -> bool:
        """Revoke a link where the provider has a revocation endpoint; return whether it accepted.

        Source: RFC 7009 §2.2.
        """
        # a copied link is another speaker's, which goes on with it
        if not link.revocation_endpoint or link.mark is Mark.COPIED:
            return False
        request, secret = rfc8628.write_revocation(link), self._secret_for(link)
        if secret is not None and not self._may_have_secret(link):
            return False
        if secret is not None:
            request = rfc8628.add_secret(request, link.client_id, secret, by_basic=link.secret_by_basic)
        response = self._transport.send(request)
        return isinstance(response, WireResponse) and response.status == 200  # noqa: PLR2004  HTTP OK

    def secret_to_send(self, link: Link) -> Secret | None:
        """Return the client secret where a refresh of a link takes it, and its endpoint may have it."""
        secret = self._secret_for(link)
        return secret if secret is not None and self._may_have_secret(link) else None

    def abandon(self) -> None:
        """End the request under way; called from another thread."""
        self._transport.abandon()

    def takes_secret(self, flow: Flow) -> bool:
        """Return whether a link is made with the client secret; LWA's code-based linking takes none."""
        provider = self.provider
        is_its_own = self._secret_of in {"", provider.client_id}
        takes_one = flow is Flow.AUTHORIZATION_CODE or provider.dialect is DialectName.RFC8628
        return self._client_secret is not None and is_its_own and takes_one

    def _secret_for(self, link: Link) -> Secret | None:
        """Return the client secret if it belongs to the link's client, and the link was made with one."""
        is_its_own = self._secret_of in {"", link.client_id}
        takes_secret = link.flow is Flow.AUTHORIZATION_CODE or link.takes_secret
        return self._client_secret if takes_secret and is_its_own else None

    def _may_have_secret(self, link: Link) -> bool:
        """Return whether the client secret may go to the link's endpoint: named by the settings, or in a sealed link."""
        if self._is_trusted(link):
            return True
        if self._provider is None:
            return False
        self.discover()
        return self._provider.token_endpoint == link.token_endpoint

    def _secret_for_provider(self) -> Secret | None:
        """Return the client secret that code pairs are requested and polled for with."""
        return self._client_secret if self.takes_secret(Flow.DEVICE_CODE) else None

    def _send_as_client(self, request: WireRequest, secret: Secret | None) -> WireResponse | Unreachable:
        if secret is not None:
            provider = self.provider
            by_basic = provider.secret_by_basic
            request = rfc8628.add_secret(request, provider.client_id, secret, by_basic=by_basic)
        return self._transport.send(request)

    def _explain(self, answer: Answer, secret: Secret | None) -> Answer:
        if self.provider.dialect is not DialectName.RFC8628:
            return answer
        return rfc8628.explain_client(answer, has_secret=secret is not None)
