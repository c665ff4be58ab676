# Sourced by root in mount and PID namespaces of its own: a real systemd, a user's manager, without a machine that is booted for it.
# Its units lie in /run/units. Nothing is left at the end.
set -uo pipefail
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/user /run/units
export XDG_RUNTIME_DIR=/run/user SYSTEMD_UNIT_PATH=/run/units:/usr/lib/systemd/user SYSTEMD_IGNORE_CHROOT=1 LC_ALL=C.UTF-8

start_manager() { # 77: not on this machine
    /lib/systemd/systemd --user &>/dev/null &
    manager=$!
    until systemctl --user show --property=Version &>/dev/null; do
        kill -0 $manager 2>/dev/null || { echo "a manager does not start on this machine" >&2; exit 77; }
        sleep 0.1
    done
}

wait_until() {
    local end=$((SECONDS + 300))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within five minutes: $*"; exit 1; }
        sleep 0.1
    done
}
