"""C: the settings that name the client, the product and the unit.

``world.provider`` judges their form. Whether the provider knows the client is asked only by a request that it must
refuse; the finding says what that leaves open.
"""

import stat
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, WireResponse
from device_auth.doctor.credential_probe import CredentialProbe, error_name
from device_auth.doctor.findings import Check, Finding, Verdict, fail, ok, skipped, warn
from device_auth.installation import how_to_install_sibling
from device_auth.prompts.wording import EXTRA_PACKAGE, PHRASES, choose_language
from device_auth.service.provider_client import NAME_THE_ENDPOINT
from device_auth.world.provider import (
    first_locale,
    provider_problems,
    read_authorities,
    warnings_about,
)
from device_auth.world.settings import IDS, KEY_OF, Settings, is_for_service, quoted, ways_of
from device_auth.world.unit import SERIAL_NUMBER, read_serial_number

REJECTS_THE_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client", "invalidvalue"})
"""Error names that can only mean the client ID. Source: RFC 6749 §5.2; LWA sends ``InvalidValue``."""

ADDRESSES: Final = ("dialect", "base_url", "issuer", "device_endpoint", "token_endpoint")


class LinkSecret(NamedTuple):
    """The client secret of a stored link.

    Attributes:
        endpoint: where a refresh sends it.
        is_needed: each refresh takes it; otherwise one that is set may go with it.
        may_go: it may be sent there.
    """

    endpoint: str
    is_needed: bool
    may_go: bool


def checks(
    settings: Settings,
    problems: Sequence[ConfigError],
    credential_probe: CredentialProbe | None,
    link_secret: LinkSecret | None = None,
    *,
    hidden: Finding | None = None,
    is_unread: bool = False,
    serial_number: Path = SERIAL_NUMBER,
    phrases: Traversable = PHRASES,
) -> list[Check]:
    """Return the checks of the client's settings.

    Args:
        settings: those that could be read.
        problems: of the others, from ``settings.gather_settings``.
        credential_probe: asks the provider (after N14), or None.
        link_secret: of the stored link, if it may take one.
        hidden: that this user cannot know what the state folder has of them, the unit's identity first; None if he can.
        is_unread: nor can he read the settings file, for the same reason.
        serial_number: the file with the board's serial number, used where no DSN is set.
        phrases: the folder of the languages that are installed.
    """

    def about(names: Sequence[str], well: Callable[[], Finding]) -> Callable[[], Finding]:
        def look() -> Finding:
            if hidden and any(name in IDS for name in names):
                return hidden
            found = _form(settings, serial_number, frozenset(names))
            if found is None:
                return well()
            if (
                problems
                and found.verdict is Verdict.FAIL
                and not any(getattr(settings, name) for name in names)
            ):
                return skipped("It may be set where the settings could not be read: see C1.")
            return found

        return look

    found = [
        Check("C1", "settings-unreadable", lambda: _reading(problems, hidden)),
        Check("C2", "client-id", about(["client_id"], lambda: _client_id(settings))),
        Check("C3", "product-id", about(["product_id"], lambda: _product_id(settings))),
        Check("C4", "dsn", about(["dsn"], lambda: _dsn(settings, serial_number))),
        Check("C5", "scope", about(["scope", "locale"], lambda: _scope_and_language(settings, phrases))),
        Check("C6", "provider-address", about(ADDRESSES, lambda: _addresses(settings))),
        Check("C7", "ca-file", lambda: _ca_file(settings)),
        Check("C8", "client-secret", lambda: _client_secret(settings, link_secret)),
        Check(
            "C9", "client-rejected", lambda: _acceptance(credential_probe, link_secret), after=("C2", "N14")
        ),
    ]
    if hidden is not None and is_unread:
        return [Check(each.code, each.name, lambda: hidden) for each in found]
    return found


def _reading(problems: Sequence[ConfigError], hidden: Finding | None) -> Finding:
    if problems:
        return _wrong(problems)
    return hidden or ok("The settings can be read.")


def _form(settings: Settings, serial_number: Path, names: frozenset[str]) -> Finding | None:
    """Return what is wrong with the form of some settings, or None."""
    # Each text begins with the name of its setting.
    wrong = [
        problem
        for problem in provider_problems(settings, serial_number)
        if str(problem).partition(" ")[0] in names
    ]
    if wrong:
        return _wrong(wrong)
    for text in warnings_about(settings):
        name = text.partition(" ")[0]
        if name in names:
            return warn(text, f"Correct it or leave it out: {ways_of(KEY_OF[name])}.")
    return None


def _wrong(problems: Sequence[ConfigError]) -> Finding:
    first, *others = problems
    more = {f"also_{number}": f"{each}. {each.hint}" for number, each in enumerate(others, start=1)}
    return fail(f"{first}.", first.hint, ConfigError.exit_code, **more)


def _client_id(settings: Settings) -> Finding:
    return ok(
        "The client ID is well-formed.",
        client_id=settings.client_id,
        origin=settings.origins["client_id"],
    )


def _product_id(settings: Settings) -> Finding:
    if settings.dialect is not DialectName.LWA:
        return ok(f"The dialect {settings.dialect} needs no product ID.")
    return ok(
        "A product ID is set; only when the owner enters a code does the provider check it.",
        product_id=settings.product_id,
        origin=settings.origins["product_id"],
    )


def _dsn(settings: Settings, serial_number: Path) -> Finding:
    if settings.dialect is not DialectName.LWA:
        return ok(f"The dialect {settings.dialect} needs no DSN.")
    of_the_board = read_serial_number(serial_number)
    if not settings.dsn:
        return ok("The DSN is this board's serial number.", dsn=of_the_board)
    if of_the_board and settings.dsn != of_the_board:
        return ok(
            "The DSN is set and is not this board's serial number: each unit needs a DSN of its own.",
            dsn=settings.dsn,
            origin=settings.origins["dsn"],
            serial=of_the_board,
        )
    return ok("A DSN is set.", dsn=settings.dsn, origin=settings.origins["dsn"])


def _scope_and_language(settings: Settings, phrases: Traversable) -> Finding:
    locale = first_locale(settings.locale)
    choice = choose_language(locale, phrases)
    if choice.missing:
        spoken = choice.language if choice.is_known else "English"
        return warn(
            f"The words of the locale {locale} are not installed: the speaker speaks {spoken}.",
            f"{how_to_install_sibling(EXTRA_PACKAGE)} && sudo systemctl restart device-auth",
            locale=locale,
        )
    spoken = (
        "" if choice.is_known else f" The speaker has no words for the locale {locale}: it speaks English."
    )
    if not settings.scope:
        return ok(f"No scope is set: the provider decides what the link is for.{spoken}")
    return ok(f"A scope is set.{spoken}", scope=settings.scope)


def _addresses(settings: Settings) -> Finding:
    named = {name: str(getattr(settings, name)) for name in ADDRESSES if getattr(settings, name)}
    return ok("The provider's address is well-formed.", **named)


def _ca_file(settings: Settings) -> Finding:
    try:
        authorities = read_authorities(settings)
        authorities.context()
    except ConfigError as error:
        return _wrong([error])
    trust = authorities.trust
    facts = {"origin": trust.origin, "authorities": trust.place}
    match trust.origin:
        case "ca_file":
            return ok("The CA file can be read; only its authorities are trusted.", **facts)
        case "system":
            return ok("The system's authorities are trusted.", **facts)
        case "certifi":
            return ok("The system has no authorities: those of the package certifi are trusted.", **facts)
        case variable:
            return ok(f"Only the authorities that {variable} names are trusted.", **facts)


def _client_secret(settings: Settings, link_secret: LinkSecret | None) -> Finding:
    """Check the place of the secret, and where it goes.

    A file that others can read was refused when the settings were read.
    """
    origin = settings.origins["client_secret"]
    if settings.client_secret is None and link_secret is not None and link_secret.is_needed:
        return warn(
            "Each refresh of the link takes the client secret, and none is set here; the service may have it as a"
            " credential.",
            "If no token comes, put client_secret into the settings file, or give it to the service as a credential"
            " (docs/authorize.md).",
        )
    if settings.client_secret is None:
        is_lwa = settings.dialect is DialectName.LWA
        who = "Login with Amazon's code-based linking" if is_lwa else "a public client"
        return ok(f"No client secret is set; {who} needs none.")
    if link_secret is not None and not link_secret.may_go:
        return fail(
            f"The client secret is not sent to {link_secret.endpoint}: no setting names that endpoint, and the link is"
            " not sealed.",
            NAME_THE_ENDPOINT,
            ConfigError.exit_code,
        )
    if origin.startswith(("credential ", "option ")):
        return ok(f"The client secret comes from a file of its own ({origin}).")
    if not origin.startswith(("file ", "settings ")):
        return warn(
            f"The client secret stands in the environment ({origin}), where other programs may see it.",
            "Put it into the settings file, readable by its owner alone.",
        )
    path = Path(origin.partition(" ")[2])
    try:
        found = path.stat()
    except OSError:
        return skipped(f"The settings file {path} cannot be read.")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and not is_for_service(found):
        return warn(
            f"The settings file {path} holds the client secret, and its group or others may read it.",
            f"Run: chmod 600 {quoted(path)}",
        )
    return ok("The client secret is in a file that only its owner and the service can read.")


def _acceptance(credential_probe: CredentialProbe | None, link_secret: LinkSecret | None) -> Finding:
    """Check whether the provider rejects the client; LWA's poll does not name it, a refresh does."""
    if credential_probe is None:
        return skipped("The provider was not asked.")
    is_lwa = credential_probe.provider.dialect is DialectName.LWA
    answer = credential_probe.refresh if is_lwa else credential_probe.poll
    name = error_name(answer)
    if not isinstance(answer, WireResponse) or not name:
        return skipped("The provider's answer says nothing about the client ID.")
    if name.casefold() in REJECTS_THE_CLIENT:
        has_secret = credential_probe.client_secret is not None
        if not has_secret and link_secret is not None and link_secret.is_needed:
            return skipped("The provider was asked without the client secret of the link: see C8.")
        keys = ["client_id"] if is_lwa and not has_secret else ["client_id", "client_secret"]
        what = "the client ID"
        if "client_secret" in keys:
            what += " with the client secret" if has_secret else ", or wants a client secret"
        return fail(
            f"The provider does not accept {what}: it answers {name}.",
            " ".join(f"Check {key}: {ways_of(KEY_OF[key])}. {KEY_OF[key].explanation}" for key in keys),
            ConfigError.exit_code,
            answer=name,
            status=str(answer.status),
        )
    return ok(
        "The provider does not reject the client ID; only linking shows whether it is of the right kind.",
        answer=name,
        status=str(answer.status),
    )
