# The package on a root that is read-only and has /tmp: with a /var in memory, where the speaker is linked and says that the link
# will not last; and with a /var that is read-only too, as on a card that the kernel has given up.
# boot: rw
# boot: ro systemd.volatile=state systemd.mask=tmp.mount systemd.wants=amazon.service
# boot: ro systemd.mask=tmp.mount
drop_in() {
    install -D -m 644 -t /run/systemd/system/device-auth.service.d /usr/share/device-auth/drop-ins/read-only-root.conf
    systemctl daemon-reload
    systemctl restart device-auth.service
}
case $boot in
1)
    check installed install_deb /given/debs/*.deb
    settings > /etc/device-auth/config.toml
    chown root:device-auth /etc/device-auth/config.toml
    chmod 640 /etc/device-auth/config.toml
    ;;
2)
    check root-is-read-only sh -c '! touch /root/x 2>/dev/null'
    check tmp-is-on-it test ! -w /tmp
    same var-is-in-memory tmpfs "$(stat -f -c %T /var)"
    # systemd before 254 starts no unit with PrivateDevices= there.
    declare -A without=([bookworm]=226 [trixie]=0)
    wait_until 120 sh -c '[ "$(systemctl show -P ExecMainStatus device-auth.service)" != 0 ] || systemctl is-active device-auth.service'
    same status-without-the-drop-in "${without[$suite]}" "$(systemctl show -P ExecMainStatus device-auth.service)"
    [ "${without[$suite]}" = 0 ] || drop_in
    check active wait_until 200 systemctl is-active device-auth.socket device-auth.service
    same ours-not-failed "" "$(systemctl --failed --plain --no-legend 'device-auth*')"
    systemctl --failed --plain --no-legend
    check tmp-of-its-own nsenter --target "$(systemctl show --value -p MainPID device-auth)" --mount test -w /tmp -a -w /var/tmp
    check link timeout 300 device-auth link --json
    same linked linked "$(state)"
    check token is_token "$(token_of)"
    device-auth doctor > /run/doctor 2>&1
    check doctor-tells grep -iE 'memory|tmpfs' /run/doctor
    grep -iE 'memory|tmpfs' /run/doctor
    ;;
3)
    drop_in
    same active-without-a-disk active "$(systemctl is-active device-auth.service)"
    check answers-without-a-disk device-auth status
    ;;
esac
