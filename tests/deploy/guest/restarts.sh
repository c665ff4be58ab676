# Who starts whom, and what systemd does when the service ends.
install_from_clone
check install make --no-print-directory -C /repository/deploy/systemd install

# Whoever starts the service alone gets the socket with it: started first, the service once bound the address itself.
check start-the-service-alone systemctl start device-auth.service
same both-active "active active" "$(systemctl is-active device-auth.service device-auth.socket | xargs)"
same socket-is-roots root:device-auth-client:660 "$(stat -c %U:%G:%a /run/device-auth/api.sock)"

# A program that is gone, as in the midst of an upgrade, is tried for ever, and found when it is back.
mv /opt/device-auth/bin/device-auth /opt/device-auth/bin/gone
systemctl kill --signal=KILL device-auth.service
gone_for() { [ "$(systemctl show --value -p NRestarts device-auth.service)" -ge "$1" ]; }
check tried-again wait_until 90 gone_for 2
mv /opt/device-auth/bin/gone /opt/device-auth/bin/device-auth
back() { [ "$(systemctl is-active device-auth.service)" = active ]; }
check back-by-itself wait_until 150 back
check answers device-auth status

# A wrong command line is not tried again, and whoever connects meanwhile does not have it started for ever.
mkdir /run/systemd/system/device-auth.service.d
printf '[Service]\nExecStart=\nExecStart=/opt/device-auth/bin/device-auth run --no-such-option\n' > /run/systemd/system/device-auth.service.d/wrong.conf
systemctl daemon-reload
systemctl restart device-auth.service
since=$(date +%s)
python3 - <<'EOF' &
import socket, time
waiting = socket.socket(socket.AF_UNIX)
waiting.connect("/run/device-auth/api.sock")
time.sleep(600)
EOF
waits=$!
settled() { [ "$(systemctl is-active device-auth.socket)" = failed ]; }
wait_until 300 settled
starts=$(journalctl -q -u device-auth --since "@$since" | grep -c 'Starting')
echo "$starts starts, the socket is $(systemctl is-active device-auth.socket)"
check does-not-start-for-ever test "$starts" -le 12
kill $waits
rm /run/systemd/system/device-auth.service.d/wrong.conf
systemctl daemon-reload
check starts-when-mended systemctl restart device-auth.service
same both-active-again "active active" "$(systemctl is-active device-auth.service device-auth.socket | xargs)"
check nothing-failed test -z "$(systemctl --failed --plain --no-legend)"
