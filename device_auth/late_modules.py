"""Modules of the standard library that are loaded when a member of them is first used, not when they are imported."""

import sys
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Final

_lock: Final = Lock()


class LateModule(ModuleType):
    """Stands in for a module until a member is used that it does not have itself: then it loads the module.

    An importer may keep it for ever, in any thread: it has the members of the module.

    Args:
        name: of a module, no package: the import system asks a package where its modules are. Within a package it must be
            imported by ``from``, as the package does not get it as a member.
        members: those that it has itself.
    """

    def __init__(self, name: str, **members: object) -> None:
        super().__init__(name)
        vars(self).update(members)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system asks for some, and can do without
            raise AttributeError(name)
        self.make_way()
        return getattr(import_module(self.__name__), name)

    def make_way(self) -> None:
        """Let the next import load the module itself."""
        with _lock:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]


def load_late(*names: str) -> None:
    """Let these modules be loaded at their first use, unless they are loaded."""
    for name in names:
        sys.modules.setdefault(name, LateModule(name))
