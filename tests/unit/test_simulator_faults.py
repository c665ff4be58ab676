import pytest

from device_auth.simulator.faults import GOOGLE_DEVICE, Fault, FaultError, read_fault


def test_a_fault_is_read_from_its_json_form() -> None:
    fault = read_fault({"status": 503, "headers": {"Retry-After": "7"}, "delay": 0.5, "times": None})

    assert fault == Fault(status=503, headers={"Retry-After": "7"}, delay=0.5, times=None)


def test_a_preset_is_a_fault_whose_other_settings_are_stronger() -> None:
    assert read_fault({"preset": "portal"}) == Fault(html=True)
    assert read_fault({"preset": "google-device", "delay": 1}) == Fault(shape=GOOGLE_DEVICE, delay=1)
    gateway = read_fault({"preset": "502-html", "status": 504, "times": None})
    assert (gateway.status, gateway.times, gateway.replaces) == (504, None, True)
    assert not read_fault({"preset": "microsoft-v1"}).replaces


def test_nothing_scripted_is_no_fault() -> None:
    assert read_fault({}) == Fault()
    assert not Fault().replaces


@pytest.mark.parametrize(
    "settings",
    [
        {"status": 500},
        {"body": ""},
        {"base64": ""},
        {"json": None},
        {"slow_down": True},
        {"reset": True},
        {"hang": True},
        {"truncate": True},
        {"oversized": True},
        {"html": True},
        {"redirect": True},
        {"redirect": "https://example.com/"},
    ],
)
def test_a_fault_with_an_answer_of_its_own_leaves_the_code_pair_alone(settings: dict[str, object]) -> None:
    assert read_fault(settings).replaces


@pytest.mark.parametrize(
    "settings",
    [
        {"delay": 1},
        {"drip": 1},
        {"lost": True},
        {"lifetime": 1},
        {"rotation": False},
        {"interval": 1},
        {"change": {"interval": None}},
        {"headers": {"X-A": "b"}},
    ],
)
def test_a_fault_on_top_of_the_true_answer_keeps_it(settings: dict[str, object]) -> None:
    assert not read_fault(settings).replaces


@pytest.mark.parametrize(
    ("settings", "content"),
    [
        ({"body": "é"}, "é".encode()),
        ({"base64": "/wA="}, b"\xff\x00"),
        ({"json": [1]}, b"[1]"),
        ({"status": 500}, None),
    ],
)
def test_a_body_can_be_any_bytes(settings: dict[str, object], content: bytes | None) -> None:
    assert read_fault(settings).content() == content


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (7, "must be an object"),
        ({"stauts": 500}, "has no 'stauts'; it can have status, headers"),
        ({"status": "500"}, "status must be int"),
        ({"status": True}, "status must be int"),
        ({"status": 100}, "from 200 to 599"),
        ({"status": 600}, "from 200 to 599"),
        ({"delay": -1}, "delay must be from 0 to 31536000"),
        ({"delay": 1e300}, "delay must be from 0 to 31536000"),
        ({"delay": float("nan")}, "delay must be from 0 to 31536000"),
        ({"lifetime": 10**400}, "lifetime must be from 0 to 31536000"),
        ({"times": -1}, "times must be from 0 to 31536000"),
        ({"drip": 1e-300}, "drip must be 0, or at least 0.001"),
        ({"body": "\ud800"}, "body must be a text that can be sent as UTF-8"),
        ({"redirect": "a\nb"}, "redirect must be without control characters"),
        ({"redirect": "\ud800"}, "redirect must be without control characters"),
        ({"headers": {"A": "\ud800"}}, "without control characters"),
        ({"base64": "!"}, "base64 is not Base64"),
        ({"base64": "é"}, "base64 is not Base64"),
        ({"headers": {"A": "b\r\nC: d"}}, "without control characters"),
        ({"headers": {"A": 1}}, "without control characters"),
        ({"headers": {"": "a"}}, "without control characters"),
        ({"hang": 1}, "hang must be bool"),
        ({"preset": "google"}, "no preset 'google'; there are google-device, microsoft-v1"),
        ({"shape": {}}, "has no 'shape'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(settings: object, complaint: str) -> None:
    with pytest.raises(FaultError, match=complaint):
        read_fault(settings)
