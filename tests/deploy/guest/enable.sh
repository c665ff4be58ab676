# A board switched on in both places by one command, changed, sealed under a key, interrupted, and switched off again.
# limit: 900

install_from_clone
# Lines made of numbers: which devices a drop-in opens is drop_ins.sh's to show.
cp -r /repository/tests/stand_ins/modules/gpiod /opt/device-auth/lib/
make --no-print-directory -C /repository/deploy/systemd install

drop_ins=/etc/systemd/system/device-auth.service.d
settings=/etc/device-auth/config.toml
device-auth simulator --port 8100 --approve-after 0 > /run/amazon 2>&1 &
cat > $settings <<'EOF'
# The kitchen's
client_id = "amzn1.application-oa2-client.0123456789abcdefghijklmnopqrstuv"   # of this product
product_id = "Kitchen"
dsn = "K-0001"
base_url = "http://127.0.0.1:8100/auth/O2/"

[hardware]
brightness = 0.5
EOF
chgrp device-auth $settings
chmod 640 $settings
check settings device-auth config check
enable() { device-auth hardware enable "$@" > /run/told 2>&1; }
pid() { systemctl show --property=MainPID --value device-auth.service; }
told() { grep -qF "$1" /run/told; }
is_state() { test "$(state)" = "$1"; }

# Before the service is switched on: the files alone.
check first enable generic-led
cat /run/told
check first-says-what-is-left told "sudo systemctl enable --now device-auth.socket device-auth.service"
same first-starts-nothing inactive "$(systemctl is-active device-auth.service)"
same settings-owner "640 root:device-auth" "$(stat -c '%a %U:%G' $settings)"
same comments-stay 2 "$(grep -c -e "^# The kitchen's" -e '# of this product' $settings)"
same board-is-set '"generic-led"' "$(sed -n 's/^board = //p' $settings)"
same library-is-set '"gpiod"' "$(sed -n 's/^gpio = //p' $settings)"
check settings-are-good device-auth config check
check switched-on systemctl enable --now device-auth.socket device-auth.service
check answers wait_until 60 is_state unlinked
same group-of-the-pins 1 "$(systemctl show --property=SupplementaryGroups --value device-auth.service | tr ' ' '\n' | grep -c '^gpio$')"
same no-trouble none "$(device-auth status --json | sed -n 's/.*"trouble": *"\([a-z-]*\)".*/\1/p')"

# Again: nothing.
before=$(pid)
check again enable generic-led
check again-says-so told "Nothing was to be changed."
same again-restarts-nothing "$before" "$(pid)"

# Another board, and a panel's drop-in: the service runs with them at the end, after its socket. Nobody sits at a terminal here.
check panel enable --panel ssd1306 --keep-settings
check other-board enable voice-bonnet
cat /run/told
check other-board-restarts test "$before" != "$(pid)"
check other-board-is-told-untested told "Later: sudo device-auth hardware test"
same units-active "active active" "$(systemctl is-active device-auth.socket device-auth.service | xargs)"
same nothing-to-reload no "$(systemctl show --property=NeedDaemonReload --value device-auth.service)"
same owner-of-the-socket root "$(stat -c %U /run/device-auth/api.sock)"
same drop-ins "board.conf panel.conf" "$(systemctl show --property=DropInPaths --value device-auth.service | tr ' ' '\n' | xargs -n 1 basename | grep -e board -e panel | sort | xargs)"

# Interrupted after the files: the next run goes on.
before=$(pid)
systemctl stop device-auth.socket device-auth.service
mv /usr/bin/systemctl /usr/bin/systemctl.away
printf '#!/bin/sh\nkill -KILL $PPID\n' > /usr/bin/systemctl
chmod 755 /usr/bin/systemctl
enable generic-rgb
same interrupted 137 $?
mv /usr/bin/systemctl.away /usr/bin/systemctl
same interrupted-files '"generic-rgb"' "$(sed -n 's/^board = //p' $settings)"
check goes-on enable generic-rgb
check goes-on-until-it-answers wait_until 60 is_state unlinked
check goes-on-ends-its-mark test ! -e /run/device-auth.restart-due

# A linked speaker and a key: the link is sealed by the same command.
check link device-auth link --timeout 60
same plain '"plain"' "$(grep -o '"key_provider": *"[a-z-]*"' /var/lib/device-auth/link.json | cut -d: -f2 | tr -d ' ')"
install -d -m 755 /srv/key
install -m 600 -o device-auth /dev/null /srv/key/key
head -c 32 /dev/urandom > /srv/key/key
sed -i '1a key_file = "/srv/key/key"' $settings
check key enable --key key-file
cat /run/told
check key-seals told "The link is sealed."
check key-in-use told "The service was started again: linked."
same sealed '"key-file"' "$(grep -o '"key_provider": *"[a-z-]*"' /var/lib/device-auth/link.json | cut -d: -f2 | tr -d ' ')"
same still-linked linked "$(state)"

# A file that a person wrote.
printf '[Service]\nNice=5\n' > $drop_ins/board.conf
enable generic-led
same of-a-person 78 $?
same of-a-person-stays "Nice=5" "$(tail -n 1 $drop_ins/board.conf)"
rm $drop_ins/board.conf

# A group that is missing would keep the service from starting.
before=$(pid)
groupdel spi
enable respeaker-2mic
same missing-group 78 $?
same missing-group-leaves-the-service "$before" "$(pid)"
check missing-group-is-made systemd-sysusers
enable respeaker-2mic
same part-that-cannot-be-used 72 $?
check part-that-cannot-be-used-is-told told spidev

# Off.
device-auth hardware disable > /run/told 2>&1
same off 0 $?
cat /run/told
same off-files "" "$(find $drop_ins -name board.conf -o -name panel.conf)"
same off-setting '"none"' "$(sed -n 's/^board = //p' $settings)"
same off-still-linked linked "$(state)"
same off-devices 0 "$(systemctl show --property=SupplementaryGroups --value device-auth.service | tr ' ' '\n' | grep -c '^gpio$')"
check off-settings device-auth config check
