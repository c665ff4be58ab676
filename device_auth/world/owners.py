"""Files of another user, touched with that user's rights only: root does nobody's errand.

A user leads a root that opens his path to any file: by a symbolic link, by the journal that SQLite finds beside a
database, by a path in a configuration. So the work is done in a child of this process, which has become that user for
good before its first look. Parent and child exchange JSON alone: the child reads that user's files, and the parent
believes nothing that could run. Where threads run, which a fork would not survive, ``files.Folder.open_for_leader`` and
``files.open_plain`` open a path once and look at what it led to.

Source: fork(2), setresuid(2), credentials(7); ptrace(2) and prctl(2), ``PR_SET_DUMPABLE``: a process that has changed
its user cannot be traced by that user.
"""

import json
import logging
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from device_auth.core import errors
from device_auth.core.errors import DeviceAuthError, StoreError, trace_of
from device_auth.core.values import dataclass

if TYPE_CHECKING:
    from socket import socket

log = logging.getLogger(__name__)

ROOT: Final = 0

MOST_LINKS: Final = 40
"""As many symbolic links as the kernel follows on one way. Source: path_resolution(7)."""

Json = Any
"""What passes between the two processes."""

Question = Callable[[Json], Json]
"""Puts a question to the process that started this one, and returns the answer."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user and a group by their numbers."""

    uid: int
    gid: int


class ChildBroke(RuntimeError):
    """The child ended without an answer: a bug, which it has logged."""


def owner_of(path: Path, *, is_there: bool = False) -> Owner:
    """Return the user who may lead this path elsewhere: the first on the way who is not root; else root.

    Args:
        path: need not exist.
        is_there: what it led to is open already; so if it is not there now, somebody has just led it elsewhere.

    Raises:
        StoreError: if everybody may, or it was led elsewhere.
    """
    left, here, links = _parts(path.absolute()), Path("/"), 0
    while left:
        name = left.pop()
        here = here.parent if name == ".." else here / name
        try:
            found = here.lstat()
        except (FileNotFoundError, NotADirectoryError):
            if is_there:
                raise StoreError(f"{path} was just moved", hint="Check the path.") from None
            break
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", "not a valid path")
            raise StoreError(f"cannot follow {path}: {reason}", hint="Check the path.") from error
        if found.st_uid != ROOT:
            return Owner(found.st_uid, found.st_gid)
        if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise StoreError(
                f"anyone may put files into {here}", hint=f"Use another folder, or run: chmod o-w {here}"
            )
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MOST_LINKS:
                raise StoreError(f"{path} leads through too many symbolic links", hint="Check the path.")
            target = here.readlink()
            here = Path("/") if target.is_absolute() else here.parent
            left += _parts(target)
    return Owner(ROOT, ROOT)


def groups_of(owner: Owner) -> list[int]:
    """Return a user's groups, the first one first; those of a user without an account are the owner's alone."""
    import pwd

    try:
        user = pwd.getpwuid(owner.uid)
    except KeyError:
        return [owner.gid]
    return [user.pw_gid, *os.getgrouplist(user.pw_name, user.pw_gid)]


def belongs_to_another(path: Path) -> bool:
    """Return whether this process is root, and another user may lead this path elsewhere."""
    return os.geteuid() == ROOT and owner_of(path).uid != ROOT


def as_owner(
    path: Path, job: Callable[[Question], Json], answer: Question = lambda question: question
) -> Json:
    """Do a job on a path as the user whom it belongs to: where this process is root, in a child; else in this process.

    Args:
        path: decides whose rights the job has.
        job: is given a function that puts questions to this process; returns JSON.
        answer: answers the questions.

    Returns:
        What the job returned.

    Raises:
        DeviceAuthError: if the job raised one, or the answer to one of its questions.
        ChildBroke: if it had a bug.
    """
    if os.geteuid() != ROOT:
        return job(answer)
    owner = owner_of(path)
    return job(answer) if owner.uid == ROOT else _in_a_child(owner, job, answer)


# ---------------------------------------------------------------------------------------------------------
# The two processes


def _in_a_child(owner: Owner, job: Callable[[Question], Json], answer: Question) -> Json:
    import socket

    from device_auth.world.signals import blocked

    ours, theirs = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with blocked():  # or a handler of this process's would run in the child, and what it raises
        child = os.fork()
        if child == 0:
            ours.close()
            _be(owner, theirs, job)
    theirs.close()
    try:
        with ours:
            return _serve(ours, answer)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(child, 15)
        raise
    finally:
        os.waitpid(child, 0)


def _serve(ours: "socket", answer: Question) -> Json:
    """Answer the child's questions until it has a result."""
    unread = b""
    while True:
        while b"\n" not in unread:
            piece = ours.recv(65536)
            if not piece:
                raise ChildBroke("the child process ended without a result")
            unread += piece
        line, _, unread = unread.partition(b"\n")
        message = json.loads(line)
        if "question" not in message:
            return _result_of(message)
        try:
            reply = {"result": answer(message["question"])}
        except DeviceAuthError as error:
            reply = {"error": _fields_of(error)}
        ours.sendall(_line(reply))


def _be(owner: Owner, theirs: "socket", job: Callable[[Question], Json]) -> NoReturn:
    """Become the user, do the job, send its result and end."""
    exit_code = 1
    try:
        import signal

        from device_auth.world.signals import HELD_BACK

        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        replies = theirs.makefile("rb")

        def ask(question: object) -> Json:
            theirs.sendall(_line({"question": question}))
            return _result_of(json.loads(replies.readline()))

        try:
            _become(owner)
            message: dict[str, Json] = {"result": job(ask)}
        except DeviceAuthError as error:
            message = {"error": _fields_of(error)}
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        theirs.sendall(_line(message))
        exit_code = 0
    except BaseException as error:  # noqa: BLE001  the parent's work must not go on in the child
        # Without the error's own text: it might hold a secret.
        at = trace_of(error)[-1]
        if not isinstance(error, KeyboardInterrupt):
            file = at.tb_frame.f_code.co_filename
            log.error("a bug in this program: %s in %s:%s", type(error).__name__, file, at.tb_lineno)
    finally:
        os._exit(exit_code)


def _become(owner: Owner) -> None:
    """Take a user's identity with the groups that it has, for good."""
    groups = groups_of(owner)
    gid = groups[0]
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(owner.uid, owner.uid, owner.uid)
    except OSError as error:
        raise StoreError(
            f"cannot become the user whom the files belong to (uid {owner.uid}): {error.strerror}",
            hint=f"Run this as that user: sudo -u '#{owner.uid}' device-auth …",
        ) from error


def _line(message: dict[str, Json]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _result_of(message: Json) -> Json:
    if "error" in message:
        raise _error_of(message["error"])
    return message["result"]


def _fields_of(error: DeviceAuthError) -> dict[str, str]:
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return {"kind": known.__name__, "message": str(error), "hint": error.hint}


def _error_of(fields: dict[str, str]) -> DeviceAuthError:
    kind = getattr(errors, fields["kind"], DeviceAuthError)
    if not (isinstance(kind, type) and issubclass(kind, DeviceAuthError)):
        kind = DeviceAuthError
    return kind(fields["message"], hint=fields["hint"])


def _parts(path: Path) -> list[str]:
    """Return the names of a path, the first one last."""
    return [part for part in reversed(path.parts) if part != "/"]
