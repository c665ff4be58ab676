"""``device-auth link --import``: take up a refresh token that another program was given."""

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from device_auth.assembly.local import LocalSpeaker
from device_auth.assembly.speaker import Ending, LinkResult, error_of
from device_auth.cli.attempt import CHECK_THE_NETWORK, Attempt, run_attempt
from device_auth.cli.pasting import ask_hidden, is_typed, read_paste
from device_auth.core import linking
from device_auth.core.errors import ClientRejected, ConfigError, ProviderUnreachable, RefreshRejected
from device_auth.core.models import Flow, Refusal, Seconds, Secret
from device_auth.wire.addresses import stays_here
from device_auth.wire.pasted import LARGEST_FILE, is_simulated, read_refresh_token
from device_auth.world.bounded import bounded

if TYPE_CHECKING:
    from device_auth.service.provider_client import ProviderClient

COMMAND: Final = "device-auth link --import"

METADATA_TIME: Final = Seconds(20)
"""How long an issuer may take to name its endpoints."""

PERHAPS_ANOTHERS: Final = (
    "The token may have been revoked, or given to another client: check the setting client_id (--client-id)."
)

PERHAPS_CONFIDENTIAL: Final = (
    "If the token was given to a client with a secret (by authorize, for example), each refresh needs that secret: set"
    " client_secret (--client-secret-file FILE). Else check the setting client_id (--client-id)."
)


def import_link(args: argparse.Namespace) -> int:
    """Save the token and prove it by a refresh; one that is refused leaves everything as it was."""
    return run_attempt(args, COMMAND, _import)


def _import(attempt: Attempt) -> int:
    speaker, again = LocalSpeaker(attempt.doors), attempt.args.again
    with attempt.interruptible(), speaker.ready_for_grant(again=again) as opening:
        if opening is None:
            return attempt.end(LinkResult(Ending.ALREADY_LINKED, doubt=attempt.doors.doubt))
        refresh_token = _read_refresh_token()
        _find_endpoints(opening.provider_client)
        is_own_ca = bool(attempt.doors.settings.ca_file)
        _refuse_simulated(refresh_token, opening.provider_client, is_own_ca=is_own_ca)
        rules = opening.provider_client.rules
        request = linking.LinkRequested(rules, again=again, leaves_no_trace=True)
        is_public = attempt.doors.settings.client_secret is None
        flow = Flow.DEVICE_CODE if is_public else Flow.AUTHORIZATION_CODE
        grant = linking.GrantSubmitted(request, refresh_token, flow)
        try:
            return attempt.end(speaker.submit(opening, grant, attempt.audience))
        except ClientRejected as error:
            raise ClientRejected(
                str(error), hint=PERHAPS_CONFIDENTIAL if is_public else error.hint
            ) from error
        except RefreshRejected as error:
            stays = "" if opening.former is None else " The former link stays in use."
            raise RefreshRejected(str(error), hint=PERHAPS_ANOTHERS + stays) from error


def _read_refresh_token() -> Secret:
    """Read the token from standard input: every process can see the arguments."""
    if is_typed():
        content = ask_hidden("Paste the refresh token (it is not shown): ", LARGEST_FILE + 1)
    else:
        content = read_paste(LARGEST_FILE + 1)
    try:
        return read_refresh_token(content)
    except ValueError as fault:
        raise ConfigError(
            f"standard input holds no refresh token: it {fault}",
            hint=f"Enter only the refresh token: {COMMAND} < FILE",
        ) from None


def _refuse_simulated(token: Secret, provider_client: "ProviderClient", *, is_own_ca: bool) -> None:
    """Refuse a simulated token before it is sent to a real provider.

    Args:
        token: to be sent.
        provider_client: asks the token endpoint.
        is_own_ca: whether the settings name authorities of their own: a simulator over TLS makes them.
    """
    if is_simulated(token) and not is_own_ca and not stays_here(provider_client.provider.token_endpoint):
        raise ConfigError(
            "the refresh token is one of a simulated Amazon, and the provider is a real one",
            hint="Import it with --simulate, or name the simulator: --base-url URL.",
        )


def _find_endpoints(provider_client: "ProviderClient") -> None:
    """Read the issuer's metadata where the settings do not name the token endpoint."""
    if provider_client.provider.token_endpoint:
        return
    with suppress(TimeoutError):
        answer = bounded(provider_client.discover, METADATA_TIME)
        if answer is None:
            return
        if isinstance(answer, Refusal):
            raise error_of(answer)
    provider_client.abandon()
    raise ProviderUnreachable("the issuer does not name its endpoints", hint=CHECK_THE_NETWORK)
