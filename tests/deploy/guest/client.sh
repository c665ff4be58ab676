# The client beside the service: started by the first token, over a restart, stopped by an unlink, told of another link.
# limit: 600

# answers TEXT: the log of the client has a line with it.
answers() { journalctl --unit avs-client.service --output cat | grep -q "$1"; }
client_pid() { systemctl show --property MainPID --value avs-client.service; }
# is_another PID: the client runs, and is another process.
is_another() { test "$(client_pid)" != 0 && test "$(client_pid)" != "$1"; }
is_stopped() { test "$(systemctl is-active avs-client.service)" = inactive; }
# link_speaker VERB...: link it; the owner approves by itself.
link_speaker() { timeout 120 device-auth "$@" --json >/tmp/linked 2>&1; }

check client-installed dpkg --install /given/debs/*.deb
device-auth simulator --port 8100 --approve-after 0 >/tmp/simulator 2>&1 &
simulator=$!
cat >/etc/device-auth/config.toml <<'END'
client_id = "amzn1.application-oa2-client.0123456789abcdef0123456789abcdef"
product_id = "Kitchen"
dsn = "K-0001"
base_url = "http://127.0.0.1:8100/auth/O2/"
END
chgrp device-auth /etc/device-auth/config.toml && chmod 640 /etc/device-auth/config.toml
systemctl restart device-auth.service

install -D -t /usr/local/lib/avs-client /repository/deploy/systemd/client/while-linked /repository/deploy/systemd/client/avs-client
install -m 644 -t /etc/systemd/system /repository/deploy/systemd/client/avs-client.path /repository/deploy/systemd/client/avs-client.service
check client-units-verified systemd-analyze verify avs-client.path avs-client.service
systemctl daemon-reload
check client-path-enabled systemctl enable --now avs-client.path
same client-waits-for-a-token "inactive 0" "$(systemctl is-active avs-client.service) $(client_pid)"

check client-linked link_speaker link
check client-started-by-the-token wait_until 60 systemctl is-active --quiet avs-client.service
check client-has-a-token wait_until 60 answers "a token until"
same client-is-no-root "" "$(ps -o user= -p "$(client_pid)" | grep -x root)"

first=$(client_pid)
systemctl restart device-auth.service
check client-service-is-back wait_until 60 test -e /run/device-auth/token.json
same client-survives-a-restart "$first" "$(client_pid)"

check client-linked-anew link_speaker link --again
check client-is-told-of-another-link wait_until 60 is_another "$first"

second=$(client_pid)
kill -9 "$second"
check client-comes-back-after-a-crash wait_until 60 is_another "$second"

check client-unlinked device-auth unlink
check client-stopped-by-the-unlink wait_until 60 is_stopped
same client-is-gone 0 "$(client_pid)"

check client-linked-once-more link_speaker link
check client-started-again wait_until 60 systemctl is-active --quiet avs-client.service
kill "$simulator"
