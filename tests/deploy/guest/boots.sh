# The machine itself: Debian with its services comes up, and nothing of it has failed.
# machines: pc virt
same boots-running running "$(systemctl is-system-running)"
check boots-nothing-failed test -z "$(systemctl --failed --plain --no-legend)"
check boots-clone test -f /repository/pyproject.toml
systemd-analyze | head -2
