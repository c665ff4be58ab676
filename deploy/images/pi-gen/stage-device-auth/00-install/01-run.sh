#!/bin/bash -e
# Installs the package, the product's settings and the drop-in of its board. In files/: device-auth.deb (make deb SUITE=trixie),
# device-auth-l10n.deb for another language than English, and what deploy/images/product has: config.toml, firmware.txt.

board=${DEVICE_AUTH_BOARD:-respeaker-2mic}

# Not in /tmp, over which pi-gen mounts another.
install -m 644 files/device-auth*.deb "${ROOTFS_DIR}/var/tmp"
on_chroot << EOF
apt-get install --yes --no-install-recommends /var/tmp/device-auth*.deb
EOF
rm "${ROOTFS_DIR}"/var/tmp/device-auth*.deb

install -m 640 files/config.toml "${ROOTFS_DIR}/etc/device-auth/config.toml"
on_chroot << EOF
chown root:device-auth /etc/device-auth/config.toml
device-auth config check --config /etc/device-auth/config.toml --dsn CHECKED_0001
EOF

if [ "$board" != none ]; then
	install -D -m 644 "${ROOTFS_DIR}/usr/share/device-auth/drop-ins/boards/$board.conf" \
		"${ROOTFS_DIR}/etc/systemd/system/device-auth.service.d/board.conf"
fi
cat files/firmware.txt >> "${ROOTFS_DIR}/boot/firmware/config.txt"

# A link that was made while the image was built would be on each unit.
if [ -n "$(ls -A "${ROOTFS_DIR}/var/lib/device-auth" 2> /dev/null)" ]; then
	echo "device-auth: /var/lib/device-auth is not empty in the image: no link and no identity may be there" >&2
	exit 1
fi
