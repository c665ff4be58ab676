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

# settings: the speaker's settings file, as its maker writes it; it asks the simulated Amazon of amazon.service.
settings() {
    cat <<END
client_id = "amzn1.application-oa2-client.51000000000000000000000000000005"
product_id = "Speaker"
dsn = "G0001"
base_url = "http://127.0.0.1:8100/auth/O2/"
$*
END
}

# is_state WORD: whether the speaker is in this state.
is_state() {
    [ "$(state)" = "$1" ]
}

# is_up: whether socket and service are active, and nothing in the system has failed.
is_up() {
    systemctl is-active device-auth.socket device-auth.service && [ "$(systemctl is-system-running)" = running ]
}

# start_took: the time of the last start from ExecStart to READY, in milliseconds.
start_took() {
    echo $((($(systemctl show -P ActiveEnterTimestampMonotonic device-auth.service) -
        $(systemctl show -P ExecMainStartTimestampMonotonic device-auth.service)) / 1000))
}

# link_speaker: as an administrator who is not root, by the socket.
link_speaker() {
    id ann >/dev/null 2>&1 || useradd --groups device-auth-client,device-auth-admin ann
    timeout 300 sudo -u ann device-auth link --json
}

# token_of: the access token that the socket hands out.
token_of() {
    curl -s --max-time 30 --unix-socket /run/device-auth/api.sock http://localhost/v1/token | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p'
}

# is_token TEXT: whether it is one of the simulated Amazon's.
is_token() {
    case $1 in
        "Atza|Sim"* | "Sim|"*) return 0 ;;
        *) echo "no token: <${1:0:20}>"; return 1 ;;
    esac
}

# install_deb FILE: as its owner would, without a question and without a network.
install_deb() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --allow-downgrades "$@" </dev/null
}

# files_of_system: each file with owner, mode and, in /etc, its content; without what a running system writes by itself.
# Users and groups stay after a purge: Debian's custom.
files_of_system() {
    find / -xdev \( -path /given -o -path /root/seen -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg \
        -o -path /var/lib/apt -o -path /var/lib/amazon -o -path /tmp -o -path /var/tmp \) -prune -o \
        ! -path '/etc/*' \( ! -path '/var/lib/systemd/*' -o -path '/var/lib/systemd/deb-*' \) -printf '%y %u:%g %m %p %l\n' | LC_ALL=C sort
    find /etc ! -name 'passwd*' ! -name 'group*' ! -name 'shadow*' ! -name 'gshadow*' ! -name 'sub?id*' \
        -printf '%y %u:%g %m %p %l\n' | LC_ALL=C sort
    find /etc -type f ! -name 'passwd*' ! -name 'group*' ! -name 'shadow*' ! -name 'gshadow*' ! -name 'sub?id*' \
        -exec sha256sum {} + | LC_ALL=C sort -k 2
    find /run -path /run/device-auth -print
    systemctl list-unit-files --no-legend --plain 'device-auth*'
}
