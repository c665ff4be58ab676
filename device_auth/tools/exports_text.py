"""The exports to text files: JSON, the environment, and the settings of Amazon's Java sample.

======== =====================================================================================================
json     all that a client needs to refresh, as an object
env      these members as lines ``LINK_NAME='value'``, for a POSIX shell and systemd's ``EnvironmentFile=`` alike
java     the sample's ``config.json``, where ``companionApp`` holds ``clientId`` and ``refreshToken``
======== =====================================================================================================

The names in ``env`` do not begin as this program's own variables do, which would change its settings.

Source: systemd.exec(5), ``EnvironmentFile=``; POSIX.1-2017, Shell Command Language §2.2.2; Amazon's AVS sample app,
``samples/javaclient/…/config/DeviceConfig.java``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError
from device_auth.core.models import Link
from device_auth.tools import exports, json_files
from device_auth.tools.exports import MASK, Change, ExportPlan, Rewrite, Unit

PREFIX: Final = "LINK_"
TOKEN: Final = "refresh_token"

COMPANION: Final = "companionApp"
LOCALES: Final = ("en-US", "en-GB", "de-DE")
"""Any other locale ends the sample. Source: ``DeviceConfig.SUPPORTED_LOCALES``."""

TOKEN_PATH: Final = "/auth/O2/token"

ANOTHER_NAME: Final = "Name another file, or move that one away."


def write_json(link: Link, unit: Unit) -> bytes:
    """Write the link as a JSON object."""
    return json_files.write_object(_members(link, unit))


def write_env(link: Link, unit: Unit) -> bytes:
    """Write the link as variables.

    Raises:
        ConfigError: if a shell and systemd would read a value differently.
    """
    lines = []
    for name, value in _members(link, unit).items():
        if not value.isprintable() or {"'", "\\"} & set(value):
            raise ConfigError(
                f"{name} has characters that a shell and systemd read differently",
                hint="Use the format json.",
            )
        lines.append(f"{PREFIX}{name.upper()}='{value}'\n")
    return "".join(lines).encode()


def plan_json(link: Link, unit: Unit, path: Path) -> ExportPlan:
    """Plan the file of the format json.

    Raises:
        DeviceAuthError: if it cannot be written, or is not an earlier export.
    """
    old = exports.look_at(path)
    found = json_files.read_object(old.content, old.path) if old.content else {}
    present = {str(name): str(value) for name, value in found.items()}
    return _plan_whole(old, present, _members(link, unit), write_json(link, unit))


def plan_env(link: Link, unit: Unit, path: Path) -> ExportPlan:
    """Plan the file of the format env.

    Raises:
        DeviceAuthError: if it cannot be written, or is not an earlier export.
    """
    old = exports.look_at(path)
    lines = (old.content or b"").decode(errors="replace").splitlines()
    present = {}
    for line in lines:
        name, _, value = line.partition("=")
        present[name.removeprefix(PREFIX).lower() if name.startswith(PREFIX) else line] = value.strip("'")
    return _plan_whole(old, present, _members(link, unit), write_env(link, unit))


def _plan_whole(
    old: exports.FoundFile, present: Mapping[str, str], wanted: Mapping[str, str], content: bytes
) -> ExportPlan:
    """Plan a whole file; one that exists must be an earlier export."""
    if present and (TOKEN not in present or not present.keys() <= set(_NAMES)):
        raise ConfigError(f"{old.path} exists and is not an earlier export", hint=ANOTHER_NAME)
    changes = [*_differences(present, wanted)] if old.content != content else []
    return ExportPlan(
        (Rewrite(old, content, tuple(changes)),), (), "Start the client with that file: it needs no code."
    )


def _differences(present: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*present, *wanted]):
        old, new = present.get(name), wanted.get(name)
        if old != new:
            is_hidden = name == TOKEN
            yield Change(name, MASK if old and is_hidden else old, MASK if new and is_hidden else new)


_NAMES: Final = (
    "client_id",
    "product_id",
    "dsn",
    "scope",
    "token_endpoint",
    TOKEN,
    "dialect",
    "flow",
)


def _members(link: Link, unit: Unit) -> dict[str, str]:
    """Return all that a client needs, as far as it is known."""
    values = (
        link.client_id,
        unit.product_id,
        unit.dsn,
        link.scope,
        link.token_endpoint,
        link.refresh_token.reveal(),
        str(link.dialect),
        str(link.flow),
    )
    return {name: value for name, value in zip(_NAMES, values, strict=True) if value}


# ---------------------------------------------------------------------------------------------------------
# Amazon's Java sample


def plan_java_sample(link: Link, unit: Unit, path: Path) -> ExportPlan:
    """Plan the changes of the Java sample's ``config.json``; its other keys stay.

    Raises:
        DeviceAuthError: if the file is unusable, or cannot be written.
    """
    old = exports.look_at(path)
    if old.content is None:
        raise ConfigError(f"there is no file {old.path}", hint="Name the sample's config.json with --to.")
    config = json_files.read_object(old.content, old.path)
    companion = json_files.section(config, COMPANION, old.path)
    filled = dict(_filled(config, unit, old.path))
    inner = {"clientId": link.client_id, "refreshToken": link.refresh_token.reveal()}
    if not json_files.text(config, "lwaUrl", old.path, COMPANION):
        inner["lwaUrl"] = link.token_endpoint.removesuffix(TOKEN_PATH)
    changes = [
        *(Change(name, _value(config, name), value) for name, value in filled.items()),
        *(
            Change(
                f"{COMPANION}.{name}",
                MASK if name == "refreshToken" and companion.get(name) else _value(companion, name),
                MASK if name == "refreshToken" else value,
            )
            for name, value in inner.items()
            if companion.get(name) != value
        ),
    ]
    after = {**config, **filled, COMPANION: {**companion, **inner}}
    content = json_files.write_object(after) if changes else old.content
    warnings = [*_mismatches(after, unit, old.path), *_missing_keys({**companion, **inner}, link, old.path)]
    return ExportPlan(
        (Rewrite(old, content, tuple(changes)),),
        tuple(warnings),
        "Start the sample: it goes on with this link, and needs no companion app.",
    )


def _value(members: Mapping[str, object], name: str) -> str | None:
    return None if name not in members else str(members[name])


def _filled(config: Mapping[str, object], unit: Unit, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the keys that must be set: those that are blank, and the method of linking.

    Raises:
        ConfigError: if the value of one is unknown.
    """
    for name, value in (("productId", unit.product_id), ("dsn", unit.dsn), ("locale", unit.locale)):
        if json_files.text(config, name, path).strip():
            continue
        if not value:
            raise ConfigError(f"{path} has no {name}", hint=f'Add to it: "{name}": "…"')
        yield name, value
    if json_files.text(config, "provisioningMethod", path) != COMPANION:
        yield "provisioningMethod", COMPANION


def _mismatches(config: Mapping[str, object], unit: Unit, path: Path) -> Iterator[str]:
    """Yield a warning for each key that differs from the settings or that the sample refuses."""
    for name, value in (("productId", unit.product_id), ("dsn", unit.dsn)):
        if value and config[name] != value:
            yield f"{name} in {path} is {config[name]}, but this speaker was linked as {value}."
    if config["locale"] not in LOCALES:
        yield f"locale in {path} is {config['locale']}; the sample takes {', '.join(LOCALES)} only."


def _missing_keys(companion: Mapping[str, object], link: Link, path: Path) -> Iterator[str]:
    """Yield a warning for each missing key, and for a token endpoint that is not the link's."""
    for name, example in (("localPort", "8443"), ("sslKeyStore", '"/…/jetty.pkcs12"')):
        if not companion.get(name):
            yield f'{COMPANION} in {path} has no {name}, which the sample needs. Add: "{name}": {example}'
    address = f"{companion['lwaUrl']}{TOKEN_PATH}"
    if address != link.token_endpoint:
        yield f"The client sends its requests to {address}, but the link belongs to {link.token_endpoint}."
