"""From settings to a provider: whether they are enough to ask for a link, and were filled in.

Nothing is asked of the network here; only the form is judged.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError, SettingMissing
from device_auth.core.models import DialectName, Link, Provider
from device_auth.wire.addresses import fault_of_address
from device_auth.world.route import Authorities
from device_auth.world.settings import KEY_OF, KEYS, Settings, option_of, variable_of, ways_of, wrong
from device_auth.world.unit import SERIAL_NUMBER, read_serial_number
from hardware.settings import Key

LWA_CLIENT_ID: Final = "amzn1.application-oa2-client."
"""The beginning of LWA's client IDs; 32 of 0-9 and a-z follow. Source: AVS Device SDK, ``tools/Install/genConfig.sh``."""

LWA_SCOPE: Final = "alexa:all"
"""The scope that product ID and DSN belong to. Source: AVS Device SDK, ``CBLAuthDelegateConfiguration.cpp``."""

LONGEST_LWA_CLIENT_ID: Final = 100
"""Source: LWA "Authorization Code Grant", parameter ``client_id``."""

LONGEST_TEXT: Final = 384
"""Characters of an ID or a scope. Source: Amazon's AVS sample app takes product IDs of 1 to 384."""


def read_provider(settings: Settings, serial_number: Path = SERIAL_NUMBER) -> Provider:
    """Read the provider and our name there from the settings.

    For rfc8628 with an issuer the endpoints are still empty: its metadata names them.

    Args:
        settings: every setting.
        serial_number: the file with the serial number that is used if no DSN is set.

    Raises:
        ConfigError: if settings are missing, malformed, or were never filled in; the message names each of them.
    """
    problems = provider_problems(settings, serial_number)
    if problems:
        raise _as_one(problems, settings)
    if settings.dialect is DialectName.LWA:
        return Provider(
            dialect=settings.dialect,
            client_id=settings.client_id,
            scope=settings.scope,
            device_endpoint=_lwa_endpoint(settings, "create/codepair"),
            token_endpoint=_lwa_endpoint(settings, "token"),
            product_id=settings.product_id,
            dsn=settings.dsn or read_serial_number(serial_number),
            locale=first_locale(settings.locale),
        )
    return Provider(
        dialect=settings.dialect,
        client_id=settings.client_id,
        scope=settings.scope,
        device_endpoint=settings.device_endpoint,
        token_endpoint=settings.token_endpoint,
        issuer=settings.issuer,
    )


def provider_problems(settings: Settings, serial_number: Path = SERIAL_NUMBER) -> list[ConfigError]:
    """Return every problem that keeps these settings from naming a provider."""
    return [*_refused_options(settings), *_missing(settings, serial_number), *_malformed(settings)]


def fault_of_answer(key: Key, given: str, dialect: DialectName) -> str:
    """Return what is wrong with the text of a setting, in words that complete "NAME ...", or nothing."""
    try:
        value = str(key.read(given))
    except ValueError as fault:
        return str(fault.args[0])
    return "" if key.is_secret else _fault_of_value(key, value, dialect)


def _as_one(problems: list[ConfigError], settings: Settings) -> ConfigError:
    """Return one error that names every problem, so that a person mends all of them at once."""
    (first, *others), file = problems, settings.files.config
    hint = first.hint
    if others:
        first_step = f"Correct them in {file}" if file else "Write a settings file (device-auth config init)"
        hint = f"{first_step}, or use options and variables. To have each explained, run: device-auth config check"
    elif file is None:
        hint += " To write a settings file, run: device-auth config init"
    return ConfigError("; ".join(map(str, problems)), hint=hint)


def warnings_about(settings: Settings) -> list[str]:
    """Return a sentence for each setting that is allowed but likely not intended."""
    warnings = [
        f"{key.name} ({settings.origins[key.name]}) is not used: it belongs to the dialect {' or '.join(key.only)}."
        for key in _keys_of_other_dialect(settings)
        if not _is_option(settings, key)
    ]
    warnings += [
        f"{name} (environment) is not used: a container platform makes such a variable for each of its services."
        for name in settings.platform_variables
    ]
    if settings.dialect is DialectName.LWA:
        warnings += _lwa_warnings(settings)
    return warnings


def provider_addresses(settings: Settings) -> Iterator[str]:
    """Yield the addresses of the provider that the settings name, as far as they are well-formed."""
    is_lwa = settings.dialect is DialectName.LWA
    for url in (settings.base_url,) if is_lwa else (settings.issuer, settings.token_endpoint):
        if url and not fault_of_address(url):
            yield url


def token_endpoints(settings: Settings) -> set[str]:
    """Return the token endpoints that the settings name; that of an issuer stands in its metadata."""
    named = settings.token_endpoint
    return {_lwa_endpoint(settings, "token")} | ({named} if named else set())


def compare_with_link(settings: Settings, link: Link) -> list[str]:
    """Return a sentence for each given value that the stored link does not use, because its own counts."""
    compared = (
        ("dialect", settings.dialect, link.dialect),
        ("client_id", settings.client_id, link.client_id),
        ("scope", settings.scope, link.scope),
        ("base_url", _lwa_endpoint(settings, "token"), link.token_endpoint),
        ("token_endpoint", settings.token_endpoint, link.token_endpoint),
        *((("dsn", settings.dsn, link.dsn),) if link.dsn else ()),
    )
    return [
        f"{name} ({settings.origins[name]}) is not used: the stored link keeps {kept or 'none'}."
        for name, given, kept in compared
        if settings.is_given(name) and given != kept and KEY_OF[name].belongs_to(settings.dialect)
    ]


COUNTED: Final = "01234567890"
FEWEST_COUNTED: Final = 4
"""Digits in a row that are taken for a placeholder, from 0 or 1 on."""


def read_authorities(settings: Settings, *, is_proved: bool = True) -> Authorities:
    """Return the trusted authorities.

    Args:
        settings: every setting.
        is_proved: load the CA file at once, if one is set; else its problems appear when it is first needed.

    Raises:
        ConfigError: if ``is_proved`` and the CA file is not a whole path, cannot be read or holds no certificate.
    """
    if not settings.ca_file:
        return Authorities()
    key, origin, path = KEY_OF["ca_file"], settings.origins["ca_file"], Path(settings.ca_file)
    if is_proved and not path.is_absolute() and not _is_option(settings, key):
        # a service has another working folder than the person who wrote this
        raise wrong(key, origin, "must be an absolute path")
    authorities = Authorities(path, named=f"ca_file ({origin})", hint=wrong(key, origin, "").hint)
    if is_proved:
        authorities.context()
    return authorities


def first_locale(locale: str) -> str:
    """Return the first of several locales separated by commas."""
    return locale.partition(",")[0].strip()


def _lwa_endpoint(settings: Settings, name: str) -> str:
    return f"{settings.base_url.rstrip('/')}/{name}"


# ---------------------------------------------------------------------------------------------------------
# Problems, one error each


def _is_option(settings: Settings, key: Key) -> bool:
    return settings.origins[key.name] == f"option {option_of(key)}"


def _keys_of_other_dialect(settings: Settings) -> list[Key]:
    return [key for key in KEYS if not key.belongs_to(settings.dialect) and settings.is_given(key.name)]


def _refused_options(settings: Settings) -> Iterator[ConfigError]:
    """Return an error for each option of the other dialect: a person who types one expects it to count."""
    for key in _keys_of_other_dialect(settings):
        if _is_option(settings, key):
            yield ConfigError(
                f"{key.name} (option {option_of(key)}) does not belong to the dialect {settings.dialect}",
                hint=f"Leave {option_of(key)} out, or choose the other dialect: --dialect {' or '.join(key.only)}"
                f" ({variable_of(KEY_OF['dialect'])}, or dialect in the settings file).",
            )


def _missing(settings: Settings, serial_number: Path) -> Iterator[ConfigError]:
    if not settings.client_id:
        yield _not_set("client_id")
    if settings.dialect is DialectName.LWA:
        if not settings.product_id:
            yield _not_set("product_id")
        if not settings.dsn:
            yield from _dsn_of_the_board(serial_number)
        return
    endpoints = {name: getattr(settings, name) for name in ("device_endpoint", "token_endpoint")}
    if not any(endpoints.values()) and not settings.issuer:
        yield _not_set("issuer", "; nor are device_endpoint and token_endpoint")
    elif not all(endpoints.values()) and any(endpoints.values()):
        (given,) = (name for name, url in endpoints.items() if url)
        yield from (_not_set(name, f", but {given} is") for name, url in endpoints.items() if not url)


def _dsn_of_the_board(serial_number: Path) -> Iterator[ConfigError]:
    if not read_serial_number(serial_number):
        yield _not_set("dsn", ", and this machine has no serial number of its own")
    elif not read_dsn_of_board(serial_number):
        yield _not_set("dsn", ", and this machine's own serial number is not a real one")


def read_dsn_of_board(serial_number: Path = SERIAL_NUMBER) -> str:
    """Return the board's serial number, which is the DSN where none is set; empty if there is none, or no real one."""
    found = read_serial_number(serial_number)
    return "" if _is_placeholder(KEY_OF["dsn"], found) or _fault_of_id(found) else found


def _not_set(name: str, more: str = "") -> SettingMissing:
    key = KEY_OF[name]
    return SettingMissing(f"{name} is not set{more}", hint=f"Set it: {ways_of(key)}. {key.explanation}")


def _malformed(settings: Settings) -> Iterator[ConfigError]:
    for name in _FAULTS:
        key, value = KEY_OF[name], str(getattr(settings, name))
        if value and key.belongs_to(settings.dialect):
            fault = _fault_of_value(key, value, settings.dialect)
            if fault:
                yield wrong(key, settings.origins[name], fault)


def _fault_of_value(key: Key, value: str, dialect: DialectName) -> str:
    fault = "is a placeholder" if key.is_own and _is_placeholder(key, value) else _FAULTS[key.name](value)
    if not fault and key.name == "client_id" and dialect is DialectName.LWA:
        fault = _fault_of_length(value, LONGEST_LWA_CLIENT_ID)
    return fault


def _is_placeholder(key: Key, value: str) -> bool:
    """Return whether a value was never filled in: 1234, 012345, one character repeated, a text like <ID>."""
    own = value.removeprefix(LWA_CLIENT_ID)
    characters = set(own) - set("-_.")
    return (
        value == key.example
        or own == "0"
        or (len(own) >= FEWEST_COUNTED and COUNTED.startswith((own, f"0{own}")))
        or (len(own) > 1 and len(characters) <= 1)
        or own.startswith(("<", "${"))
        or own.lower().startswith(("insert", "your_", "your-"))
    )


def _lwa_warnings(settings: Settings) -> Iterator[str]:
    """Return a sentence for each value that Login with Amazon will likely refuse; simulators may accept it."""
    if settings.client_id and not re.fullmatch(
        rf"{re.escape(LWA_CLIENT_ID)}[0-9a-z]{{32}}", settings.client_id
    ):
        yield (
            "client_id does not look like one of Login with Amazon"
            f" ({LWA_CLIENT_ID} and 32 of 0-9 and a-z): it will likely be refused."
        )
    for name in ("product_id", "dsn"):
        if re.search(r"[^0-9A-Za-z_]", getattr(settings, name)):
            yield f"{name} has characters other than 0-9, A-Z, a-z and _: it will likely be refused."
    if LWA_SCOPE not in settings.scope.split():
        yield f"scope does not ask for {LWA_SCOPE}: an Alexa client cannot use such a link."


# ---------------------------------------------------------------------------------------------------------
# The form of a text: what is wrong with it, in words that complete "NAME ...", or nothing


def _fault_of_length(value: str, longest: int = LONGEST_TEXT) -> str:
    return f"is longer than {longest} characters" if len(value) > longest else ""


def _fault_of_id(value: str) -> str:
    if not value.isprintable() or any(character.isspace() for character in value):
        return "has spaces or characters that cannot be printed"
    return _fault_of_length(value)


def _fault_of_client_id(value: str) -> str:
    # RFC 6749 appendix A.1
    return _fault_of_id(value) or ("" if value.isascii() else "has characters outside ASCII")


def _fault_of_scope(value: str) -> str:
    # RFC 6749 §3.3: tokens of printable ASCII, neither quotation mark nor backslash, one space between
    name = r"[!#-\[\]-~]+"
    is_plain = re.fullmatch(f"{name}( {name})*", value)
    return _fault_of_length(value) if is_plain else "must be names separated by one space each"


def _fault_of_locale(value: str) -> str:
    is_plain = re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}", first_locale(value))
    return "" if is_plain else "must be a language and a country like en-US"


_fault_of_base: Final = partial(fault_of_address, may_have_query=False)

_FAULTS: Final[Mapping[str, Callable[[str], str]]] = {
    "client_id": _fault_of_client_id,
    "product_id": _fault_of_id,
    "dsn": _fault_of_id,
    "scope": _fault_of_scope,
    "locale": _fault_of_locale,
    "base_url": _fault_of_base,
    "issuer": _fault_of_base,
    "device_endpoint": fault_of_address,
    "token_endpoint": fault_of_address,
    "authorization_endpoint": _fault_of_base,
    "redirect_uri": _fault_of_base,
}
"""The check of each setting's text."""
