"""``device-auth link --import``: take up a refresh token that another program was given."""

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from device_auth.assembly.local import LocalSpeaker
from device_auth.assembly.speaker import Ending, LinkResult, error_of
from device_auth.cli.attempt import CHECK_THE_NETWORK, Attempt, run_attempt
from device_auth.cli.pasting import ask_hidden, is_typed, read_line
from device_auth.core import linking
from device_auth.core.errors import ClientRejected, ConfigError, ProviderUnreachable, RefreshRejected
from device_auth.core.models import Flow, Refusal, Seconds, Secret
from device_auth.wire.answers import read_token
from device_auth.world.bounded import bounded

if TYPE_CHECKING:
    from device_auth.service.provider_client import ProviderClient

COMMAND: Final = "device-auth link --import"

LONGEST_TOKEN: Final = 4096
"""Characters. Source: LWA "Refresh Tokens" says 2048 at the most; others may take more."""

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
    text = (
        ask_hidden("Paste the refresh token (it is not shown): ") if is_typed() else read_line(LONGEST_TOKEN)
    )
    token = read_token(text.strip())
    if token is None or len(text) >= LONGEST_TOKEN or " " in text.strip():
        raise ConfigError(
            "the text on standard input is not a refresh token",
            hint=f"Enter only the token, on one line: {COMMAND} < FILE",
        )
    return token


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
