#!/bin/sh
# A hook of rpi-sb-provisioner: keeps what it knows of the board that it has just written, one file a board, for
#   device-auth factory import STATION.toml FOLDER
#
# Install it under the name of the provisioner in use (sb, fde, idp or naked), and make it executable:
#   install -m 755 post-flash.sh /etc/rpi-sb-provisioner/scripts/sb-provisioner-post-flash.sh
#
# The provisioner passes the columns of its database in the environment, in capital letters. A board whose record cannot be kept
# is flashed all the same: it fails at the station, with words, and the provisioner's own database still has it.
set -u

folder=${DEVICE_AUTH_PROVISIONED:-/srv/rpi-sb-provisioner/device-auth}
names="BOARDNAME SERIAL ETH_MAC WIFI_MAC BT_MAC MMC_SIZE MMC_CID RPI_DUID BOARD_REVISION PROCESSOR MEMORY MANUFACTURER SECURE
JTAG_LOCKED OS_IMAGE_FILENAME OS_IMAGE_SHA256 CUSTOMER_KEY_FINGERPRINT"

# The serial number names the file, so only digits of one may be in it.
SERIAL=${SERIAL:-${2:-}}
serial=$(printf '%s' "$SERIAL" | tr -cd '0-9A-Fa-f')
if [ -z "$serial" ]; then
    echo "device-auth: this board has no serial number: nothing was kept of it" >&2
    exit 0
fi

write() {
    for name in $names; do
        eval "value=\${$name:-}"
        # shellcheck disable=SC2154  # eval sets it
        printf '%s=%s\n' "$name" "$(printf '%s' "$value" | tr -d '\000-\037\177')"
    done
    printf 'PROVISION_TS=%s\n' "$(date -u '+%Y-%m-%d %H:%M:%S')"
}

# Whole at any moment, on the disk before it has its name.
file=$folder/$serial.provisioned
if mkdir -p "$folder" && write >"$file.new" && sync "$file.new" && mv "$file.new" "$file" && sync "$folder"; then
    exit 0
fi
echo "device-auth: cannot keep what is known of the board $serial in $folder" >&2
exit 0
