import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.factory.station import local, plan
from device_auth.factory.station.plan import DEFAULT_BUDGETS, Limit, StationPlan, read_plan
from hardware.settings import Key

GOOD = """\
[station]
id = "station-1"
folder = "records"

[product]
name = "kitchen"
product_id = "KITCHEN"
client_id = "amzn1.application-oa2-client.51000000000000000000000000000005"

[[slot]]
name = "one"
transport = "local"
"""


def read(folder: Path, text: str) -> StationPlan:
    path = folder / "station.toml"
    path.write_text(text)
    return read_plan(path)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_what_a_file_leaves_out_is_the_whole_line(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)

    assert [step.verb for step in found.steps] == list(DEFAULT_BUDGETS)
    assert [step.attempts for step in found.steps] == [1] * len(DEFAULT_BUDGETS)
    assert (found.listen, found.port, found.database, found.golden) == ("127.0.0.1", 0, "", None)
    assert [(slot.name, slot.answers) for slot in found.slots] == [("one", "operator")]


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).folder == tmp_path / "records"
    assert read(tmp_path, GOOD.replace('"records"', '"/srv/records"')).folder == Path("/srv/records")


def test_a_product_has_parts_unless_its_file_denies_it(tmp_path: Path) -> None:
    without = read(
        tmp_path,
        GOOD.replace('name = "kitchen"', f'name = "kitchen"\nparts = false\nimage_digests = ["{"0f" * 32}"]'),
    )

    assert (read(tmp_path, GOOD).has_parts, read(tmp_path, GOOD).image_digests) == (True, ())
    assert (without.has_parts, without.image_digests) == (False, ("0f" * 32,))
    (fault,) = faults(
        tmp_path, GOOD.replace('name = "kitchen"', 'name = "kitchen"\nimage_digests = ["0F00"]')
    )
    assert fault.startswith(
        "line 7: product: image_digests (['0F00']) must be digests as sha256sum prints them"
    )


def test_slots_alike_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, f'{GOOD}count = 3\nanswers = "yes"\n')

    assert [slot.name for slot in found.slots] == ["one-01", "one-02", "one-03"]


def test_a_program_of_the_rig_answers_questions(tmp_path: Path) -> None:
    found = read(tmp_path, f'{GOOD}answers = ["/opt/rig/look", "--led"]\n')

    assert found.slots[0].answers == ("/opt/rig/look", "--led")


def test_a_step_has_its_own_limits(tmp_path: Path) -> None:
    steps = """\
[[plan.steps]]
verb = "identity"
[[plan.steps]]
verb = "link-test"
budget = 40
attempts = 2
limits = { link_seconds = { maximum = 20 }, own = { unique = true }, image-machine-id = { unique = false }, image-ssh-host-keys = {} }
"""
    found = read(tmp_path, GOOD + steps)

    assert [f"{step.verb} {step.budget:g} {step.attempts}" for step in found.steps] == [
        "identity 30 1",
        "link-test 40 2",
    ]
    assert found.steps[1].limits == {
        "link_seconds": Limit(None, 20),
        "own": Limit(is_unique=True),
        "image-machine-id": Limit(),
        "image-ssh-host-keys": Limit(is_unique=True),
    }
    assert found.steps[0].limit_of("image-machine-id") == Limit(is_unique=True)
    assert found.steps[0].limit_of("link_seconds") == Limit()


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
[station]
id = "a b"

[product]
name = "kitchen"
product_ID = "K"
client_id = 7

[plan]
steps = [{ verb = "wipe" }, { verb = "identity" }]

[[slot]]
name = "one"
transport = "locl"
adress = "x"

[[slot]]
name = "two"
transport = "local"
count = 0

[stattion]
"""

    assert faults(tmp_path, text) == [
        "line 1: station: folder is missing. For example: folder = \"records\"",
        "line 2: station: id ('a b') must be 1 to 32 letters, digits, dots, _ or -. For example: id = \"station-1\"",
        "line 4: product: product_id is missing. For example: product_id = \"KITCHEN_SPEAKER\"",
        "line 6: product has no setting 'product_ID'. Did you mean 'product_id'?",
        "line 7: product: client_id (7) must be text in quotation marks, not a number. For example: client_id ="
        ' "amzn1.application-oa2-client.51000000000000000000000000000005"',
        "line 10: plan: steps are out of order. The order is identity, selftest, link-test, wipe, lock.",
        "line 14: slot 1: transport ('locl') must be local or serial or ssh. Did you mean 'local'?",
        "line 20: slot 2: count (0) must be a whole number from 1 to 256. For example: count = 8",
        "line 22: there is no table 'stattion'. Did you mean 'station'?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('[[plan.steps]]\nverb = "lock"\n', "lock needs wipe"),
        ('[plan]\nsteps = [{ verb = "wipe" }, { verb = "wipe" }]\n', "stands twice"),
        ("[plan]\nsteps = []\n", "must be a list of tables"),
        ('[plan]\nsteps = ["wipe"]\n', "must be a table, not text"),
        ('[[plan.steps]]\nverb = "wipe"\nlimits = { a = { minimum = "x" } }\n', "must be a number"),
        ('[plan.golden]\ngood = ["A"]\nbad = ["A"]\n', "both good and bad"),
        ('[[slot]]\nname = "one"\ntransport = "local"\n', "two slots have the name one"),
        ("[amazon]\nport = 70000\n", "port"),
        ('[[slot]]\nname = "x"\ntransport = "local"\nanswers = "no"\n', 'must be "operator", or a program'),
        ('[[slot]]\nname = "x"\ntransport = "local"\nprogram = []\n', "program"),
        ("[amazon]\nlisten = 3\n", "listen"),
        ("[plan]\nreach_within = 0\n", "must be above 0"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(tmp_path: Path, more: str, fault: str) -> None:
    (found,) = faults(tmp_path, f"{GOOD}\n{more}")

    assert fault in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "[station] is missing"),
        ("slot = 3\n" + GOOD.partition("[[slot]]")[0], "must be tables"),
        ("[[station]]\n" + GOOD.partition("[product]")[2], "must be a table"),
    ],
)
def test_a_file_without_its_tables_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    assert any(fault in each for each in faults(tmp_path, text))


@pytest.mark.parametrize("text", ["[station", "\0", 'a = "' + "\ud800" + '"'])
def test_what_is_not_toml_is_refused_with_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "station.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    with pytest.raises(ConfigError, match="not valid TOML"):
        read_plan(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*station\.toml"):
        read_plan(tmp_path / "station.toml")


def test_a_file_that_is_too_long_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than"):
        read(tmp_path, "#" * 300_000)


def test_the_shipped_example_is_a_plan_of_the_whole_line() -> None:
    example = Path(__file__).parents[3] / "deploy" / "factory" / "station.toml"
    found = read_plan(example)

    assert [step.verb for step in found.steps] == list(DEFAULT_BUDGETS)
    assert len(found.slots) == 8


def test_what_the_example_leaves_as_a_comment_is_valid_too(tmp_path: Path) -> None:
    example = (Path(__file__).parents[3] / "deploy" / "factory" / "station.toml").read_text()
    found = read(tmp_path, re.sub(r"(?m)^# (?=[a-z_]+ = |\[\[)", "", example))

    assert found.golden is not None
    assert found.scanner is not None
    assert {slot.transport for slot in found.slots} == {"local", "serial", "ssh"}
    assert (found.operator, found.database) == ("anna", "postgresql://rig@db.example/factory")


@pytest.mark.parametrize(
    "keys",
    [
        plan.STATION_KEYS,
        plan.AMAZON_KEYS,
        plan.PRODUCT_KEYS,
        plan.DSN_KEYS,
        plan.PLAN_KEYS,
        plan.STEP_KEYS,
        plan.LIMIT_KEYS,
        plan.GOLDEN_KEYS,
        plan.SLOT_KEYS,
        local.KEYS,
    ],
)
def test_the_manual_has_each_key_with_its_explanation(keys: Sequence[Key]) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "factory.md").read_text()

    missing = [key.name for key in keys if f"| `{key.name}` | {key.explanation} |" not in manual]
    unsaid = [key.name for key in keys if key.is_required and f"{key.explanation} | required |" not in manual]
    assert (missing, unsaid) == ([], [])
