# Each drop-in started: the unit runs with it, and a program in its place opens the devices it is for, and no other.
# limit: 900

install_from_clone

# Parts of a speaker, made by the kernel: a chip of lines, a device on an SPI bus (at the pins of a parallel port), an I2C
# bus, a sound card, an LED. For the last two nodes there are only numbers: what the unit lets through opens, or tells "no such device".
modprobe i2c-stub chip_addr=0x3c
modprobe snd-dummy
rmmod i2c-dev 2>/dev/null # nobody loads it by himself: the drop-in has to
mknod /dev/gpiomem c 10 229 # the number of /dev/fuse, which opens for everyone whose unit allows it
modprobe fuse
mknod /dev/vcio c 10 130    # the number of the watchdog

make_install() { make --no-print-directory -C /repository/deploy/systemd "$@"; }
check install make_install install
same verify "" "$(systemd-analyze verify --man=no device-auth.service device-auth.socket 2>&1)"
check groups getent group gpio spi i2c
check sysusers-again systemd-sysusers # a second run changes nothing and fails at nothing

# Raspberry Pi OS and our rules give a group its devices; nodes made by hand have to be given.
modprobe uhid
python3 /repository/tests/deploy/guest/cp2112.py &
modprobe --all parport_pc spi-lm70llp
wait_until 30 test -e /sys/bus/spi/devices/spi0.0
echo spidev > /sys/bus/spi/devices/spi0.0/driver_override
echo spi0.0 > /sys/bus/spi/drivers/spidev/bind
belongs_to() { [ "$(stat -c '%G %a' "$2")" = "$1 660" ]; }
check gpio-group wait_until 30 belongs_to gpio /dev/gpiochip0
check spi-group wait_until 30 belongs_to spi /dev/spidev0.0
chgrp gpio /dev/gpiomem
chgrp video /dev/vcio
chmod 660 /dev/gpiomem /dev/vcio

cat > /usr/local/bin/opens <<'EOF'
#!/usr/bin/python3
"""Print how each of the paths opens for the user of the unit: "yes", or the name of the error."""
import errno, os, sys
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))
        print(path, "yes")
    except OSError as error:
        print(path, errno.errorcode[error.errno])
EOF
chmod 755 /usr/local/bin/opens
led=$(echo /sys/class/leds/*capslock)
drop_ins=/etc/systemd/system/device-auth.service.d
cat > $drop_ins/zz-test.conf <<EOF
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/local/bin/opens /dev/gpiochip0 /dev/spidev0.0 /dev/i2c-0 /dev/snd/controlC0 /dev/gpiomem /dev/vcio /dev/tty1 /dev/ttyS0 $led/trigger
StandardOutput=truncate:/run/opened
Restart=no
EOF
opened() { # opened DROP-IN...: start the unit with these, and print what its program could open
    rm -f $drop_ins/test-*.conf
    for file in "$@"; do
        cp "$file" "$drop_ins/test-$(basename "$file")"
    done
    systemctl daemon-reload
    : > /run/opened
    systemctl start device-auth.service || systemctl status --no-pager device-auth.service
    systemd-analyze security --no-pager --threshold=19 device-auth.service > /run/rated || tail -1 /run/rated
    grep -v ' \(ENOENT\|EACCES\|EPERM\|EROFS\)$' /run/opened | cut -d ' ' -f 1 | xargs
}
cd /repository/deploy/systemd || exit
same alone "" "$(opened)"
same generic-led "/dev/gpiochip0" "$(opened boards/generic-led.conf)"
same generic-rgb "/dev/gpiochip0" "$(opened boards/generic-rgb.conf)"
same respeaker-2mic "/dev/gpiochip0 /dev/spidev0.0 /dev/snd/controlC0" "$(opened boards/respeaker-2mic.conf)"
same respeaker-4mic "/dev/gpiochip0 /dev/spidev0.0 /dev/snd/controlC0" "$(opened boards/respeaker-4mic.conf)"
same speaker-bonnet "/dev/gpiochip0 /dev/snd/controlC0" "$(opened boards/speaker-bonnet.conf)"
same voice-bonnet "/dev/gpiochip0 /dev/snd/controlC0" "$(opened boards/voice-bonnet.conf)"
same kernel-led "$led/trigger" "$(opened boards/kernel-led.conf)"
# Where nobody has loaded i2c-dev yet, systemd does not know its class of devices, and closes it for as long as the unit runs.
sed '/modprobe/d' panels/ssd1306.conf > /run/without-module.conf
rmmod i2c-dev 2>/dev/null
same without-module "" "$(opened /run/without-module.conf)"
same ssd1306 "/dev/i2c-0" "$(opened panels/ssd1306.conf)"
same sh1106 "/dev/i2c-0" "$(opened panels/sh1106.conf)"
same console "/dev/tty1 /dev/ttyS0" "$(opened panels/console.conf)"
same board-and-panel "/dev/gpiochip0 /dev/i2c-0" "$(opened boards/generic-led.conf panels/ssd1306.conf)"
same rpi-gpio "/dev/gpiochip0 /dev/gpiomem" "$(opened boards/generic-led.conf gpio/rpi-gpio.conf)"
same rpi-fw-crypto "/dev/vcio" "$(opened keys/rpi-fw-crypto.conf)"
same read-only-root "" "$(opened read-only-root.conf)"

# The daemon itself, by the kernel's LED: its user may write each rhythm, though the kernel makes that file anew each time.
rm $drop_ins/*.conf
check install-a-board make_install install BOARD=kernel-led
printf '[hardware.light]\nkind = "kernel"\nname = "%s"\n' "$(basename "$led")" > /etc/device-auth/config.toml
chmod 644 /etc/device-auth/config.toml
systemctl start device-auth.service
wait_until 30 grep -q '[0-9]' "$led/pattern"
check kernel-led-plays grep '^1 250' "$led/pattern"
check kernel-led-is-no-trouble test -z "$(journalctl --no-pager -q -u device-auth --grep 'the light')"
journalctl --no-pager -q -u device-auth | tail -n 4
check kernel-led-active systemctl is-active device-auth.service device-auth.socket

# Removed again: what install put there is gone.
check uninstall make_install uninstall
check uninstalled test -z "$(find /etc -name '*device-auth*' -not -path /etc/device-auth)"
