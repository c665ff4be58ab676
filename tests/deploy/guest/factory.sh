# What a station asks of a unit, on a booted speaker: its identity before the service's first start, self-test, link, wipe, and a lock that a purge leaves.
# limit: 900
# boot: rw systemd.wants=amazon.service
# boot: rw
unit() {
    PYTHONPATH=/repository timeout 300 python3 /repository/tests/deploy/rig.py "$@" | tee -a /root/talk
    return "${PIPESTATUS[0]}"
}
# ends CODE WORDS...: whether a verb of the unit ends so.
ends() {
    local code=$1
    shift
    unit "$@"
    [ $? = "$code" ]
}
write="identity write --dsn G0001 --product-id Speaker --client-id amzn1.application-oa2-client.51000000000000000000000000000005"
state=/var/lib/device-auth

case $boot in
1)
    # An image's own: installed, but not started before its identity is there.
    mkdir -p /etc/systemd/system/device-auth.service.d /run/never /etc/device-auth
    ln -s /dev/null /etc/systemd/system/device-auth.service
    ln -s /dev/null /etc/systemd/system/device-auth.socket
    install_deb /given/debs/*.deb > installing 2>&1
    same installed 0 "$?"
    check identity-before-the-first-start ends 0 $write
    check identity-again ends 0 $write
    check identity-of-another-refused ends 78 identity write --dsn G0002 --product-id Speaker --client-id amzn1.application-oa2-client.5
    rm /etc/systemd/system/device-auth.service /etc/systemd/system/device-auth.socket
    echo 'base_url = "http://127.0.0.1:8100/auth/O2/"' > /etc/device-auth/config.toml
    chown root:device-auth /etc/device-auth/config.toml
    chmod 640 /etc/device-auth/config.toml
    systemctl daemon-reload
    systemctl enable --now device-auth.socket device-auth.service
    check up wait_until 200 is_up
    same identity-belongs-to-the-service "device-auth 600" "$(stat -c '%U %a' $state/identity.toml)"
    check service-has-the-identity wait_until 60 is_state unlinked

    check facts ends 0 facts
    check self-test ends 0 selftest --no-parts
    check self-test-starts-the-service wait_until 60 is_up
    check another-label-fails sh -c 'device-auth factory selftest --no-parts --dsn G0009 > /dev/null; [ $? = 78 ]'
    check up-once-more wait_until 60 is_up
    check link-test ends 0 link-test
    check link-test-leaves-nothing sh -c '[ -z "$(ls -A /run/device-auth-factory 2>/dev/null)" ] && [ ! -e '$state'/link.json ]'
    check service-unmoved is_up

    # An owner's link: nothing of the factory touches it.
    link_speaker > linking 2>&1
    same owner-linked 0 "$?"
    sha256sum $state/link.json > link-before
    for verb in facts selftest link-test wipe lock; do
        check "owner-$verb-refused" ends 75 $verb
    done
    check owner-link-kept sha256sum -c link-before
    # As the refusal says.
    systemctl stop device-auth.socket device-auth.service
    check owner-unlinks sudo device-auth unlink --wipe
    systemctl start device-auth.socket device-auth.service
    check up-after-the-owner wait_until 60 is_up

    # A token that a program logged; then the journal is emptied.
    token="Atza|$(head -c 60 /dev/urandom | base64 -w0 | tr -dc A-Za-z0-9)"
    logger -t planted "the token is $token"
    journalctl --sync
    check wipe-finds-it-in-the-journal ends 74 wipe --verify
    check wipe-shows-no-token sh -c '! grep -qF "$1" /root/talk' - "$token"
    journalctl --rotate --vacuum-time=1s -q
    rm -rf /var/log/journal/*/*@* /run/log/journal/*/*@*
    check wiped ends 0 wipe --verify
    check up-after-the-wipe wait_until 60 is_up
    check locked ends 0 lock
    ;;
2)
    check still-up wait_until 200 is_up
    check locked-identity-refused ends 77 $write
    for verb in facts selftest link-test wipe lock; do
        check "locked-$verb-refused" ends 77 $verb
    done
    check status-of-a-locked-unit ends 0 status
    systemctl stop device-auth.socket device-auth.service
    check wipe-keeps-the-lock sh -c 'device-auth unlink --wipe && [ -e '$state'/factory-lock.json ]'
    apt-get purge -y -q 'device-auth*' > purging 2>&1
    same purged 0 "$?"
    same purge-keeps-identity-and-lock "factory-lock.json identity.toml" "$(ls $state | xargs)"
    install_deb /given/debs/*.deb > again 2>&1
    same again 0 "$?"
    check again-up wait_until 200 is_up
    check again-locked ends 77 facts
    ;;
esac
