"""The examples of each verb, for ``--help`` and the manual pages; imported only to be shown."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, Mapping[str, str]]] = {
    "": {
        "device-auth link --simulate": "Link a simulated speaker to a simulated Amazon: nothing real is asked.",
        "device-auth config init": "Write a settings file; on a terminal it asks for what is needed.",
        "device-auth link": "Link this speaker.",
        "device-auth token": "Print an access token for a program.",
        "device-auth doctor": "Find out what is wrong.",
    },
    "link": {
        "device-auth link": "Show a code, and wait.",
        "device-auth link --json --timeout 600": "Print JSON, an object a line, and give up after ten minutes.",
        "device-auth link --qr-file code.svg --no-qr": "Keep a picture of the code in a file while it is valid.",
        "device-auth link --simulate=manual": "Try it without an account: approve on the simulated Amazon's page.",
    },
    "run": {
        "device-auth run --simulate --open": "Run a simulated speaker, drawn here, and open its page in a browser.",
        "device-auth run -v --log-format text": "Run in the foreground, with every line of the log.",
    },
    "status": {
        "device-auth status": "Print it for a person.",
        "device-auth status --json": "Print one JSON object for a program.",
        "device-auth status --check": "Let a script go on only where there is a link and a fresh token.",
    },
    "token": {
        "device-auth token": 'The bare token: curl -H "Authorization: Bearer $(device-auth token)" …',
        "device-auth token --json --min-lifetime 600": "One object, with a token that lives ten minutes or more.",
    },
    "unlink": {
        "device-auth unlink": "Forget the account.",
        "device-auth unlink --wipe": "Leave nothing, before the speaker changes hands.",
    },
    "authorize": {
        "device-auth authorize": "Approve in a browser on this machine.",
        "device-auth authorize --paste": "Approve on another machine, and paste the address it ends at.",
        "device-auth authorize --simulate=manual": "Try it with nothing real.",
    },
    "export": {
        "device-auth export avs-device-sdk --to AlexaClientSDKConfig.json --dry-run": "Show what would change in the databases of Amazon's SDK.",
        "device-auth export json --to link.json": "Move the link into a file that its owner alone can read.",
    },
    "doctor": {
        "device-auth doctor": "Find out what is wrong.",
        "device-auth doctor --online --report doctor.txt": "Try one refresh too, and write a file that is safe to send.",
    },
    "seal": {
        "device-auth seal": "Seal the link after a key was set up.",
    },
    "config": {
        "device-auth config init": "Ask for what is needed, write the settings: as root the service's.",
        "device-auth config init --client-id ID --product-id ID --dsn DSN": "The same from a script.",
        "device-auth config set hardware.board generic-led": "Change one setting.",
        "device-auth config unset locale": "Leave one setting out, so that its default counts.",
        "device-auth config set client_secret": "Change a secret: it is asked for, or read from standard input.",
        "device-auth config get --json dsn": "Show one value and its origin to a program.",
        "device-auth config check": "Find what is wrong before the service does.",
        "device-auth config show --json": "Show every value and its origin to a program.",
    },
    "hardware": {
        "device-auth hardware list": "Show every part.",
        "device-auth hardware test --part light": "Show every pattern on the light, and ask whether it was seen.",
        "device-auth hardware enable generic-led --panel ssd1306": "Switch an LED, a button and an OLED panel on.",
        "device-auth hardware enable --key rpi-fw-crypto": "Seal the link under the key in the chip.",
    },
    "simulator": {
        "device-auth simulator --approve-after 5": "An owner who approves by himself.",
        "device-auth simulator --tls authority --strict": "Over TLS, with every note of the referee a complaint.",
    },
    "factory": {
        "device-auth factory identity write --dsn KS0001 --product-id KS --client-id ID": "Make this unit the one of its label.",
        "device-auth factory facts": "Print what the unit reads of itself.",
        "device-auth factory lock": "Check all once more, and lock the unit.",
        "device-auth factory status": "Show lock and identity, and whether an owner's link is there.",
        "device-auth factory selftest --dsn KS0001": "Check the unit, its parts, and that the label is its own.",
        "device-auth factory link-test --base-url https://sim.example/ --ca-file ca.pem": "Link, refresh and unlink against the station's simulated Amazon.",
        "device-auth factory wipe --verify": "Erase what the tests left, and prove that no token is left.",
        "device-auth factory run station.toml": "At the station: run units until the labels end.",
        "device-auth factory database upgrade station.toml": "Make the tables of the records, or bring them up to date.",
        "device-auth factory dsn add station.toml --first 1 --count 100": "Make a hundred serial numbers.",
        "device-auth factory export station.toml --format csv --since 2026-11-30": "Hand the records of a day on.",
        "device-auth factory import station.toml manufacturing.db": "Take over what rpi-sb-provisioner knows.",
        "device-auth factory report station.toml --since 2026-11-30": "Count the yield of a day.",
    },
}
"""What is typed, and what it is for, by verb; those of the command itself stand under the empty word."""

SHOWN: Final = 3
"""How many a help text shows."""


def examples_for(words: str) -> str:
    """Return the section of a help text: the first examples of a command, a verb or a sub-verb.

    Args:
        words: as they are typed, ``device-auth factory run``.
    """
    of_verb = EXAMPLES[(words.split()[1:] or [""])[0]]
    shown = [item for item in of_verb.items() if item[0].startswith(words)][:SHOWN]
    return "\n".join(["examples:", *(f"  {typed}\n      {meaning}" for typed, meaning in shown), ""])
