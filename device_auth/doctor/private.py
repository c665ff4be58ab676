"""The private values of this machine and speaker, collected so that they can be masked."""

import re
import socket
from contextlib import suppress
from typing import Final

from device_auth.core.errors import StoreError
from device_auth.doctor.context import DoctorContext
from device_auth.doctor.findings import Finding, ok
from device_auth.doctor.redaction import CLIENT_ID, Redaction
from device_auth.world.pending import FilePending
from device_auth.world.settings import Settings
from device_auth.world.token_files import FileTokens

SERIAL_NUMBERS: Final = (
    "sys/firmware/devicetree/base/serial-number",
    "proc/device-tree/serial-number",
    "etc/machine-id",
)

WIFI_SETTINGS: Final = ("etc/wpa_supplicant/*.conf", "etc/NetworkManager/system-connections/*")

_LOCAL: Final = "localhost"
_SERIAL: Final = re.compile(r"^Serial\s*:\s*(\w+)", re.MULTILINE)
_WIFI_NAME: Final = re.compile(r"^\s*ssid\s*=\s*\"?([^\"\n]+)", re.MULTILINE)


def learn_from_settings(redaction: Redaction, settings: Settings) -> None:
    """Learn the private values of the settings."""
    redaction.learn("dsn", settings.dsn)
    redaction.learn(CLIENT_ID, settings.client_id)
    redaction.learn_secret(settings.client_secret)
    if settings.proxy is not None:
        redaction.learn_secret(settings.proxy.user)
        redaction.learn_secret(settings.proxy.address)


def learn_from_machine(redaction: Redaction, context: DoctorContext) -> None:
    """Learn the names and serial numbers of the machine, and the names of its networks."""
    for name in (socket.gethostname(), context.read("etc/hostname")):
        for part in {name.strip(), name.strip().partition(".")[0]} - {_LOCAL}:
            redaction.learn("host", part)
    for place in SERIAL_NUMBERS:
        redaction.learn("serial", context.line(place))
    for number in _SERIAL.findall(context.read("proc/cpuinfo")):
        redaction.learn("serial", number)
    for pattern in WIFI_SETTINGS:
        for path in context.root.glob(pattern):
            for name in _WIFI_NAME.findall(context.read(str(path.relative_to(context.root)))):
                redaction.learn("ssid", name)


def learn_from_speaker(redaction: Redaction, context: DoctorContext) -> Finding:
    """Learn every secret of the link. It reads the disk, which may hang: run it as a check."""
    link = None
    with suppress(StoreError):
        link = context.read_link()
    while link is not None:
        redaction.learn_secret(link.refresh_token)
        redaction.learn(CLIENT_ID, link.client_id)
        redaction.learn("account", link.account or "")
        redaction.learn("account", link.account_id or "")
        link = link.replaces
    token = FileTokens(context.places.runtime_dir, context.clock).read()
    redaction.learn_secret(None if token is None else token.access_token)
    pending = FilePending(context.places.runtime_dir, context.clock).read()
    if pending is not None:
        redaction.learn("user_code", pending.pair.user_code)
        redaction.learn_secret(pending.pair.device_code)
    status = context.daemon.status
    if status is not None:
        redaction.learn("account", status.account or "")
        redaction.learn("account", status.account_id or "")
        redaction.learn("user_code", "" if status.code is None else status.code.user_code)
    return ok("What is private is known.")
