# The commands of deploy/README.md, copied from it, as an ordinary user types them: from a machine without the program to its
# removal. A machine has no network; tests/deploy/given/by_hand fetches what apt and pip install.
# boot: rw systemd.wants=amazon.service
# limit: 1500

# What the walk installs is not there.
export DEBIAN_FRONTEND=noninteractive
dpkg --purge git make python3-venv > /dev/null 2>&1
rm -f /etc/apt/sources.list.d/* && echo "deb [trusted=yes] file:/given/apt ./" > /etc/apt/sources.list
echo 'APT::Get::Assume-Yes "true"; APT::Sandbox::User "root";' > /etc/apt/apt.conf.d/90walk
printf '[global]\nno-index = yes\nfind-links = /given/wheels\ndisable-pip-version-check = yes\n' > /etc/pip.conf

# Who types, and what a person does in an editor or at a prompt.
useradd --create-home --shell /bin/bash --groups sudo ann
useradd --create-home alexa
echo 'Defaults lecture=never
%sudo ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/walk
mkdir ~ann/bin
cat > ~ann/bin/editor <<'EOF'
#!/bin/sh -e
# Fill in what is left to the owner, once.
grep -q '^client_id' "$1" && exit
filled=$(sed 's/^# \(client_id\|product_id\|dsn\|base_url\) = /\1 = /; s/exampleexampleexampleexample0000/0123456789abcdef0123456789abcdef/;
    s/EXAMPLE_SPEAKER/KITCHEN/; s/EXAMPLE_0001/K_0001/' "$1")
echo "$filled" > "$1"
EOF
printf '#!/bin/sh\nprintf secret\n' > ~ann/bin/systemd-ask-password
chmod 755 ~ann/bin/*
echo 'export SUDO_EDITOR=$HOME/bin/editor PATH=$HOME/bin:$PATH SYSTEMD_PAGER=cat' > ~ann/.bash_profile
cp -r /repository/. ~ann/device-auth
chown -R ann: ~ann

mkdir /run/walk
python3 /repository/tests/deploy/typed.py /repository/deploy/README.md /run/walk

walk() { # walk HEADING: type the blocks below it, each after a new log-in
    local block name
    for block in /run/walk/*-"$1"; do
        name=$(basename "$block")
        check "$name" su - ann -c "cd device-auth && bash $block"
    done
}
state_of() { sed -n 's/.*"state": *"\([a-z]*\)".*/\1/p'; }
as_ann() { su - ann -c "$*"; }

check from-nothing test ! -e /opt/device-auth -a ! -x /usr/bin/git -a ! -x /usr/bin/make
walk install
same install-linked linked "$(as_ann device-auth status --json | state_of)"
check install-owner-of-settings test "$(stat -c %U:%G:%a /etc/device-auth/config.toml)" = root:device-auth:640
check install-socket-is-roots test "$(stat -c %U:%G:%a /run/device-auth/api.sock)" = root:device-auth-client:660

# A newer version to go to: a commit more, which says so of itself.
as_ann "cd ~/device-auth && git config --global user.email ann@speaker && git config --global user.name ann && git init -q -b main &&
    git add . && git commit -qm older && git clone -q --bare . ~/origin.git && git remote add origin ~/origin.git && git fetch -q &&
    git branch -q -u origin/main && git clone -q ~/origin.git ~/newer && cd ~/newer &&
    sed -i 's/^\(__version__.*=\) .*/\1 \"77.0\"/' device_auth/__init__.py && git commit -qam newer && git push -q"
older=$(as_ann device-auth --version)

walk upgrade
same upgrade-version "device-auth 77.0" "$(as_ann device-auth --version)"
same upgrade-linked linked "$(as_ann device-auth status --json | state_of)"
walk roll-back
same roll-back-version "$older" "$(as_ann device-auth --version)"
same roll-back-linked linked "$(as_ann device-auth status --json | state_of)"

walk back-up
same back-up-is-roots root:600 "$(stat -c %U:%a /root/device-auth.tar.gz)"
# As on a new card: units and program, a user whose number is another, and nothing of the link or the owner's settings.
systemctl stop device-auth.service device-auth.socket
rm -r /var/lib/device-auth /etc/device-auth/* /etc/systemd/system/device-auth.service.d/board.conf
usermod --uid 4711 device-auth
walk move-to-another-card
same move-linked linked "$(as_ann device-auth status --json | state_of)"
check move-board test -s /etc/systemd/system/device-auth.service.d/board.conf

walk a-client-secret-and-a-key-for-the-link
check secret-is-sealed test -s /etc/credstore.encrypted/device-auth.client-secret
check secret-is-given test -s /run/credentials/device-auth.service/device-auth.client-secret
walk who-may-do-what
same who-may-do-what "device-auth-client" "$(id -nG alexa | tr ' ' '\n' | grep device)"
walk read-the-log
walk what-to-look-at

walk factory-reset-without-a-button
same reset-unlinked unlinked "$(as_ann device-auth status --json | state_of)"
check reset-leaves-no-token test -z "$(grep -rl 'Atzr\|Sim|R' /var/lib/device-auth)"

walk uninstall
check uninstalled test -z "$(find / -xdev -name '*device-auth*' -not -path '/home/*' -not -path '/root/*' -not -path '/proc/*' \
    -not -path '/etc/credstore.encrypted/*' -not -path '/var/lib/systemd/*' -not -path '/var/log/*' | tee "$report")"
check uninstalled-no-user test -z "$(getent passwd device-auth; getent group device-auth device-auth-client device-auth-admin)"
same uninstalled-nothing-failed "" "$(systemctl --failed --plain --no-legend)"
