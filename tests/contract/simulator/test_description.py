"""The description of the control API and the endpoints (OpenAPI), against the simulator as it is."""

import json
import re
from typing import Any, Final
from urllib.parse import urlencode

import pytest
import requests

from device_auth.core.models import Flow
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.app import create_app
from device_auth.simulator.control import DESCRIPTION, list_controls
from device_auth.simulator.faults import FAULT_KEYS, LARGEST_NUMBER, PRESETS, Endpoint
from device_auth.simulator.models import Options, PairState
from device_auth.simulator.server import Running
from tests.simulated_speaker import Speaker
from tests.waiting import LONG

DESCRIBED: Final[dict[str, Any]] = json.loads(DESCRIPTION.read_text())
SCHEMAS: Final[dict[str, Any]] = DESCRIBED["components"]["schemas"]
PAGES: Final = {
    *("/", "/code", "/<country>/code", "/device", "/answer", "/static/<path:filename>"),
    *("/ap/oa", "/ap/signin", "/ap/consent", "/authorize", "/authorize/signin", "/authorize/consent"),
    "/followed-redirect",
}
"""What is for browsers, and the trap of a scripted redirect."""

LISTS: Final = ("pairs", "authorizations", "grants")


def test_each_path_there_is_is_described_and_no_other() -> None:
    app = create_app(Amazon(Options(), clock=lambda: 0.0), origin="http://127.0.0.1:8100")

    assert {rule.rule for rule in app.url_map.iter_rules()} - PAGES == DESCRIBED["paths"].keys()


def test_a_second_simulated_amazon_has_the_rules_of_the_first_and_answers_for_itself() -> None:
    origins = ("http://127.0.0.1:8100", "http://127.0.0.1:8101")
    apps = [create_app(Amazon(Options(), clock=lambda: 0.0), origin=origin) for origin in origins]
    rules = [
        sorted((rule.rule, rule.endpoint, *sorted(rule.methods or ())) for rule in app.url_map.iter_rules())
        for app in apps
    ]
    answers = [
        app.test_client().get("/.well-known/openid-configuration", base_url=origin).get_json()
        for app, origin in zip(apps, origins, strict=True)
    ]

    assert rules[0] == rules[1]
    assert len({*map(tuple, rules[0])}) == len(rules[0])
    assert [each["issuer"] for each in answers] == list(origins)


def test_each_control_has_the_methods_that_are_described(running: Running) -> None:
    for path, operations in DESCRIBED["paths"].items():
        if path.startswith("/control"):
            answer = requests.patch(running.origin + path, timeout=LONG)
            allowed = set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"}
            assert (answer.status_code, allowed) == (405, {method.upper() for method in operations})


def test_the_control_api_lists_itself(running: Running) -> None:
    told = requests.get(running.control, timeout=LONG).json()["controls"]

    assert told == list_controls()
    assert {"method": "POST", "path": "/control/approve", "does": "the owner approves a waiting code"} in told
    assert {each["path"] for each in told} == {path for path in DESCRIBED["paths"] if "/control" in path}


def test_the_description_can_be_fetched(running: Running) -> None:
    assert requests.get(f"{running.control}openapi.json", timeout=LONG).json() == DESCRIBED


def test_the_description_names_each_key_of_a_fault_and_each_word() -> None:
    assert SCHEMAS["Fault"]["properties"].keys() == set(FAULT_KEYS)
    assert SCHEMAS["Fault"]["properties"]["preset"]["enum"] == list(PRESETS)
    assert SCHEMAS["Endpoint"]["enum"] == list(Endpoint)
    state = SCHEMAS["State"]["properties"]
    assert state["pairs"]["items"]["properties"]["state"]["enum"] == list(PairState)
    assert state["grants"]["items"]["properties"]["flow"]["enum"] == list(Flow)


def test_the_description_has_the_bounds_of_a_fault() -> None:
    numbers = {name: each for name, each in SCHEMAS["Fault"]["properties"].items() if "maximum" in each}

    assert numbers.pop("status")["maximum"] == 599
    assert numbers.keys() == {"delay", "drip", "lifetime", "interval", "times"}
    assert {each["maximum"] for each in numbers.values()} == {LARGEST_NUMBER}


def test_both_spellings_of_a_path_are_described_alike() -> None:
    paths = {path: dict(operations) for path, operations in DESCRIBED["paths"].items() if "/auth/" in path}
    for operations in paths.values():
        for method, operation in operations.items():
            operations[method] = {name: operation[name] for name in operation if name != "operationId"}

    assert {path: paths[path] for path in paths if "/O2/" in path} == {
        path.replace("/o2/", "/O2/"): paths[path] for path in paths if "/o2/" in path
    }


def test_each_answer_has_the_members_that_are_described(amazon: Amazon, lwa: Speaker, rfc: Speaker) -> None:
    def read(path: str, **query: str) -> dict[str, Any]:
        told: dict[str, Any] = lwa.session.get(lwa.origin + path, params=query, timeout=LONG).json()
        return told

    asked = {"client_id": "a-tv", "response_type": "code", "redirect_uri": "https://localhost/"}
    lwa.control("authorization/allow", address=f"{lwa.origin}/authorize?{urlencode(asked)}")
    pairs = lwa.pair(), rfc.pair()
    amazon.approve("all")
    tokens = lwa.poll(pairs[0]).json(), rfc.poll(pairs[1]).json()
    metadata = read("/.well-known/openid-configuration")
    account = read("/auth/O2/tokeninfo", access_token=tokens[0]["access_token"])
    state, referee = read("/control/state"), read("/control/referee")

    lists = [(SCHEMAS["State"]["properties"][name]["items"], state[name]) for name in LISTS]
    answers = [
        *((schema, each) for schema, members in lists for each in members),
        *((SCHEMAS["Tokens"], each) for each in tokens),
        *zip((SCHEMAS["CodePair"], SCHEMAS["RfcCodePair"]), pairs, strict=True),
        (SCHEMAS["State"], state),
        (SCHEMAS["Referee"], referee),
        (SCHEMAS["Remark"], referee["complaints"][0]),
        (SCHEMAS["Metadata"], metadata),
        (SCHEMAS["TokenInfo"], account),
    ]
    assert all(members for _, members in lists)
    for schema, answer in answers:
        assert set(schema["required"]) <= answer.keys() <= schema["properties"].keys()


def test_each_reference_of_the_description_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', DESCRIPTION.read_text()):
        place: Any = DESCRIBED
        for name in reference.split("/"):
            place = place[name]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "approve", 405), ("POST", "aprove", 404)])
def test_a_wrong_path_or_method_of_the_control_api_is_answered_in_json(
    running: Running, method: str, path: str, status: int
) -> None:
    answer = requests.request(method, running.control + path, timeout=LONG)

    assert answer.status_code == status
    assert answer.json()["error"].endswith(": GET /control/ lists what there is")
