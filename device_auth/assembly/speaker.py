"""A speaker as the verbs see it: each verb is written once, against one Protocol.

``LocalSpeaker`` holds the link in this process (store and loop); ``RemoteSpeaker`` asks the service that holds it.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from device_auth.core.errors import (
    ClientRejected,
    CodePairExpired,
    DeviceAuthError,
    LinkingDenied,
    NotLinked,
    RefreshRejected,
    StoreError,
)
from device_auth.core.models import Mark, Refusal, Seconds, View
from device_auth.core.states import TROUBLES, Trouble
from device_auth.core.values import dataclass

if TYPE_CHECKING:
    from device_auth.core.public import AccessToken, SpeakerHealth, SpeakerStatus
    from device_auth.core.speaker import AnswerCounts

ERRORS: Final[Mapping[Trouble, type[DeviceAuthError]]] = {
    Trouble.NONE: CodePairExpired,
    Trouble.EXPIRED: CodePairExpired,
    Trouble.DENIED: LinkingDenied,
    Trouble.REVOKED: RefreshRejected,
    Trouble.COPIED: NotLinked,
    Trouble.MISCONFIGURED: ClientRejected,
    Trouble.STORAGE: StoreError,
}
"""The error of each trouble that ends an attempt at a link; without a trouble, nobody approved."""


@dataclass(frozen=True, slots=True)
class Audience:
    """The people and programs that follow an attempt at a link.

    Attributes:
        is_read: people read stderr.
        is_on_a_terminal: they read it on a terminal whose lines can be overwritten.
        has_qr: the terminal shows a QR code.
        qr_file: the QR code is also written there while it is valid.
        follow: told each view, for a program.
    """

    is_read: bool
    is_on_a_terminal: bool
    has_qr: bool = True
    qr_file: Path | None = None
    follow: Callable[[View], None] | None = None


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The wishes for an attempt at a link.

    Attributes:
        again: ask for a code although there is a link.
        timeout: give up after so long.
        is_someone_there: an expired code may be renewed.
    """

    again: bool
    timeout: Seconds | None
    is_someone_there: bool


class Ending(StrEnum):
    """The end of an attempt at a link."""

    LINKED = "linked"
    ALREADY_LINKED = "already linked"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    HUNG_UP = "hung up"


@dataclass(frozen=True, slots=True)
class LinkResult:
    """The result of an attempt at a link, and its reason.

    Attributes:
        refusal: of one that was refused.
        answer_counts: the kinds of answer that came, of one that took too long.
        doubt: why a link may not outlast a power cut; empty if it does.
    """

    ending: Ending
    refusal: Refusal | None = None
    answer_counts: "AnswerCounts | None" = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class UnlinkResult:
    """The result of an unlink.

    Attributes:
        dialect: of the link that is gone; None if there was none.
        is_revoked: the provider confirmed the end of the link; None where nobody waits for its answer.
        proof: the figures of a wipe, by name.
    """

    dialect: str | None
    is_revoked: bool | None
    proof: Mapping[str, object]


class Speaker(Protocol):
    """The speaker whose link a verb is about.

    Each method raises ``DeviceAuthError`` if it cannot do what it is for.
    """

    def status(self) -> "SpeakerStatus":
        """Return the state of the speaker."""
        ...

    def health(self) -> "SpeakerHealth":
        """Return whether the speaker is linked and a fresh access token is there."""
        ...

    def token(self, min_lifetime: int) -> "AccessToken":
        """Return an access token, refreshed first if less than so many seconds are left of it."""
        ...

    def link(self, options: LinkOptions, audience: Audience) -> LinkResult:
        """Ask for a code, tell it, and wait for the end of the attempt."""
        ...

    def adopt(self) -> LinkResult:
        """Use the link of another unit as this speaker's own."""
        ...

    def seal(self) -> None:
        """Seal a plain link under the key that is set up, be it set aside or not."""
        ...

    def unlink(self, *, is_wipe: bool) -> UnlinkResult:
        """Forget the account; for a wipe also remove every file of ours, with proof."""
        ...


def error_of(refusal: Refusal) -> DeviceAuthError:
    """Return the error that a command exits with after this refusal."""
    return ERRORS[refusal.trouble](refusal.message, hint=refusal.hint)


def error_of_mark(mark: Mark | None, handed_over_to: str | None) -> DeviceAuthError:
    """Return why a link with this mark is kept but not used.

    Args:
        mark: None if there is no link at all.
        handed_over_to: the client that has the link now, if that is known.
    """
    match mark:
        case None:
            return NotLinked("the speaker is not linked", hint="Link it: device-auth link")
        case Mark.REVOKED:
            return RefreshRejected(
                "the account no longer allows this speaker", hint="Link it again: device-auth link"
            )
        case Mark.MISCONFIGURED:
            return ClientRejected(
                "the provider does not accept the client of this link",
                hint="Check the setting client_id, then link again: device-auth link",
            )
        case Mark.COPIED:
            return NotLinked(
                "the link in this speaker was copied from another speaker, so it is not used",
                hint=TROUBLES[Trouble.COPIED].next_step,
            )
        case Mark.HANDED_OVER:
            whom = f" ({handed_over_to})" if handed_over_to else ""
            return NotLinked(
                f"the link was handed over to another client{whom}", hint="Link it again: device-auth link"
            )


def nothing_to_adopt() -> DeviceAuthError:
    """Return the error of an adoption where no copied link is stored."""
    return NotLinked("no link of another speaker is stored here", hint="Link the speaker: device-auth link")


def nothing_to_seal() -> DeviceAuthError:
    """Return the error of a sealing where no link is stored."""
    return NotLinked("no link is stored that could be sealed", hint="Link the speaker: device-auth link")


def unexplained(hint: str = "") -> Refusal:
    """Return the refusal of an attempt that ended without a link and without a reason."""
    return Refusal(Trouble.NONE, "", "linking ended without a link", hint)


def no_fresh_token(trouble: str, again_in: float = 60) -> DeviceAuthError:
    """Return the error of a refresh that brought no token.

    Args:
        trouble: the word for it.
        again_in: seconds until another attempt may bring one.
    """
    return NotLinked(
        f"cannot get a fresh access token now ({trouble})",
        hint=f"The link is kept. Try again in {ceil(again_in)} s.",
    )
