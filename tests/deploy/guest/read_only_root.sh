# The unit on a root that is read-only and has /tmp: with a /var in memory, and with one that is read-only too, as on a card
# that the kernel has given up.
# boot: rw
# boot: ro systemd.volatile=state
# boot: ro
drop_in() { install -D -m 644 /repository/deploy/systemd/read-only-root.conf -t /run/systemd/system/device-auth.service.d; }
case $boot in
    1)
        install_from_clone
        check install make --no-print-directory -C /repository/deploy/systemd install
        systemctl enable device-auth.socket device-auth.service
        check starts-on-a-disk systemctl start device-auth.service
        systemctl stop device-auth.service device-auth.socket
        ;;
    2)
        check root-is-read-only findmnt --noheadings --options ro /
        check tmp-is-on-it test ! -w /tmp
        if [ "$suite" = bookworm ]; then
            failed() { journalctl -q -u device-auth --grep 'status=226/NAMESPACE'; }
            wait_until 120 failed
            check bookworm-needs-the-drop-in failed
            drop_in
            systemctl daemon-reload
            systemctl restart device-auth.service
        fi
        wait_until 120 systemctl is-active --quiet device-auth.service
        same active "active active" "$(systemctl is-active device-auth.service device-auth.socket | xargs)"
        check answers device-auth status
        check tmp-of-its-own nsenter --target "$(systemctl show --value -p MainPID device-auth)" --mount test -w /tmp -a -w /var/tmp
        ;;
    3)
        drop_in
        systemctl daemon-reload
        systemctl restart device-auth.service
        same active-without-a-disk active "$(systemctl is-active device-auth.service)"
        check answers-without-a-disk device-auth status
        ;;
esac
