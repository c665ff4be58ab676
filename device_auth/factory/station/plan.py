"""A station's file, station.toml: read once, every fault of it told at once with its line, before anything is done to a unit.

The schema is the lists of keys here, and those of each transport in its own module (``KEYS``).
"""

import importlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from device_auth.core.errors import ConfigError
from device_auth.core.models import Monotonic, Seconds
from device_auth.factory.station.run_record import DsnRule, Product
from device_auth.factory.station.scanner import US_KEYS, read_layout
from device_auth.factory.station.transport import Halt, UnitTransport, of_form
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from device_auth.world.toml_lines import NotEditable, line_numbers
from hardware.errors import BadSetting
from hardware.settings import Key, ValueType, name_type, nearest, read_key

LARGEST_FILE: Final = 256 * 1024
"""Bytes of a station's file; more is some other file."""

MOST_SLOTS: Final = 256

DEFAULT_BUDGETS: Final[Mapping[str, Seconds]] = {
    "identity": Seconds(30),
    "selftest": Seconds(180),
    "link-test": Seconds(180),
    "wipe": Seconds(120),
    "lock": Seconds(120),
}
"""The steps that there are, each with the seconds that an attempt may take, in the order of the default plan."""

TRANSPORTS: Final[Mapping[str, str]] = {
    "local": "device_auth.factory.station.local",
    "serial": "device_auth.factory.station.serial",
    "ssh": "device_auth.factory.station.ssh",
}
"""The ways to a unit, each with its module, which has ``KEYS`` and ``make_transport``."""

MUST_DIFFER: Final = frozenset({"image-machine-id", "image-ssh-host-keys"})
"""Measurements that no two units share, unless a limit says otherwise: clones of one unit would."""

OPERATOR: Final = "operator"
"""Of ``answers``: a person is asked."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


if TYPE_CHECKING:
    from device_auth.factory.station.records.spool import StationRecords


class TransportModule(Protocol):
    """The module of a transport."""

    KEYS: Sequence[Key]

    def make_transport(
        self,
        settings: Mapping[str, Any],
        *,
        slot: str,
        folder: Path,
        now: Callable[[], Monotonic],
        halt: Halt,
    ) -> UnitTransport:
        """Return the way to the unit that is in a slot now.

        Args:
            settings: those of ``KEYS``, read.
            slot: its name.
            folder: of the station, for what a transport keeps.
            now: reads the clock of deadlines.
            halt: ends every wait.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """What a measurement must be.

    Attributes:
        minimum: not less; None where it has no such bound.
        maximum: not more; None where it has no such bound.
        is_unique: a text that no other unit has.
    """

    minimum: float | None = None
    maximum: float | None = None
    is_unique: bool = False


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step that every unit takes.

    Attributes:
        verb: its name, one of ``DEFAULT_BUDGETS``.
        budget: seconds of one attempt.
        attempts: at most so many.
        limits: of its measurements, by name; one that does not come fails too.
    """

    verb: str
    budget: Seconds
    attempts: int = 1
    limits: Mapping[str, Limit] = field(default_factory=dict)

    def limit_of(self, measurement: str) -> Limit:
        """Return what a measurement must be, also where the plan says nothing of it."""
        return self.limits.get(measurement, Limit(is_unique=measurement in MUST_DIFFER))


@dataclass(frozen=True, slots=True)
class GoldenUnits:
    """The units by which a station proves itself.

    Attributes:
        good: the DSNs of units that must pass.
        bad: the DSNs of units that must fail.
        shift: a proof counts for so long.
    """

    good: frozenset[str]
    bad: frozenset[str]
    shift: Seconds


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """A place for one unit.

    Attributes:
        name: as the operator reads it.
        transport: its module's name in ``TRANSPORTS``.
        settings: of the transport.
        camera: a picture in which its code is to be seen; None where the code is that of the talk.
        answers: who answers a unit's questions: ``OPERATOR``, ``yes`` (of simulated units alone), or a program with its
            arguments, which gets the slot, the DSN and the question as arguments and prints the answer.
    """

    name: str
    transport: str
    settings: Mapping[str, Any]
    answers: str | tuple[str, ...]
    camera: Path | None = None

    def make_transport(self, folder: Path, now: Callable[[], Monotonic], halt: Halt) -> UnitTransport:
        """Return the way to the unit that is in this slot now."""
        return _module_of(self.transport).make_transport(
            self.settings, slot=self.name, folder=folder, now=now, halt=halt
        )


@dataclass(frozen=True, slots=True)
class StationPlan:
    """A station's file, read.

    Attributes:
        station_id: its name in every record.
        folder: where its records and logs are.
        database: of all stations; empty if this one is alone.
        password_file: of that database; None where it asks for none.
        operator: who works here, until another badge is scanned.
        scanner: its device; None for standard input.
        keys: of its keyboard.
        listen: the address of this machine that the simulated Amazon listens on.
        port: of it, 0 for a free one.
        has_parts: whether the product has a light, a button or another part to test.
        image_digests: SHA-256 of files of its image that no unit may have.
        reach_within: seconds to open the way to a unit.
    """

    station_id: str
    folder: Path
    database: str
    password_file: Path | None
    operator: str
    scanner: Path | None
    keys: Mapping[int, str]
    listen: str
    port: int
    product: Product
    batch: str
    dsn_rule: DsnRule
    has_parts: bool
    image_digests: tuple[str, ...]
    reach_within: Seconds
    steps: tuple[PlannedStep, ...]
    golden: GoldenUnits | None
    slots: tuple[SlotPlan, ...]

    def open_records(self) -> "StationRecords":
        """Open the records of the station; one process at a time.

        Raises:
            Busy: if another process has them open.
            StoreError: if the folder cannot be used.
            ConfigError: if they belong to another station, or a package is missing.
        """
        from device_auth.factory.station.records.databases import read_address
        from device_auth.factory.station.records.spool import StationRecords

        database = read_address(self.database, self.password_file) if self.database else None
        return StationRecords(self.folder, self.station_id, self.dsn_rule, database)


# ---------------------------------------------------------------------------------------------------------
# The schema


_read_word: Final = of_form(r"[0-9A-Za-z_.-]{1,32}", "1 to 32 letters, digits, dots, _ or -")


def _read_seconds(given: float) -> Seconds:
    if not 0 < given <= 86_400:  # noqa: PLR2004  a day: no step of a line takes longer
        raise ValueError("must be above 0 and at most 86400 seconds")
    return Seconds(given)


def _read_answers(given: object) -> str | tuple[str, ...]:
    if isinstance(given, str) and given in {OPERATOR, "yes"}:
        return given
    if isinstance(given, list) and given and all(isinstance(word, str) and word for word in given):
        return tuple(given)
    raise ValueError('must be "operator", or a program and its arguments as a list of texts')


def _read_digests(given: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_DIGEST.fullmatch(digest) for digest in given):
        raise ValueError("must be digests as sha256sum prints them: 64 hexadecimal digits each")
    return given


STATION_KEYS: Final = (
    Key("id", explanation="The station's name in every record.", example="station-1", is_required=True, parse=_read_word),
    Key("folder", ValueType.PATH, explanation="Where its records are.", example="records", is_required=True),
    Key(
        "database",
        explanation="The database of all stations, without its password; none: this station is alone.",
        example="postgresql://rig@db.example/factory",
    ),
    Key(
        "database_password_file",
        ValueType.PATH,
        explanation="A file with its password, closed to others.",
        example="/etc/device-auth/database-password",
        default=None,
    ),
    Key("operator", explanation="Who works here, until a badge is scanned.", example="anna", parse=_read_word),
    Key(
        "scanner",
        ValueType.PATH,
        explanation="The scanner's own device; none: labels come by standard input.",
        example="/dev/input/by-id/usb-scanner-event-kbd",
        default=None,
    ),
    Key("keys", ValueType.TABLE, explanation="The keys of its keyboard that differ.", example={}, default=US_KEYS, parse=read_layout),
)  # fmt: skip

AMAZON_KEYS: Final = (
    Key(
        "listen",
        explanation="The address of this machine that the units reach the simulated Amazon by.",
        example="192.168.7.1",
        default="127.0.0.1",
    ),
    Key("port", ValueType.WHOLE, explanation="Its port; 0: a free one.", example=8443, default=0, within=range(65536)),
)  # fmt: skip

PRODUCT_KEYS: Final = (
    Key("name", explanation="The product's name in the records.", example="kitchen-speaker", is_required=True, parse=_read_word),
    Key("part_number", explanation="As it is sold.", example="KS-100"),
    Key("revision", explanation="Of the hardware.", example="B"),
    Key("batch", explanation="Of what is made now.", example="2026-48"),
    Key("product_id", explanation="In Amazon's developer console.", example="KITCHEN_SPEAKER", is_required=True),
    Key(
        "client_id",
        explanation="Of the security profile.",
        example="amzn1.application-oa2-client.51000000000000000000000000000005",
        is_required=True,
    ),
    Key("dsn", ValueType.TABLE, explanation="The form of its serial numbers.", example={}, default={}),
    Key("parts", ValueType.FLAG, explanation="Whether it has parts to test: a light, a button.", example=True, default=True),
    Key(
        "image_digests",
        ValueType.WORDS,
        explanation="SHA-256 of files of its image that no unit may have.",
        example=["0f" * 32],
        default=(),
        parse=_read_digests,
    ),
)  # fmt: skip

DSN_KEYS: Final = (
    Key("prefix", explanation="With which each begins.", example="KS"),
    Key("check_digit", ValueType.FLAG, explanation="Whether the last character is one.", example=True, default=False),
    Key("hyphens", ValueType.FLAG, explanation="Whether it may have hyphens.", example=False, default=False),
)  # fmt: skip

PLAN_KEYS: Final = (
    Key(
        "steps",
        ValueType.ANY,
        explanation="The steps, in order.",
        example=[{"verb": "identity"}],
        default=None,
    ),
    Key(
        "reach_within",
        ValueType.NUMBER,
        explanation="Seconds in which a unit must be reached.",
        example=30,
        default=Seconds(30),
        parse=_read_seconds,
    ),
    Key("golden", ValueType.TABLE, explanation="The units that prove the station.", example={}, default=None),
)

STEP_KEYS: Final = (
    Key("verb", explanation="Its name.", example="link-test", is_required=True, choices=tuple(DEFAULT_BUDGETS)),
    Key("budget", ValueType.NUMBER, explanation="Seconds of one attempt.", example=60, default=None, parse=_read_seconds),
    Key("attempts", ValueType.WHOLE, explanation="At most so many.", example=2, default=1, within=range(1, 11)),
    Key("limits", ValueType.TABLE, explanation="Of its measurements.", example={}, default={}),
)  # fmt: skip

LIMIT_KEYS: Final = (
    Key("minimum", ValueType.NUMBER, explanation="Not less.", example=0, default=None),
    Key("maximum", ValueType.NUMBER, explanation="Not more.", example=20, default=None),
    Key(
        "unique",
        ValueType.FLAG,
        explanation="No other unit has the same text; of `image-machine-id` and `image-ssh-host-keys` unless `false` stands here.",
        example=True,
        default=None,
    ),
)

GOLDEN_KEYS: Final = (
    Key(
        "good",
        ValueType.WORDS,
        explanation="DSNs of units that must pass.",
        example=["KS0001"],
        is_required=True,
    ),
    Key(
        "bad",
        ValueType.WORDS,
        explanation="DSNs of units that must fail.",
        example=["KS0002"],
        is_required=True,
    ),
    Key(
        "shift_hours",
        ValueType.NUMBER,
        explanation="For so long a proof counts.",
        example=8,
        default=Seconds(8 * 3600),
        parse=lambda hours: _read_seconds(hours * 3600),
    ),
)

SLOT_KEYS: Final = (
    Key("name", explanation="As the operator reads it.", example="slot-1", is_required=True, parse=_read_word),
    Key("transport", explanation="The way to its unit.", example="local", is_required=True, choices=tuple(TRANSPORTS)),
    Key("count", ValueType.WHOLE, explanation="So many alike: NAME-01 and on.", example=8, default=None, within=range(1, MOST_SLOTS + 1)),
    Key("answers", ValueType.ANY, explanation="Who answers a unit's questions.", example=OPERATOR, default=OPERATOR, parse=_read_answers),
    Key("camera", ValueType.PATH, explanation="The picture in which its code is to be seen.", example="/run/station/slot-1.jpg", default=None),
)  # fmt: skip

_TABLES: Final = {"station": True, "amazon": False, "product": True, "plan": False, "slot": True}
"""The tables at the top, and whether each must be there."""


# ---------------------------------------------------------------------------------------------------------
# Reading


def read_plan(path: Path) -> StationPlan:
    """Read a station's file.

    Raises:
        ConfigError: if it cannot be read, or with every fault that it has.
    """
    try:
        content, _ = read_plain(path, LARGEST_FILE + 1)
        text = content.decode()
        if len(content) > LARGEST_FILE:
            raise ConfigError(f"{path} is longer than {LARGEST_FILE} bytes", hint="Name a station's file.")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            explain(f"cannot read {path}", error), hint="docs/factory.md shows a station's file."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="Mend that line.") from error
    reader = _PlanReader(path, text)
    plan = reader.plan(table)
    if reader.faults or plan is None:
        faults = "\n  ".join(reader.sorted_faults())
        raise ConfigError(f"{path} has {len(reader.faults)} faults:\n  {faults}", hint="Mend each of them.")
    return plan


class _PlanReader:
    """Reads tables, and keeps every fault with its line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        try:
            self._lines = line_numbers(text)
        except NotEditable:
            self._lines = {}
        self.faults: list[tuple[int, str]] = []

    def sorted_faults(self) -> list[str]:
        """Return the faults in the order of their lines."""
        return [f"line {line}: {fault}" if line else fault for line, fault in sorted(self.faults)]

    def plan(self, table: Mapping[str, Any]) -> StationPlan | None:
        """Return the plan; None if a fault leaves too little of it."""
        for name in table:
            if name not in _TABLES:
                self._add((name,), f"there is no table {name!a}", nearest(name, _TABLES))
        for name, is_required in _TABLES.items():
            if is_required and name not in table:
                self._add((), f"[{name}] is missing", "")
        station = self._read("station", STATION_KEYS, table.get("station", {}), ("station",))
        amazon = self._read("amazon", AMAZON_KEYS, table.get("amazon", {}), ("amazon",))
        product = self._read("product", PRODUCT_KEYS, table.get("product", {}), ("product",))
        dsn = self._read("product.dsn", DSN_KEYS, product.get("dsn", {}), ("product", "dsn"))
        plan = self._read("plan", PLAN_KEYS, table.get("plan", {}), ("plan",))
        steps = self._steps(plan.get("steps"))
        golden = self._golden(plan.get("golden"))
        slots = self._slots(table.get("slot", []))
        if self.faults:
            return None
        return StationPlan(
            station_id=station["id"],
            folder=self._beside(station["folder"]),
            database=station["database"],
            password_file=None
            if station["database_password_file"] is None
            else self._beside(station["database_password_file"]),
            operator=station["operator"],
            scanner=station["scanner"],
            keys=station["keys"],
            listen=amazon["listen"],
            port=amazon["port"],
            product=Product(
                name=product["name"],
                part_number=product["part_number"],
                revision=product["revision"],
                product_id=product["product_id"],
                client_id=product["client_id"],
            ),
            batch=product["batch"],
            dsn_rule=DsnRule(product["name"], dsn["prefix"], dsn["check_digit"], dsn["hyphens"]),
            has_parts=product["parts"],
            image_digests=tuple(product["image_digests"]),
            reach_within=plan["reach_within"],
            steps=steps,
            golden=golden,
            slots=slots,
        )

    def _beside(self, path: Path) -> Path:
        """Return a path of the file, which counts from the file's own folder."""
        return self._path.absolute().parent / path

    def _steps(self, given: object) -> tuple[PlannedStep, ...]:
        if given is None:
            return tuple(PlannedStep(verb, budget) for verb, budget in DEFAULT_BUDGETS.items())
        if not isinstance(given, list) or not given:
            self._add(("plan", "steps"), f"plan: steps must be a list of tables, not {name_type(given)}", "")
            return ()
        steps = [self._step(number, table) for number, table in enumerate(given)]
        verbs = [step.verb for step in steps]
        order = list(DEFAULT_BUDGETS)
        known = [order.index(verb) for verb in verbs if verb in order]
        if len(set(verbs)) < len(verbs):
            self._add(("plan", "steps"), "plan: a step stands twice in steps", "Use attempts to repeat one.")
        elif known != sorted(known):
            self._add(("plan", "steps"), "plan: steps are out of order", f"The order is {', '.join(order)}.")
        if "lock" in verbs and "wipe" not in verbs:
            self._add(("plan", "steps"), "plan: lock needs wipe before it", "")
        return tuple(steps)

    def _step(self, number: int, table: object) -> PlannedStep:
        path = ("plan", "steps", number)
        read = self._read(f"plan: step {number + 1}", STEP_KEYS, table, path)
        verb = read.get("verb", "")
        limits = {}
        for name, each in cast("Mapping[str, object]", read.get("limits", {})).items():
            limit = self._read(f"limits of {name!a}", LIMIT_KEYS, each, (*path, "limits", name))
            unique = limit.get("unique")
            limits[name] = Limit(
                limit.get("minimum"), limit.get("maximum"), name in MUST_DIFFER if unique is None else unique
            )
        budget = read.get("budget") or DEFAULT_BUDGETS.get(verb, Seconds(60))
        return PlannedStep(verb, budget, read.get("attempts", 1), limits)

    def _golden(self, given: object) -> GoldenUnits | None:
        if given is None:
            return None
        read = self._read("plan.golden", GOLDEN_KEYS, given, ("plan", "golden"))
        good, bad = frozenset(read.get("good", ())), frozenset(read.get("bad", ()))
        if good & bad:
            self._add(("plan", "golden"), "plan.golden: a unit is both good and bad", "")
        return GoldenUnits(good, bad, read.get("shift_hours", Seconds(0)))

    def _slots(self, given: object) -> tuple[SlotPlan, ...]:
        if not isinstance(given, list):
            self._add(("slot",), "slot must be tables", "Write each below a line [[slot]].")
            return ()
        slots = [slot for number, table in enumerate(given) for slot in self._slot(number, table)]
        names = [slot.name for slot in slots]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._add(("slot",), f"two slots have the name {name}", "")
        if len(slots) > MOST_SLOTS:
            self._add(("slot",), f"there are more than {MOST_SLOTS} slots", "")
        return tuple(slots)

    def _slot(self, number: int, table: object) -> Iterable[SlotPlan]:
        path = ("slot", number)
        transport = table.get("transport") if isinstance(table, Mapping) else None
        own = _module_of(transport).KEYS if transport in TRANSPORTS else ()
        part = f"slot {number + 1}"
        if not own and isinstance(table, Mapping):
            # which other keys it may have is not known
            table = {name: value for name, value in table.items() if name in {key.name for key in SLOT_KEYS}}
        read = self._read(part, (*SLOT_KEYS, *own), table, path)
        if not {"name", "transport"} <= read.keys():
            return
        answers = read.get("answers", OPERATOR)
        if answers == "yes" and transport != "local":
            self._add((*path, "answers"), f'{part}: answers "yes" is for simulated units alone', "")
        settings = {
            key.name: self._beside(value) if isinstance(value, Path) else value
            for key in own
            if (value := read.get(key.name)) is not None
        }
        count = read.get("count")
        names = (
            [read["name"]] if count is None else [f"{read['name']}-{each:02}" for each in range(1, count + 1)]
        )
        for name in names:
            yield SlotPlan(name, read["transport"], settings, answers, read.get("camera"))

    def _read(
        self, part: str, keys: Iterable[Key], table: object, path: tuple[str | int, ...]
    ) -> dict[str, Any]:
        """Return what is right in a table, and note each fault."""
        if not isinstance(table, Mapping):
            self._add(path, f"{part} must be a table, not {name_type(table)}", "")
            return {}
        known = {key.name: key for key in keys}
        for name in table:
            if name not in known:
                self._add((*path, name), f"{part} has no setting {name!a}", nearest(str(name), known))
        read = {}
        for name, key in known.items():
            try:
                read[name] = read_key(part, key, table)
            except BadSetting as error:
                self._add((*path, name) if name in table else path, str(error), error.hint)
        return read

    def _add(self, path: tuple[str | int, ...], fault: str, hint: str) -> None:
        """Note a fault, with the line of its key or of the nearest table around it."""
        inner = (path[:length] for length in range(len(path), 0, -1))
        line = next((self._lines[each] for each in inner if each in self._lines), 0)
        self.faults.append((line, f"{fault}. {hint}".rstrip() if hint else fault))


def _module_of(transport: object) -> TransportModule:
    return cast("TransportModule", importlib.import_module(TRANSPORTS[str(transport)]))
