# The package on a read-only root with /var in memory: the speaker is linked, and says that the link will not last.
# boot: rw
# boot: ro systemd.volatile=state systemd.wants=amazon.service
case $boot in
1)
    install_deb /given/debs/*.deb > /dev/null 2>&1
    settings > /etc/device-auth/config.toml
    chown root:device-auth /etc/device-auth/config.toml
    chmod 640 /etc/device-auth/config.toml
    install -D -m 644 -t /etc/systemd/system/device-auth.service.d /usr/share/device-auth/drop-ins/read-only-root.conf
    check image-written test -s /etc/systemd/system/device-auth.service.d/read-only-root.conf
    ;;
2)
    check root-is-read-only sh -c '! touch /root/x 2>/dev/null'
    same var-is-in-memory tmpfs "$(stat -f -c %T /var)"
    check readonly-active wait_until 200 systemctl is-active device-auth.socket device-auth.service
    same readonly-ours-not-failed "" "$(systemctl --failed --plain --no-legend 'device-auth*')"
    systemctl --failed --plain --no-legend
    check readonly-link timeout 300 device-auth link --json
    same readonly-linked linked "$(state)"
    check readonly-token is_token "$(token_of)"
    device-auth doctor > /run/doctor 2>&1
    check readonly-doctor-tells grep -iE 'memory|tmpfs' /run/doctor
    grep -iE 'memory|tmpfs' /run/doctor
    ;;
esac
