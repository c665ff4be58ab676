"""Who may do what, and who the kernel says it is."""

import grp
import os
import socket

import pytest

from device_auth.service.callers import Caller, Permissions, Role, read_caller, read_permissions

PERMISSIONS = Permissions(readers=10, administrators=20, own_uid=500)


@pytest.mark.parametrize(
    ("uid", "gids", "role"),
    [
        (0, {0}, Role.ADMINISTRATOR),
        (500, {500}, Role.ADMINISTRATOR),
        (1000, {1000, 20}, Role.ADMINISTRATOR),
        (1000, {10, 20}, Role.ADMINISTRATOR),
        (1000, {1000, 10}, Role.READER),
        (1000, {1000, 0}, Role.UNPRIVILEGED),
        (20, {500}, Role.UNPRIVILEGED),
        (1000, set(), Role.UNPRIVILEGED),
    ],
)
def test_groups_decide_what_a_caller_may(uid: int, gids: set[int], role: Role) -> None:
    assert PERMISSIONS.role_of(Caller(uid, frozenset(gids))) is role


@pytest.mark.parametrize("gids", [{0}, {1000, 10, 20}, set()])
def test_a_group_that_does_not_exist_has_no_members(gids: set[int]) -> None:
    permissions = Permissions(readers=None, administrators=None, own_uid=500)

    assert permissions.role_of(Caller(1000, frozenset(gids))) is Role.UNPRIVILEGED


def test_permissions_are_read_from_the_names_of_groups() -> None:
    group = grp.getgrgid(os.getgid())

    permissions = read_permissions(group.gr_name, "no such group")

    assert permissions == Permissions(readers=group.gr_gid, administrators=None, own_uid=os.geteuid())


def test_the_kernel_knows_who_we_are() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        caller = read_caller(ours)

    assert caller == Caller(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))
