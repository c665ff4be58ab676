# Each row of the table of starts in device-auth.service(8): what becomes of the unit, what the light shows, what `status` says.
# boot: rw systemd.wants=amazon.service
# limit: 1500
home=/var/lib/device-auth
drop_ins=/etc/systemd/system/device-auth.service.d
config=/etc/device-auth/config.toml
led=/sys/class/leds/input0::capslock

# The page itself says what is expected: a row a line, and the text that the kernel is given for the light.
python3 -B - > /run/rows <<'END'
import sys
sys.path.insert(0, "/repository/deploy/man")
import write_pages
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.light import TABLE
from hardware.kernel_led import pattern_text
for row in write_pages.SERVICE["starts"]:
    unit, light, sentence = write_pages.seen_at(row)
    state, trouble = row.get("state", "-"), row.get("trouble", "none")
    if light != "dark":
        light = pattern_text(TABLE[Trouble(trouble) if trouble != "none" else StateWord(state)], 1)
    print(row["cause"], unit, state, trouble, light, sentence, sep="|")
END

# shown: what the light shows now, in the same words.
shown() {
    if grep -q '\[pattern\]' $led/trigger; then
        cat $led/pattern
    elif [ "$(cat $led/brightness)" = 0 ]; then
        echo "dark"
    else
        echo "lit"
    fi
}

# seen STATE: unit, state and trouble of the speaker as it is, in the words of a row; a state that the row does not name is passed over.
seen() {
    local sub status
    sub=$(systemctl show -P SubState device-auth.service)
    status=$(systemctl show -P ExecMainStatus device-auth.service)
    case $sub in
    auto-restart*) echo "starts again: $status|-|none" ;;
    failed) echo "failed: $status|-|none" ;;
    running) timeout 20 device-auth status --json | sed -n 's/.*"state": *"\([a-z]*\)", *"trouble": *"\([a-z-]*\)".*/active|\1|\2/p' |
        if [ "$1" = - ]; then sed 's/|[a-z]*|/|-|/'; else cat; fi ;;
    *) echo "$sub" ;;
    esac
}

# tells SENTENCE: whether `status` says it; what it says stays, as one line.
tells() {
    device-auth status | tr -s ' \n' ' ' | sed 's/restarts so far: [0-9]*/restarts so far: N/' > /run/told
    grep -F "$1" /run/told
}

light_is() {
    [ "$(shown)" = "$1" ]
}

begin() {
    systemctl daemon-reload
    systemctl stop device-auth.socket device-auth.service
    systemctl reset-failed device-auth.socket device-auth.service 2>/dev/null
    timeout 60 systemctl start device-auth.socket
    timeout 60 systemctl start device-auth.service
}

# row NAME CAUSE [press]: start the speaker as it is now, press, and compare with the row of the page. What stays as it is for
# ten looks is not waited for any longer.
row() {
    local name=$1 unit state trouble light sentence came last looks=0 end=$((SECONDS + 150))
    IFS='|' read -r _ unit state trouble light sentence <<< "$(grep -F "$2|" /run/rows)"
    begin
    [ "$3" != press ] || wait_until 100 device_auth_answers
    [ "$3" != press ] || curl -s -o /dev/null --max-time 30 -X POST --unix-socket /run/device-auth/api.sock http://localhost/v1/link
    while came=$(seen "$state"); [ "$came" != "$unit|$state|$trouble" ] && [ $looks -lt 10 ] && [ $SECONDS -lt $end ]; do
        [ "$came" = "$last" ] || looks=0
        last=$came looks=$((looks + 1))
        sleep 0.5
    done
    same "start-$name" "$unit|$state|$trouble" "$came"
    wait_until 10 light_is "$light"
    same "light-$name" "$light" "$(shown)"
    # What fails is started again after ten seconds.
    wait_until 40 tells "$sentence"
    check "told-$name" grep -F "$sentence" /run/told
    cut -c 1-400 /run/told
}

device_auth_answers() {
    device-auth status --json | grep -q '"trouble"'
}

# good_settings [LINE...]: lines that stand above the tables.
good_settings() {
    settings "$@" > $config
    printf '[hardware.light]\nkind = "kernel"\nname = "input0::capslock"\n' >> $config
    chown root:device-auth $config
    chmod 640 $config
}

# disk TYPE: a disk of its own for the state folder, given to the service where it has owners.
disk() {
    systemctl stop device-auth.socket device-auth.service
    umount $home 2>/dev/null
    case $1 in
    ext4)
        mount /dev/vdb $home || exit 1 # or what is to be filled is the root
        chown device-auth:device-auth-client $home
        chmod 700 $home
        ;;
    vfat)
        mkfs.vfat -C /run/disk 8192 >/dev/null
        mount -o loop /run/disk $home || exit 1
        ;;
    esac
}

no_disk() {
    systemctl stop device-auth.socket device-auth.service
    umount $home
}

install_deb /given/debs/*.deb > /run/installing 2>&1
install -D -m 644 /usr/share/device-auth/drop-ins/boards/kernel-led.conf $drop_ins/board.conf
udevadm trigger --settle --subsystem-match=leds

rm -f $config
row no-settings "There is no settings file, or it cannot be read"
echo 'this is [no TOML' > $config
row broken-settings "There is no settings file, or it cannot be read"
good_settings && chown root:root $config && chmod 600 $config
row unreadable-settings "There is no settings file, or it cannot be read"
good_settings 'scope = 5'
row wrong-setting "A setting is wrong"

good_settings
disk ext4 && mount -o remount,ro $home
row read-only-disk "The disk is read-only or full: told at the first press, or at the next save of a link" press
disk ext4
fallocate -l "$(df --output=avail -B1 $home | tail -n 1)" $home/filling
dd if=/dev/zero of=$home/filling-too bs=4k 2>/dev/null
row full-disk "The disk is read-only or full: told at the first press, or at the next save of a link" press
disk vfat
row foreign-disk "The state folder cannot be made, or given to the service"
no_disk
mv $home $home.kept && ln -s /media/nowhere/device-auth $home
row missing-disk "The state folder cannot be made, or given to the service"
rm $home && mv $home.kept $home

systemctl stop device-auth.socket device-auth.service
exec 9< $home
flock 9
row lock-held "Another program holds the lock of the state folder"
exec 9<&-
check lock-given-back wait_until 100 is_state unlinked

good_settings
printf '[hardware.button]\npin = 17\npull = "up"\nactive = "low"\n' >> $config
row missing-part "A part does not answer"
good_settings
rm $drop_ins/board.conf
row missing-drop-in "The drop-in of the board is missing"
install -D -m 644 /usr/share/device-auth/drop-ins/boards/kernel-led.conf $drop_ins/board.conf

python3 -c 'import socket, time; held = socket.create_server(("0.0.0.0", 8099)); time.sleep(1500)' &
holder=$!
good_settings 'page = { listen = ["0.0.0.0:8099"] }'
row port-taken "The port of the page is taken: told in the log alone"
check port-taken-is-logged journalctl -q -u device-auth.service --grep 'cannot serve the page'
kill $holder

good_settings
systemctl stop device-auth.socket device-auth.service
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("/run/device-auth/api.sock")'
row socket-left "A socket file is left over"

sed -i '/^base_url/d' $config
row no-network "There is no network" press

device-auth simulator --tls /run/tls --port 8443 > /run/amazon 2>&1 &
amazon=$!
check amazon-with-tls wait_until 120 test -s /run/tls/ca.pem
install -m 644 /run/tls/ca.pem /etc/device-auth/ca.pem
good_settings 'ca_file = "/etc/device-auth/ca.pem"'
sed -i 's,^base_url.*,base_url = "https://localhost:8443/auth/O2/",' $config
now=$(date +%s)
date -s @1000 >/dev/null
row clock-at-1970 "The clock is not set" press
date -s "@$now" >/dev/null
kill $amazon

good_settings
printf '[Service]\nSupplementaryGroups=nobodys-group\n' > $drop_ins/test.conf
row missing-group "A group that a drop-in names is missing"
printf '[Service]\nExecStart=\nExecStart=/usr/bin/device-auth run --nonsense\n' > $drop_ins/test.conf
row wrong-command-line "The command line is wrong"
rm $drop_ins/test.conf
mkdir -p /etc/credstore.encrypted
echo nonsense > /etc/credstore.encrypted/device-auth.key
row broken-credential "A credential cannot be opened"
rm /etc/credstore.encrypted/device-auth.key

begin
check good-again wait_until 100 is_state unlinked
same good-light dark "$(shown)"
