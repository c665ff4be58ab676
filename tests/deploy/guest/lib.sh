# What the guest scripts share; sourced by tests/deploy/job before each.

# check NAME COMMAND...: run it, and print "ok NAME" or "FAILED NAME: why" with the end of what it said.
check() {
    local name=$1 said status
    shift
    said=$("$@" 2>&1)
    status=$?
    if [ "$status" = 0 ]; then
        echo "ok $name"
    else
        echo "FAILED $name: exit $status: $*"
        echo "$said" | tail -n 20 | sed 's/^/    /'
    fi
}

# same NAME EXPECTED ACTUAL: compare two texts.
same() {
    if [ "$2" = "$3" ]; then
        echo "ok $1"
    else
        echo "FAILED $1: expected <$2>, was <$3>"
    fi
}

# wait_until SECONDS COMMAND...: until it succeeds; 1 when the time is over.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.5
    done
}

# state: the word that `device-auth status --json` gives.
state() {
    device-auth status --json | sed -n 's/.*"state": *"\([a-z]*\)".*/\1/p'
}

# install_from_clone: the command of the clone with the system's Python, at the place of the one of a virtual environment.
install_from_clone() {
    mkdir -p /opt/device-auth/bin /opt/device-auth/lib
    cp -rL /repository/device_auth /repository/hardware /opt/device-auth/lib/
    printf '%s\n' '#!/usr/bin/python3 -I' 'import sys' 'sys.path.insert(0, "/opt/device-auth/lib")' \
        'from device_auth.cli.main import main' 'sys.exit(main())' > /opt/device-auth/bin/device-auth
    chmod 755 /opt/device-auth/bin/device-auth
    ln -s /opt/device-auth/bin/device-auth /usr/local/bin/
    python3 -m compileall -q /opt/device-auth/lib
}
