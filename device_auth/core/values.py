"""Frozen, slotted dataclasses, made in a twentieth of the time.

A speaker makes the classes of its values again at each start. The standard library writes six functions for each of
them as text and compiles it, and loads ``inspect`` to do so; here all classes share their functions. A class that is made
often gets a constructor and a ``__replace__`` of its own after all: they take a fifth and a third of the time.

To a type checker these *are* the standard library's. Of it there is what is used: ``frozen=True, slots=True``,
``eq=False``, defaults that do not change, ``field(default=…, repr=False)``, ``replace``. The standard library's own
tools (``dataclasses.replace``, ``fields``, ``asdict``) take these values too.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeVar

__all__ = ["dataclass", "field", "replace"]

T = TypeVar("T")

_NONE_GIVEN: Final = object()

_OFTEN: Final = 1000
"""Values of a class before it gets functions of its own: no verb makes so many, a simulated fleet does at once."""

_made_so_far: Final[dict[type, int]] = {}


class _Field(NamedTuple):
    default: object = _NONE_GIVEN
    repr: bool = True


def _dataclass(*, frozen: bool, slots: bool, eq: bool = True) -> Callable[[type[T]], type[T]]:
    assert frozen, "a value does not change"  # noqa: S101  our own bug
    assert slots, "a value has no room for more"  # noqa: S101  our own bug

    def make(described: Any) -> Any:
        names = tuple(described.__annotations__)
        members = {
            name: member
            for name, member in vars(described).items()
            if name not in {"__dict__", "__weakref__"}
        }
        given = {name: members.pop(name) for name in names if name in members}
        fields = {name: it if isinstance(it, _Field) else _Field(it) for name, it in given.items()}
        members |= _SHARED | (_COMPARED if eq else {})
        members |= {
            "__qualname__": described.__qualname__,
            "__slots__": names,
            "__match_args__": names,
            "__field_defaults__": {
                name: it.default for name, it in fields.items() if it.default is not _NONE_GIVEN
            },
            "__fields_not_shown__": {name for name, it in fields.items() if not it.repr},
        }
        # made again, as the standard library does it: slots cannot be added to a class that is there
        made = type(described)(described.__name__, described.__bases__, members)
        made.__setters__ = tuple(getattr(made, name).__set__ for name in names)
        if len(names) > 1:  # of one name it returns no tuple
            made.__values__ = attrgetter(*names)
        return made

    return make


def _replace(value: Any, /, **changes: object) -> Any:
    try:
        change = value.__replace__
    except AttributeError:  # a value of the standard library's, which has none before Python 3.13
        return _replace_some(value, **changes)
    return change(**changes)


def _values_of(value: Any) -> list[object]:
    read = getattr(value, "__values__", None)
    return [getattr(value, name) for name in value.__match_args__] if read is None else [*read(value)]


# ---------------------------------------------------------------------------------------------------------
# The functions of every value


def _init(self: Any, /, *values: object, **named: object) -> None:
    setters = self.__setters__
    if named or len(values) != len(setters):
        values = _arrange(self, values, named)
    for set_field, value in zip(setters, values, strict=True):
        set_field(self, value)
    kind = type(self)
    _made_so_far[kind] = so_far = _made_so_far.get(kind, 0) + 1
    if so_far == _OFTEN:
        _write_functions(kind)


def _write_functions(kind: Any) -> None:
    """Write a constructor and ``__replace__`` for this class alone.

    A value is filled while it is of a class that can be changed: to set a slot of a frozen one takes four times as long.
    """
    names, defaults = kind.__match_args__, kind.__field_defaults__
    thawed = type(
        kind.__name__,
        (kind,),
        {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__},
    )
    known = {"_new": object.__new__, "_thawed": thawed, "_kind": kind, "_kept": _NONE_GIVEN}
    known |= {f"_default_{name}": default for name, default in defaults.items()}
    given = "".join(f", {name}=_default_{name}" if name in defaults else f", {name}" for name in names)
    changed = "".join(f", {name}=_kept" for name in names)
    values = ", ".join(f"_self.{name} if {name} is _kept else {name}" for name in names)
    lines = [
        f"def __new__(_kind{given}):",
        " _made = _new(_thawed)",
        *(f" _made.{name} = {name}" for name in names),
        " _made.__class__ = _kind",
        " return _made",
        f"def __replace__(_self{changed}): return _kind({values})",
    ]
    exec("\n".join(lines), known)  # noqa: S102  the names of our own fields
    kind.__new__, kind.__replace__ = known["__new__"], known["__replace__"]
    kind.__init__ = object.__init__


def _arrange(made: Any, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
    """Return a value for each field, in order."""
    names = made.__match_args__
    first = dict(zip(names, values, strict=False))
    filled = {**made.__field_defaults__, **first, **named}
    if len(values) > len(names) or filled.keys() != set(names) or first.keys() & named.keys():
        raise TypeError(f"{type(made).__name__} is made of: {', '.join(names)}")
    return tuple(filled[name] for name in names)


def _refuse(self: object, name: str, _value: object = None) -> NoReturn:
    raise AttributeError(f"a {type(self).__name__} does not change: {name}")


def _replace_some(self: Any, /, **changes: object) -> Any:
    names, values = self.__match_args__, _values_of(self)
    for name, changed in changes.items():
        if name not in names:
            return type(self)(*values, **changes)  # which raises TypeError
        values[names.index(name)] = changed
    return type(self)(*values)


def _repr(self: Any) -> str:
    shown = (
        f"{name}={getattr(self, name)!r}"
        for name in self.__match_args__
        if name not in self.__fields_not_shown__
    )
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: object, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _values_of(self) == _values_of(other)


def _hash(self: object) -> int:
    return hash(tuple(_values_of(self)))


def _reduce(self: object) -> tuple[type, tuple[object, ...]]:
    return type(self), tuple(_values_of(self))


class _MadeWhenAsked:
    """The member by which the standard library's tools know a dataclass."""

    def __get__(self, _value: object, kind: Any) -> Mapping[str, Any]:
        import dataclasses

        described = [
            (
                name,
                kind.__annotations__[name],
                dataclasses.field(
                    default=kind.__field_defaults__.get(name, dataclasses.MISSING),
                    repr=name not in kind.__fields_not_shown__,
                ),
            )
            for name in kind.__match_args__
        ]
        twin: Any = dataclasses.make_dataclass(kind.__name__, described, kw_only=True)
        kind.__dataclass_fields__ = twin.__dataclass_fields__  # once for each class
        return twin.__dataclass_fields__  # type: ignore[no-any-return]  # not in the published types


_SHARED: Final[dict[str, Any]] = {
    "__init__": _init,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__repr__": _repr,
    "__reduce__": _reduce,
    "__replace__": _replace_some,
    "__dataclass_fields__": _MadeWhenAsked(),
}
_COMPARED: Final[dict[str, Any]] = {"__eq__": _eq, "__hash__": _hash}

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    dataclass, field, replace = _dataclass, _Field, _replace
