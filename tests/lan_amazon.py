"""A station's simulated Amazon on an address of a network, met by a client there; run in a network namespace of its own."""

import json
import tempfile
from pathlib import Path

import requests

from device_auth.factory.station.amazon import StationAmazon
from device_auth.world.clock import BootClock
from tests.simulated_speaker import CLIENT_ID, SCOPE_DATA
from tests.waiting import LONG

ADDRESS = "10.8.8.1"
DSN = "K-0001"


def main() -> None:
    """Print what a client finds there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        StationAmazon(Path(folder), ADDRESS, 0, BootClock().now) as amazon,
        amazon.owner(CLIENT_ID, DSN) as owner,
    ):
        ca_file = Path(folder) / "ca.pem"
        ca_file.write_text(amazon.certificates)
        session = requests.Session()
        session.trust_env = False
        session.verify = str(ca_file)
        asked = {"response_type": "device_code", "client_id": CLIENT_ID, "scope": "alexa:all"}
        pair = session.post(
            f"{owner.base_url}create/codepair", data={**asked, "scope_data": SCOPE_DATA}, timeout=LONG
        ).json()
        origin = owner.base_url.removesuffix("/auth/O2/")
        refused = session.post(
            f"{origin}/control/approve", json={"user_code": pair["user_code"]}, timeout=LONG
        )
        as_loopback = session.get(
            f"{origin}/control/state", headers={"Host": "127.0.0.1"}, timeout=LONG
        ).status_code
        owner.approve(pair["user_code"])
        print(json.dumps([origin.rpartition(":")[0], refused.status_code, as_loopback]))


if __name__ == "__main__":
    main()
