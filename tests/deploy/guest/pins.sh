# A light and a button at the lines of a chip that the kernel cannot debounce, by gpiod, with the package: a press links, the light tells it, nothing runs between.
# boot: rw systemd.wants=amazon.service
# suites: trixie
# machines: pc virt
# limit: 900
install_deb /given/debs/*.deb > installing 2>&1 || cat installing
modprobe uhid
python3 /repository/tests/deploy/guest/cp2112.py &
chip() { basename /sys/bus/hid/devices/*:10C4:EA90.*/gpiochip*; }
has_chip() { test -c "/dev/$(chip)"; }
check chip wait_until 60 has_chip
settings > /etc/device-auth/config.toml
cat >> /etc/device-auth/config.toml <<END

[hardware]
chip = "/dev/$(chip)"

[hardware.light]
pin = 6

[hardware.button]
pin = 3
END
check board device-auth hardware enable generic-led
check up wait_until 200 is_up
check unlinked wait_until 60 is_state unlinked
same dark-when-unlinked 0 "$(cat /run/pins/6)"
device-auth hardware list

level() { echo "$2" > /run/pins/new && mv /run/pins/new "/run/pins/$1"; } # at once: the chip is asked at any moment
is_asked() { [ "$(state)" != unlinked ]; }
press() { # until it was short enough for a tap, beside busy cores too
    for _ in 1 2 3 4 5; do
        level 3 0
        sleep 0.3
        level 3 1
        ! wait_until 20 is_asked || return 0
    done
    return 1
}
check a-press-asks-for-a-code press
check the-light-tells-it wait_until 60 grep -q 1 /run/pins/6
check linked wait_until 120 is_state linked
check token is_token "$(token_of)"
check dark-when-linked wait_until 60 grep -q 0 /run/pins/6

switches() { cat "/proc/$(systemctl show -P MainPID device-auth.service)"/task/*/status | awk '/^voluntary_ctxt/ { all += $2 } END { print all }'; }
sleep 10 # the light has told "linked"
before=$(switches)
sleep 30
woken=$(($(switches) - before))
echo "woken $woken times in 30 s"
check woken-by-edges-alone test "$woken" -le 2
