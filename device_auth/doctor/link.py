"""The checks of the link: is the speaker linked, is its token fresh, and does the provider still honour it."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, assert_never

from device_auth.client import Status
from device_auth.core.errors import DeviceAuthError, StoreError
from device_auth.core.models import MARKS, Link, Mark, UnixTime
from device_auth.core.states import STATES, TROUBLES, StateWord, Trouble
from device_auth.doctor.context import DoctorContext
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.world.token_files import TOKEN, FileTokens


def _exit_code_of(trouble: Trouble) -> int:
    match trouble:
        case Trouble.NONE:
            return 0
        case (
            Trouble.NO_NETWORK | Trouble.CAPTIVE_PORTAL | Trouble.CLOCK_NOT_SET | Trouble.PROVIDER_UNAVAILABLE
        ):
            return 69
        case Trouble.DENIED | Trouble.REVOKED:
            return 77
        case Trouble.EXPIRED | Trouble.COPIED:
            return 75
        case Trouble.MISCONFIGURED:
            return 78
        case Trouble.STORAGE:
            return 74
        case Trouble.HARDWARE:
            return 72
        case _:
            assert_never(trouble)


EXIT_CODES: Final = {trouble: _exit_code_of(trouble) for trouble in Trouble}
"""Of a check that fails with a trouble; the kinds are those of ``core.errors``."""

OF_THE_LINK: Final = {Trouble.DENIED, Trouble.EXPIRED, Trouble.REVOKED, Trouble.MISCONFIGURED}
"""The troubles of the link itself that L1 reports; that it was copied, L4 does."""

OVER: Final = {Trouble.DENIED, Trouble.EXPIRED}
"""Ends of an attempt to link: worth a warning, but nothing is broken."""

ON_THE_WAY: Final = "N13"
"""The last check of the connection to the provider: without one, a refresh shows nothing more."""

NO_LINK: Final = "The speaker is not linked, so there is no access token."

OTHER: Final = "another client"

DAY: Final = 86_400

ONLINE_LIMIT: Final = 16.0
"""Seconds that a refresh may take."""

Refresh = Callable[[], tuple[float, Trouble, str]]
"""Refreshes once; returns the lifetime of the token in seconds (0 if there is none), the trouble, and a hint."""


def checks(context: DoctorContext, refresh: Refresh | None) -> list[Check]:
    """Return the checks of the link.

    Args:
        context: whose link.
        refresh: refreshes the access token once, over the network; None without ``--online``.
    """
    return [
        Check("L1", "linked", partial(check_link, context)),
        Check("L2", "access-token", partial(check_token, context), after=("L1",)),
        Check("L3", "refresh", partial(check_refresh, refresh), ("L1", ON_THE_WAY), ONLINE_LIMIT),
        Check("L4", "copied", partial(check_unit, context)),
    ]


def check_link(context: DoctorContext) -> Finding:
    """Check whether the speaker is linked, by the service, or else by the stored link."""
    status = context.daemon.status
    if status is not None:
        try:
            state, trouble = StateWord(status.state), Trouble(status.trouble)
        except ValueError:
            return skipped(
                f"The service reports {status.state} and {status.trouble}, which this command does not know."
            )
        known = {"dialect": status.dialect, "account": status.account, "account_id": status.account_id}
        facts = {name: value for name, value in known.items() if value}
        return _finding_of(state, trouble, status.hint, _handed_over(status), facts)
    if not context.is_ours:
        return context.refused()
    try:
        link = context.read_link()
    except StoreError as error:
        return skipped(f"The stored link cannot be read: {error}.")
    if link is None:
        return _finding_of(StateWord.UNLINKED, Trouble.NONE, "", "")
    state = StateWord.LINKED if link.mark is None else StateWord.UNLINKED
    trouble = Trouble.NONE if link.mark is None else MARKS[link.mark]
    handed_over = (link.handed_over_to or OTHER) if link.mark is Mark.HANDED_OVER else ""
    return _finding_of(state, trouble, "", handed_over, _facts(context, link))


def _finding_of(
    state: StateWord, trouble: Trouble, hint: str, handed_over: str, facts: dict[str, str] | None = None
) -> Finding:
    facts = {"state": state, "trouble": trouble, **(facts or {})}
    if handed_over:
        return ok(f"The link was handed over to {handed_over}; this program does not use it.", **facts)
    if trouble in OF_THE_LINK:
        sentence, next_step = TROUBLES[trouble].sentence, hint or TROUBLES[trouble].next_step
        if trouble in OVER:
            return warn(sentence, next_step, **facts)
        return fail(sentence, next_step, EXIT_CODES[trouble], **facts)
    if state is StateWord.UNLINKED:
        return warn(STATES[state].sentence, STATES[state].next_step, **facts)
    since = f" {facts['age']}" if "age" in facts else ""
    return ok(STATES[state].sentence.removesuffix(".") + f"{since}.", **facts)


def _facts(context: DoctorContext, link: Link) -> dict[str, str]:
    days = int((context.clock.wall() - link.linked_at) // DAY)
    return {
        "age": "since today" if days == 0 else f"for {days} day{'s' * (days != 1)}",
        "dialect": link.dialect,
        "flow": link.flow,
        "client_id": link.client_id,
        "token_endpoint": link.token_endpoint,
        "is_proved": "yes" if link.is_proved else "not yet",
        "mark": link.mark or "none",
        "account": link.account or "",
        "account_id": link.account_id or "",
    }


def _handed_over(status: Status) -> str:
    return "" if status.handed_over is None else status.handed_over.to or OTHER


def check_token(context: DoctorContext) -> Finding:
    """Check whether there is an access token that programs can use now."""
    status = context.daemon.status
    if status is None:
        kept = FileTokens(context.places.runtime_dir, context.clock).read()
        if kept is None:
            if not _is_linked(context):
                return skipped(NO_LINK)
            return ok("No access token is stored; the command device-auth token fetches one.")
        return _living(context, kept.expires_at)
    if status.state != StateWord.LINKED:
        return skipped(NO_LINK)
    if status.expires_at is None or status.expires_at.timestamp() <= context.clock.wall():
        return fail(
            "The speaker is linked, but there is no access token now.",
            "Find the cause: device-auth status; the token is refreshed by itself when it is gone.",
            EXIT_CODES[Trouble.EXPIRED],
        )
    return _living(context, UnixTime(status.expires_at.timestamp()))


def _is_linked(context: DoctorContext) -> bool:
    if not context.is_ours:
        return True  # unknown to this user
    link = context.read_link()
    return link is not None and link.mark is None


def _living(context: DoctorContext, expires_at: UnixTime) -> Finding:
    left = int(expires_at - context.clock.wall())
    facts = {"seconds_left": str(left)}
    runtime_dir = context.places.runtime_dir
    if runtime_dir is not None:
        with suppress(OSError):
            refreshed_at = (runtime_dir / TOKEN).stat().st_mtime
            facts["seconds_since_refresh"] = str(int(context.clock.wall() - refreshed_at))
    return ok(f"The access token is good for another {left // 60} minutes.", **facts)


def check_unit(context: DoctorContext) -> Finding:
    """Check whether the link was made on this unit: one that was copied is another speaker's."""
    copied = fail(
        TROUBLES[Trouble.COPIED].sentence, TROUBLES[Trouble.COPIED].next_step, EXIT_CODES[Trouble.COPIED]
    )
    status = context.daemon.status
    if status is not None:
        return copied if status.trouble == Trouble.COPIED else ok("The service uses no other speaker's link.")
    if not context.is_ours:
        return context.refused()
    try:
        link = context.read_link()
    except StoreError as error:
        return skipped(f"The stored link cannot be read: {error}.")
    if link is None:
        return skipped("The speaker is not linked.")
    if link.mark is Mark.COPIED:
        return copied
    if not link.board and not link.dsn:
        return ok("The link bears no mark of a unit yet; the service marks it at its next start.")
    return ok("The link was made on this speaker.")


def check_refresh(refresh: Refresh | None) -> Finding:
    """Check whether the provider still honours the link, by one real refresh."""
    if refresh is None:
        return skipped(
            "Not tried: a refresh is a real request to the provider. To try it: device-auth doctor --online"
        )
    try:
        lives, trouble, hint = refresh()
    except DeviceAuthError as error:
        return fail(f"The access token was not refreshed: {error}.", error.hint, error.exit_code)
    if lives > 0:
        return ok(f"The provider honours the link: it gave an access token for {lives / 60:.0f} minutes.")
    if trouble is Trouble.NONE:
        return fail(
            "The provider gave no access token in time.",
            "Try again in a minute: device-auth doctor --online",
            EXIT_CODES[Trouble.PROVIDER_UNAVAILABLE],
        )
    return fail(
        f"The access token was not refreshed. {TROUBLES[trouble].sentence}",
        hint or TROUBLES[trouble].next_step,
        EXIT_CODES[trouble],
    )
