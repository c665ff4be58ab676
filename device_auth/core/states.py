"""The words for a speaker's state and trouble, and the sentences for each.

Two words describe the speaker at any moment; status, JSON, light and voice use them all.
"""

from enum import StrEnum
from typing import Final, NamedTuple, assert_never


class StateWord(StrEnum):
    """The state of linking, in one word."""

    STARTING = "starting"
    UNLINKED = "unlinked"
    REQUESTING = "requesting"
    WAITING = "waiting"
    SAVING = "saving"
    PROVING = "proving"
    LINKED = "linked"


class Trouble(StrEnum):
    """The trouble of the speaker, in one word."""

    NONE = "none"
    NO_NETWORK = "no-network"
    CAPTIVE_PORTAL = "captive-portal"
    CLOCK_NOT_SET = "clock-not-set"
    PROVIDER_UNAVAILABLE = "provider-unavailable"
    DENIED = "denied"
    EXPIRED = "expired"
    REVOKED = "revoked"
    COPIED = "copied"
    MISCONFIGURED = "misconfigured"
    STORAGE = "storage"
    HARDWARE = "hardware"


class OneTimeNotice(StrEnum):
    """Told once, beside state and trouble: the answer to a press that changes neither, or a question."""

    CONFIRM_UNLINK = "confirm-unlink"
    CONFIRM_RESET = "confirm-reset"
    CANCELLED = "cancelled"
    JUST_UNLINKED = "just-unlinked"
    JUST_RESET = "just-reset"
    HELD_UNLINK = "held-unlink"
    HELD_RESET = "held-reset"
    IDENTIFY = "identify"
    IDENTIFY_SILENTLY = "identify-silently"


WHILE_HELD: Final = {OneTimeNotice.HELD_UNLINK, OneTimeNotice.HELD_RESET}
"""The thresholds of a hold, told in writing alone and with nothing else again: the question follows its release."""

IDENTIFYING: Final = {OneTimeNotice.IDENTIFY, OneTimeNotice.IDENTIFY_SILENTLY}
"""Which of several speakers this is: told by light and voice, or by the light alone."""


class Phrase(NamedTuple):
    """The words for a state or a trouble: one sentence, and the next step (empty if there is none)."""

    sentence: str
    next_step: str = ""


def _phrase_of_state(state: StateWord) -> Phrase:
    match state:
        case StateWord.STARTING:
            return Phrase("The speaker is starting.", "Wait a moment.")
        case StateWord.UNLINKED:
            return Phrase(
                "The speaker is not linked to an account.", "Press its button, or run: device-auth link"
            )
        case StateWord.REQUESTING:
            return Phrase("The speaker is asking for a code.")
        case StateWord.WAITING:
            return Phrase(
                "The speaker has a code and waits for its owner to approve.",
                "Open the page, enter the code and approve.",
            )
        case StateWord.SAVING:
            return Phrase("The link is being saved.", "Do not unplug the speaker.")
        case StateWord.PROVING:
            return Phrase("The link is saved and being tried out.", "Wait a moment.")
        case StateWord.LINKED:
            return Phrase("The speaker is linked to an account.")
        case _:
            assert_never(state)


STATES: Final[dict[StateWord, Phrase]] = {state: _phrase_of_state(state) for state in StateWord}
"""A phrase for each state; mypy fails on a state without one."""


def _phrase_of_trouble(trouble: Trouble) -> Phrase:
    match trouble:
        case Trouble.NONE:
            return Phrase("All is well.")
        case Trouble.NO_NETWORK:
            return Phrase(
                "There is no way to the network.", "Check the Wi-Fi or the cable; it goes on by itself."
            )
        case Trouble.CAPTIVE_PORTAL:
            return Phrase(
                "The network wants a sign-in page before it lets anything through.",
                "Sign this network in with a phone, or use another network.",
            )
        case Trouble.CLOCK_NOT_SET:
            return Phrase(
                "The clock is not set, so secure connections cannot be checked.",
                "Wait until the time is set from the network, or set it: timedatectl set-ntp true",
            )
        case Trouble.PROVIDER_UNAVAILABLE:
            return Phrase(
                "The account service does not answer as it should.",
                "It is tried again by itself; if that lasts, run: device-auth doctor",
            )
        case Trouble.DENIED:
            return Phrase("The request was declined.", "Press the button to get a new code.")
        case Trouble.EXPIRED:
            return Phrase("The code ran out before it was used.", "Press the button to get a new code.")
        case Trouble.REVOKED:
            return Phrase(
                "The account no longer allows this speaker.",
                "Link it again: press the button, or run: device-auth link",
            )
        case Trouble.COPIED:
            return Phrase(
                "The link in this speaker was copied from another speaker, so it is not used.",
                "Link this speaker: press its button, or run: device-auth link. If it is the same speaker with another board,"
                " run: device-auth link --adopt",
            )
        case Trouble.MISCONFIGURED:
            return Phrase("A setting of this speaker is wrong.", "Run: device-auth config check")
        case Trouble.STORAGE:
            return Phrase(
                "The link cannot be stored.",
                "Check that the disk is neither full nor read-only, and who owns the folder.",
            )
        case Trouble.HARDWARE:
            return Phrase("A part of the speaker does not work.", "Run: device-auth hardware test")
        case _:
            assert_never(trouble)


TROUBLES: Final[dict[Trouble, Phrase]] = {trouble: _phrase_of_trouble(trouble) for trouble in Trouble}
"""A phrase for each trouble; mypy fails on a trouble without one."""

CHECKING: Final = Phrase(
    "The account service has refused the link once and is being asked again.", "Wait a moment."
)
"""The phrase of ``provider-unavailable`` while a single ``invalid_grant`` is asked about again."""

FOR_NOW: Final = Phrase(
    "The speaker is linked to an account; after a power cut it may have to be linked again.",
    "See where the link is stored: device-auth doctor",
)
"""The phrase of ``linked`` where the link may not outlast a power cut."""


def phrase_of(state: StateWord, trouble: Trouble, *, is_checking: bool = False) -> Phrase:
    """Return the words for both: those of the trouble, if there is one."""
    if is_checking:
        return CHECKING
    return STATES[state] if trouble is Trouble.NONE else TROUBLES[trouble]
