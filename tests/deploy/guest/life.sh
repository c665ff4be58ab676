# The life of the package: installed, linked, over a boot, upgraded, downgraded, removed, installed again, purged.
# machines: pc virt
# limit: 1200
# boot: rw systemd.wants=amazon.service
# boot: rw systemd.wants=amazon.service
mkdir -p /root/seen
cd /root/seen
link=/var/lib/device-auth/link.json

case $boot in
1)
    files_of_system > before
    # What an image or cloud-init has written before is nobody's question.
    mkdir /etc/device-auth
    settings > /etc/device-auth/config.toml
    chmod 600 /etc/device-auth/config.toml
    cp /etc/device-auth/config.toml settings-before
    (set -x; install_deb /given/older/*.deb) > installing 2>&1
    same installed-without-complaint 0 "$?"
    check installed-nothing-refused sh -c '! grep -iE "refus|fail|could not|error|warning|deb-systemd-invoke" installing'
    check installed-up wait_until 200 is_up
    check installed-no-network-target sh -c '[ "$(systemctl is-active network-online.target)" = inactive ]'
    check installed-settings-kept cmp settings-before /etc/device-auth/config.toml
    same installed-socket "device-auth-client 660" "$(stat -c '%G %a' /run/device-auth/api.sock)"
    check installed-socket-is-systemds sh -c 'ss -xlp src /run/device-auth/api.sock | grep -q "pid=1,"'
    same installed-state-folder "device-auth 700" "$(stat -c '%U %a' /var/lib/device-auth)"
    check installed-no-module-for-everybody sh -c '! python3 -c "import hardware" 2>/dev/null'
    # A board's drop-in names groups that plain Debian has not.
    install -D -m 644 /usr/share/device-auth/drop-ins/boards/respeaker-2mic.conf /etc/systemd/system/device-auth.service.d/board.conf
    systemctl daemon-reload
    systemctl restart device-auth
    check board-starts systemctl is-active device-auth.service
    rm -r /etc/systemd/system/device-auth.service.d/board.conf
    systemctl daemon-reload
    systemctl reset-failed device-auth
    systemctl restart device-auth.socket device-auth.service
    same unlinked-state unlinked "$(state)"
    chown root:device-auth /etc/device-auth/config.toml && chmod 640 /etc/device-auth/config.toml
    systemctl reload device-auth
    link_speaker > linking 2>&1
    same linked-exit 0 "$?"
    grep -q . linking && sed 's/"user_code.*//' linking | cut -c 1-200
    same linked-state linked "$(state)"
    check linked-token is_token "$(token_of)"
    check linked-token-file grep -q access_token /run/device-auth/token.json
    sha256sum $link > link-before
    ;;
2)
    check rebooted-up wait_until 200 is_up
    check rebooted-linked wait_until 200 is_state linked
    check rebooted-token is_token "$(token_of)"
    check rebooted-link-kept sha256sum -c link-before
    # In the machine's own seconds, beside a program that has only begun.
    began() { systemctl show -P "$1" device-auth.service | awk '{ printf "%.1f", $1 / 1000000 }'; }
    token_at=$(awk -v at="$(stat -c %.Y /run/device-auth/token.json)" -v now="$(date +%s.%N)" '{ printf "%.1f", $1 - (now - at) }' /proc/uptime)
    echo "seconds from the kernel's start: service started $(began ExecMainStartTimestampMonotonic), ready $(began ActiveEnterTimestampMonotonic), token $token_at"
    (TIMEFORMAT="python3 -c 'import requests': %R s"; time python3 -c 'import requests') 2>&1

    token_of > token-before
    python3 /repository/tests/deploy/poll.py > gap &
    poller=$!
    sleep 2
    install_deb /given/debs/*.deb > upgrading 2>&1
    same upgraded-without-complaint 0 "$?"
    check upgraded-nothing-refused sh -c '! grep -iE "refus|fail|could not|error|warning" upgrading'
    check upgraded-up wait_until 200 is_up
    check upgraded-linked wait_until 200 is_state linked
    sleep 2
    kill $poller
    wait $poller
    same upgraded-answers 0 "$?"
    cat gap
    systemctl restart device-auth.service
    echo "a start takes $(start_took) ms"
    check upgraded-link-kept sha256sum -c link-before
    check upgraded-settings-kept cmp settings-before /etc/device-auth/config.toml
    check upgraded-token is_token "$(token_of)"

    install_deb /given/older/*.deb > downgrading 2>&1
    same downgraded-without-complaint 0 "$?"
    check downgraded-up wait_until 200 is_up
    check downgraded-linked wait_until 200 is_state linked
    # An envelope of a newer program: refused, and left as it is.
    systemctl stop device-auth.socket device-auth.service
    mkdir kept
    cp -p /var/lib/device-auth/link.json* kept/
    sed -i 's/"version": *[0-9]*/"version": 99/' /var/lib/device-auth/link.json*
    sha256sum /var/lib/device-auth/link.json* > newer
    systemctl start device-auth.socket device-auth.service
    check newer-envelope-refused wait_until 200 sh -c 'device-auth status --json | grep -q "\"trouble\": *\"storage\""'
    device-auth status
    check newer-envelope-untouched sha256sum -c newer
    systemctl stop device-auth.socket device-auth.service
    cp -p kept/* /var/lib/device-auth/
    systemctl start device-auth.socket device-auth.service
    check older-envelope-taken wait_until 200 is_state linked

    apt-get remove -y -q 'device-auth*' > removing 2>&1
    same removed-without-complaint 0 "$?"
    check removed-link-kept sha256sum -c link-before
    same removed-units "" "$(systemctl list-units --all --plain --no-legend 'device-auth*' | grep -v not-found)"
    check removed-nothing-runs sh -c '! pgrep -u device-auth'
    same removed-system running "$(systemctl is-system-running)"
    install_deb /given/debs/*.deb > again 2>&1
    same again-without-complaint 0 "$?"
    check again-up wait_until 200 is_up
    check again-linked wait_until 200 is_state linked

    # Its two kinds of secret, to look for them afterwards.
    grep -o '"refresh_token": *"[^"]*"' $link | cut -d '"' -f 4 > /run/refresh
    token_of > /run/access
    check purge-has-secrets test -s /run/refresh -a -s /run/access
    apt-get purge -y -q 'device-auth*' > purging 2>&1
    same purged-without-complaint 0 "$?"
    check purged-nothing-refused sh -c '! grep -iE "refus|fail|could not|error|warning" purging'
    tail -n 4 purging
    userdel ann
    rm -rf kept token-before
    check purged-refresh-token-gone sh -c '! grep -rlFf /run/refresh /etc /var /home /root /tmp /run/device-auth 2>/dev/null'
    check purged-access-token-gone sh -c '! grep -rlFf /run/access /etc /var /home /root /tmp /run/device-auth 2>/dev/null'
    files_of_system > after
    check purged-tree-as-before diff before after
    # amazon.service still names it, so systemd knows of it that there is none.
    same purged-units "" "$(systemctl list-units --all --plain --no-legend 'device-auth*' | grep -v not-found)"
    same purged-system running "$(systemctl is-system-running)"
    ;;
esac
