# Two slots of an image with a /var each: the state folder is shared by both, and a roll-back keeps the link.
# boot: rw
# boot: ro slot=a systemd.wants=amazon.service
# boot: ro slot=b systemd.wants=amazon.service
# boot: ro slot=a systemd.wants=amazon.service
case $boot in
1)
    # As an image is made: nothing is started.
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    install_deb /given/debs/*.deb > /dev/null 2>&1
    rm /usr/sbin/policy-rc.d
    # What an image has there overwrites the unit's at each start.
    same state-is-empty-in-the-image "" "$(ls -A /var/lib/device-auth 2>/dev/null)"
    same settings-are-not-shared "" "$(grep -h '^Path=/etc' /etc/rpi-image-gen/slot-shared.d/*)"
    settings > /etc/device-auth/config.toml
    chown root:device-auth /etc/device-auth/config.toml
    chmod 640 /etc/device-auth/config.toml
    install -D -m 644 -t /etc/systemd/system/device-auth.service.d /usr/share/device-auth/drop-ins/read-only-root.conf
    echo 'tmpfs /tmp tmpfs' > /etc/fstab
    mkdir -p /persistent /etc/systemd/system/amazon.service.d /var/lib/device-auth
    printf '[Service]\nEnvironment=MEMORY=/persistent\n' > /etc/systemd/system/amazon.service.d/memory.conf
    mount /dev/vdb /persistent
    mkdir -p /persistent/a /persistent/b /persistent/shared
    cp -a /var/. /persistent/a/
    cp -a /var/. /persistent/b/
    check image-made test -d /persistent/b/lib
    ;;
2)
    check slot-a-active wait_until 200 systemctl is-active device-auth.socket device-auth.service
    check slot-a-link timeout 300 device-auth link --json
    same slot-a-linked linked "$(state)"
    sha256sum /var/lib/device-auth/link.json > /persistent/link
    touch /var/lib/of-slot-a
    ;;
3)
    check slot-b-active wait_until 200 systemctl is-active device-auth.socket device-auth.service
    same slot-b-has-its-own-var "" "$(ls /var/lib/of-slot-a 2>/dev/null)"
    check slot-b-linked wait_until 200 is_state linked
    check slot-b-token is_token "$(token_of)"
    check slot-b-link-kept sha256sum -c /persistent/link
    ;;
4)
    check slot-a-again sh -c 'ls /var/lib/of-slot-a'
    check slot-a-still-linked wait_until 200 is_state linked
    check slot-a-token is_token "$(token_of)"
    ;;
esac
