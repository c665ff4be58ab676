# What status, token and the doctor tell of a service that is down, fails or hangs, and how soon.
# limit: 900
unit=device-auth.service
socket=device-auth.socket
both="$socket $unit"
mkdir -p /root/seen /etc/systemd/system/$unit.d /etc/systemd/system/$socket.d
cd /root/seen

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

# asked NAME COMMAND...: keep what it says, its exit status and how long it took; print all that for people.
asked() {
    local name=$1 began
    shift
    began=$(milliseconds)
    "$@" > "$name" 2>&1
    echo $? > "$name.exit"
    echo $(($(milliseconds) - began)) > "$name.took"
    echo "--- $name: exit $(cat "$name.exit") after $(cat "$name.took") ms: $*"
    sed 's/^/    /' "$name" | cut -c 1-300 | head -n 12
}

# is_soon NAME: it took two seconds at the most, and what a start of the program takes on this slow machine.
is_soon() {
    local took start
    took=$(cat "$1.took")
    start=$(cat start.took)
    [ "$took" -le $((2000 + 6 * start)) ] || { echo "$took ms; a start takes $start ms"; return 1; }
}

# shows: what systemd knows, as the tests of this project have it word for word.
shows() {
    echo "--- systemctl show ($suite, $(systemctl --version | head -n 1)):"
    systemctl show $both --no-pager --property=Id,LoadState,UnitFileState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts,MainPID,Job,DeviceAllow,DropInPaths
}

# asked_until CAUSE NAME COMMAND...: as asked; again if systemctl was too slow on this machine for the time that a status has.
asked_until() {
    local cause=$1 times
    shift
    for times in 1 2 3; do
        asked "$@"
        grep -qF "$cause" "$1" && break
    done
}

# tells CASE WORD CAUSE: status, --json, --check, token and doctor tell this cause, each soon but the doctor.
tells() {
    shows
    asked_until "$3" "$1-status" device-auth status
    asked_until "$3" "$1-json" device-auth status --json
    asked_until "$3" "$1-check" device-auth status --check
    asked_until "$3" "$1-ordinary" sudo -u ann device-auth status
    asked "$1-doctor" device-auth doctor --json
    for way in status json check ordinary; do
        check "$1-$way-is-soon" is_soon "$1-$way"
        check "$1-$way-names-the-cause" grep -qF "$3" "$1-$way"
    done
    check "$1-json-has-the-word" grep -q "\"service\": \"$2\"" "$1-json"
    same "$1-check-exit" 75 "$(cat "$1-check.exit")"
    same "$1-doctor-begins-with-the-service" D "$(first_failure "$1-doctor")"
    check "$1-doctor-names-the-cause" grep -qF "$3" "$1-doctor"
}

first_failure() {
    python3 -c 'import json, sys; print(next((each["code"][0] for each in json.load(open(sys.argv[1]))["findings"] if each["verdict"] == "fail"), "none"))' "$1"
}

# fails_by DROP-IN-LINES...: make the service fail.
fails_by() {
    printf '%s\n' '[Service]' "$@" > /etc/systemd/system/$unit.d/test.conf
    systemctl daemon-reload
    systemctl restart --no-block $unit
    wait_until 60 sh -c "systemctl show $unit --property=SubState | grep -q auto-restart"
}

# mends CASE: put everything back, and see that the service answers again.
mends() {
    rm -f /etc/systemd/system/$unit.d/test.conf /etc/systemd/system/$socket.d/test.conf
    systemctl daemon-reload
    systemctl reset-failed $both
    systemctl restart $both
    check "$1-is-mended" wait_until 60 is_answering
}

is_answering() {
    device-auth status --json > answering && ! grep -q '"service"' answering
}

install_deb /given/debs/*.deb > installing 2>&1 || cat installing
useradd --groups device-auth-client ann
check installed-answers wait_until 60 is_answering
asked start device-auth --version
asked well-status device-auth status
check well-is-soon is_soon well-status
shows

fails_by ExecStart= ExecStart=/opt/no-such-program
tells missing-program failing "203/EXEC, its program is missing"
asked missing-program-token device-auth token
same missing-program-token-exit 75 "$(cat missing-program-token.exit)"
check missing-program-token-names-the-cause grep -qF "203/EXEC" missing-program-token
asked missing-program-unlink device-auth unlink
check missing-program-unlink-names-the-cause grep -qF "203/EXEC" missing-program-unlink
mends missing-program

fails_by SupplementaryGroups=no-such-group
tells missing-group failing "216/GROUP, a group"
check missing-group-doctor-names-the-group grep -qF "names the group no-such-group" missing-group-doctor
same missing-group-doctor-advises-no-chown 0 "$(grep -c 'sudo chown' missing-group-doctor)"
mends missing-group

fails_by User=no-such-user
tells missing-user failing "217/USER, the user"
mends missing-user

kill -STOP "$(systemctl show $unit --property=MainPID --value)"
tells stopped-process not-answering "is stopped by a signal"
asked stopped-process-unlink device-auth unlink
same stopped-process-unlink-exit 75 "$(cat stopped-process-unlink.exit)"
kill -CONT "$(systemctl show $unit --property=MainPID --value)"
check stopped-process-goes-on wait_until 60 is_answering

printf '%s\n' '[Socket]' SocketGroup=no-such-group > /etc/systemd/system/$socket.d/test.conf
systemctl stop $both
systemctl daemon-reload
systemctl start $both
tells failed-socket failed "Its socket failed"
mends failed-socket

systemctl stop $both
tells stopped stopped "The service is stopped."
asked stopped-unlink device-auth unlink
same stopped-unlink-exit 0 "$(cat stopped-unlink.exit)"
mends stopped

systemctl stop $both
systemctl mask $both
tells masked masked "The service is masked"
systemctl unmask $both
mends masked

# The link of the service's user, whom nobody else is: root wipes it as that user.
store_link() {
    cd /repository && sudo -u device-auth env PYTHONPATH=/repository PYTHONDONTWRITEBYTECODE=1 python3 -c '
from pathlib import Path
from device_auth.world.store import FileStore
from tests.links import make_link
with FileStore(Path("/var/lib/device-auth")) as store:
    store.replace(make_link())
'
}
systemctl stop $both
check wiped-link-is-there store_link
asked wipe device-auth unlink --wipe
same wiped-exit 0 "$(cat wipe.exit)"
same wiped-nothing-is-left "" "$(find /var/lib/device-auth -name 'link.json*')"
mends wiped

echo "# changed" >> /usr/share/device-auth/device_auth/__main__.py
asked changed device-auth doctor --json
check changed-file-is-named grep -qF /usr/share/device-auth/device_auth/__main__.py changed
same changed-file-as-dpkg-says "??5??????   /usr/share/device-auth/device_auth/__main__.py" "$(dpkg -V device-auth)"
