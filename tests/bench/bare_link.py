"""The least that links: the three requests of ``device-auth link``, nothing kept, nothing heeded.

Run by ``table.py``: python tests/bench/bare_link.py BASE_URL CLIENT_ID [AUTHORITIES]
"""

import json
import sys

import requests

base_url, client_id, *authorities = sys.argv[1:]
verify = authorities[0] if authorities else True
product = {"productID": "kitchen", "productInstanceAttributes": {"deviceSerialNumber": "K-0001"}}
with requests.Session() as session:
    pair = session.post(
        base_url + "create/codepair",
        data={
            "response_type": "device_code",
            "client_id": client_id,
            "scope": "alexa:all",
            "scope_data": json.dumps({"alexa:all": product}),
        },
        timeout=10,
        verify=verify,
    ).json()
    print(json.dumps(pair), flush=True)
    polled = {
        "grant_type": "device_code",
        "device_code": pair["device_code"],
        "user_code": pair["user_code"],
    }
    grant = session.post(base_url + "token", data=polled, timeout=10, verify=verify).json()
    refreshed = {
        "grant_type": "refresh_token",
        "refresh_token": grant["refresh_token"],
        "client_id": client_id,
    }
    print(
        json.dumps(session.post(base_url + "token", data=refreshed, timeout=10, verify=verify).json()),
        flush=True,
    )
