# A package's life in a tree where no systemd runs, as an image maker has it: install, upgrade, downgrade, remove, install, purge.
# /given has its packages (now/), the same as an older version, and as a newer one whose links an older cannot read.
. /given/lib.sh
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
state=/var/lib/device-auth
drop_ins=/etc/systemd/system/device-auth.service.d

# Every file, with what it is and what is in it. What is dpkg's and the users' own is left out, and what others made of it (man, ldconfig).
files() {
    local found=(find / -xdev \( -path /given -o -path /proc -o -path /dev -o -path /run -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log
        -o -path /var/cache/man -o -path /var/cache/ldconfig -o -path '/etc/passwd*' -o -path '/etc/group*' -o -path '/etc/shadow*'
        -o -path '/etc/gshadow*' -o -path '/etc/sub[ug]id*' -o -path /etc/.pwd.lock \) -prune -o)
    "${found[@]}" -printf '%p %M %u:%g %l\n' | sort
    "${found[@]}" -type f -exec sha256sum {} + | sort --key=2 # not a process for each file: 15 s
}

# What dpkg does with a package, without a question: nobody answers in an image.
dpkg_quietly() {
    dpkg "$@" </dev/null >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; return 1; }
}

service() { # as the service's user
    setpriv --reuid=device-auth --regid=device-auth-client --clear-groups "$@"
}

speaker() { # the verb of a speaker that is linked to a simulated Amazon
    service device-auth "$@" --simulate --state-dir "$state" --runtime-dir /tmp/runtime
}

ended_with() { # CODE COMMAND...
    local expected=$1 status=0
    shift
    "$@" >/tmp/said 2>&1 || status=$?
    [ "$status" = "$expected" ] || { cat /tmp/said; return 1; }
}

link_of_root() { # as somebody tries it first: by root, in a folder of root's; a second name shows what is in the link
    rm -rf "$state/simulated"
    ended_with 0 device-auth link --simulate && [ "$(stat -c %U "$state/simulated")" = root ] && ln "$state/simulated/link.json" /var/lib/name-of-root
}

all_erased() { # NAME: no complaint, and no token under the second name
    ! grep -E 'find|overwritten' /tmp/dpkg.log && ! grep -F 'Sim|' "$1"
}

no_dpkg_rests() {
    ! find / -xdev -name '*.dpkg-*' -not -path '/var/lib/dpkg/*' | grep .
}

all_compiled() { # each module has its bytecode, of this Python
    local module cache
    cache=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
    find /usr/share/device-auth -name '*.py' | while read -r module; do
        [ -e "${module%/*}/__pycache__/$(basename "$module" .py).$cache.pyc" ] || { echo "$module"; return 1; }
    done
}

install -d -m 700 /etc/credstore.encrypted # systemd of trixie has it
files > /tmp/before

# What an image or its maker wrote before: settings, a member of the administrators, files beside ours.
mkdir -p /etc/device-auth "$drop_ins"
cat > /etc/device-auth/config.toml <<'END'
client_id = "amzn1.application-oa2-client.0123456789abcdef0123456789abcdef"
product_id = "KitchenSpeaker"
dsn = "D1"
END
echo '[Service]' > "$drop_ins/mine.conf"
useradd ann
groupadd --system device-auth-admin
usermod --append --groups device-auth-admin ann
settings=$(sha256sum /etc/device-auth/config.toml)

check install dpkg_quietly --install /given/older/device-auth_*.deb
same settings-stay-at-install "$settings" "$(sha256sum /etc/device-auth/config.toml)"
check nothing-of-dpkg-beside-them no_dpkg_rests
same users "device-auth-admin device-auth-client" "$(id -nG ann | tr ' ' '\n' | grep device | sort | xargs)"
same service-user "device-auth device-auth-client" "$(id -nG device-auth | xargs -n1 | sort | xargs)"
same version "device-auth $(dpkg-query --show --showformat='${Version}' device-auth | sed 's/~.*//')" "$(device-auth --version)"
check compiled all_compiled
check private-modules ended_with 1 python3 -c 'import device_auth'
check private-hardware ended_with 1 python3 -c 'import hardware'
check enabled test -L /etc/systemd/system/multi-user.target.wants/device-auth.service -a -L /etc/systemd/system/sockets.target.wants/device-auth.socket
check units systemd-analyze verify --man=no device-auth.service device-auth.socket

# The command: exit codes, and nothing of the caller's environment or folder gets into it.
mkdir /tmp/strange
for module in json sitecustomize usercustomize requests device_auth; do
    echo 'open("/tmp/strange/ran", "w")' > "/tmp/strange/$module.py"
done
install -d -o device-auth -g device-auth-client -m 700 "$state"
install -d -o device-auth -m 755 /tmp/runtime
same isolated '#!/usr/bin/python3 -IS' "$(head -n 1 /usr/bin/device-auth)"
check unlinked-75 ended_with 75 service device-auth token --state-dir /tmp/nothing --runtime-dir /tmp/runtime
check usage-2 ended_with 2 device-auth nonsense
check config-0 ended_with 0 device-auth config check
check config-78 ended_with 78 device-auth config check --config /tmp/strange/json.py
check closed-command ended_with 0 env --chdir /tmp/strange PYTHONPATH=/tmp/strange PYTHONSTARTUP=/tmp/strange/json.py device-auth config show
check closed-to-home ended_with 0 env PYTHONHOME=/tmp/strange device-auth config show
check nothing-strange-ran test ! -e /tmp/strange/ran
same example "$(sed '/^#/d; /^$/d' /usr/share/doc/device-auth/examples/config.toml)" "[hardware]"

check no-factory-78 ended_with 78 device-auth factory status
check no-factory-named grep -q device-auth-factory /tmp/said
check no-simulator-78 ended_with 78 service device-auth link --simulate --state-dir "$state" --runtime-dir /tmp/runtime
check no-simulator-named grep -q device-auth-simulator /tmp/said
ja() { device-auth doctor --locale ja-JP --json | grep '"C5"' | grep -q "$@"; }
check no-japanese-named ja device-auth-l10n
check l10n dpkg_quietly --install /given/older/device-auth-l10n_*.deb
check japanese ja -v device-auth-l10n
check simulator dpkg_quietly --install /given/older/device-auth-simulator_*.deb
check simulator-compiled all_compiled
install -d -o ann -m 700 /tmp/ann
check debian-tests-link setpriv --reuid=ann --regid=ann --clear-groups env HOME=/nonexistent AUTOPKGTEST_TMP=/tmp/ann /given/link

# A link, made by the older version; then a panel.
check link speaker link --json
check enable ended_with 0 device-auth hardware enable simulated --panel console --no-test
check enabled-drop-in grep -qxFf /usr/share/device-auth/drop-ins/panels/console.conf "$drop_ins/panel.conf"
settings=$(sha256sum /etc/device-auth/config.toml)
link=$(sha256sum "$state/simulated/link.json")
panel=$(sha256sum "$drop_ins/panel.conf")

check upgrade dpkg_quietly --install /given/now/*.deb
check upgraded test "$(dpkg-query --show --showformat='${Version}' device-auth)" = "$(dpkg-deb --field /given/now/device-auth_*.deb Version)"
same link-after-upgrade "$link" "$(sha256sum "$state/simulated/link.json")"
same panel-after-upgrade "$panel" "$(sha256sum "$drop_ins/panel.conf")"
same settings-after-upgrade "$settings" "$(sha256sum /etc/device-auth/config.toml)"
check token-after-upgrade speaker token
check compiled-after-upgrade all_compiled
touch /etc/systemd/system/device-auth.service
check scripts-twice dpkg_quietly --install /given/now/*.deb
check by-hand-named grep -q 'installation by hand' /tmp/dpkg.log
rm /etc/systemd/system/device-auth.service

# A newer version writes what this one cannot read: refused, untouched, and whole for the newer one again.
check newer dpkg_quietly --install /given/newer/*.deb
check link-by-newer speaker link --again --json
newer=$(sha256sum "$state/simulated/link.json")
check link-is-newer grep -q '"version": 3' "$state/simulated/link.json"
check downgrade dpkg_quietly --force-downgrade --install /given/now/*.deb
check newer-link-refused ended_with 74 speaker token
check newer-link-named grep -q 'version 3' /tmp/said
check newer-link-not-written-over ended_with 74 speaker link --again
same newer-link-untouched "$newer" "$(sha256sum "$state/simulated/link.json")"
check newer-again dpkg_quietly --install /given/newer/*.deb
check newer-link-whole speaker token
check back dpkg_quietly --force-downgrade --install /given/now/*.deb

# Removed: what the owner has stays.
service cp "$state/simulated/link.json" "$state/link.json"
link=$(sha256sum "$state/link.json")
check remove dpkg_quietly --remove device-auth device-auth-factory device-auth-l10n device-auth-simulator
check remove-says-how grep -q 'unlink --wipe' /tmp/dpkg.log
same link-after-remove "$link" "$(sha256sum "$state/link.json")"
same settings-after-remove "$settings" "$(sha256sum /etc/device-auth/config.toml)"
check program-gone test ! -e /usr/bin/device-auth -a ! -e /usr/share/device-auth
check simulator-gone test -z "$(find / -xdev -name simulator -path '*device*' -not -path '/given/*')"
check install-again dpkg_quietly --install /given/now/*.deb
same link-after-install-again "$link" "$(sha256sum "$state/link.json")"

# Purged: overwritten and gone, but for what the factory wrote. A second name shows what was in the file.
service sh -c "echo 'dsn = \"D1\"' > $state/identity.toml; echo locked > $state/factory-lock.json"
ln "$state/link.json" /var/lib/second-name
for name in device-auth.key other; do
    install -D -m 600 /etc/device-auth/config.toml /etc/credstore.encrypted/$name
done
mkdir -p /run/device-auth
token=$(grep -o 'Sim|[A-Za-z0-9|_-]*' "$state/link.json" | head -1)
check token-was-there grep -qF "$token" /var/lib/second-name
check link-of-root link_of_root
check token-of-root-was-there grep -qF 'Sim|' /var/lib/name-of-root
check purge dpkg_quietly --purge device-auth device-auth-factory device-auth-l10n device-auth-simulator
same purged-but-identity "/var/lib/device-auth /var/lib/device-auth/factory-lock.json /var/lib/device-auth/identity.toml" "$(find $state | sort | xargs)"
check purge-says-so grep -q identity.toml /tmp/dpkg.log
check overwritten ended_with 1 grep -F "$token" /var/lib/second-name
check overwritten-of-root all_erased /var/lib/name-of-root
rm /var/lib/name-of-root
same drop-in-of-others "$drop_ins/mine.conf" "$(find /etc/systemd/system/device-auth.service.d -type f)"
same credential-of-others /etc/credstore.encrypted/other "$(find /etc/credstore.encrypted -type f)"
check runtime-gone test ! -e /run/device-auth
check users-stay id device-auth

# The factory's lock holds after each of them: no verb but the one that looks runs.
locked() {
    ended_with 77 device-auth factory facts && ended_with 77 device-auth factory identity erase --force \
        && ended_with 77 device-auth factory identity write --force --dsn KS0001 --product-id P --client-id C --simulate \
        && ended_with 0 device-auth factory status
}
check install-after-purge dpkg_quietly --install /given/now/*.deb
check locked-after-purge locked
check remove-locked dpkg_quietly --remove device-auth device-auth-factory device-auth-l10n device-auth-simulator
check install-after-remove dpkg_quietly --install /given/now/*.deb
check locked-after-remove locked
# A name that the service could have put there leads to a file of root's.
echo whole > /var/lib/of-root
chmod 600 /var/lib/of-root
ln /var/lib/of-root "$state/name-of-service"
check purge-locked dpkg_quietly --purge device-auth device-auth-factory device-auth-l10n device-auth-simulator
same file-of-root-is-not-overwritten whole "$(cat /var/lib/of-root)"
check name-of-service-gone test ! -e "$state/name-of-service"
check not-all-overwritten-is-told grep -q 'not all of' /tmp/dpkg.log
check locked-file-stays grep -q locked "$state/factory-lock.json"

# And nothing of it all is left in the tree.
rm -r /var/lib/second-name /var/lib/of-root "$state" "$drop_ins" /etc/credstore.encrypted/other /tmp/strange
check fresh dpkg_quietly --install /given/now/*.deb
check link-of-root-alone link_of_root
check purge-again dpkg_quietly --purge device-auth device-auth-factory device-auth-l10n device-auth-simulator
check overwritten-again all_erased /var/lib/name-of-root
rm /var/lib/name-of-root
check purge-twice dpkg_quietly --purge device-auth device-auth-factory device-auth-l10n device-auth-simulator
userdel ann
files > /tmp/after
check nothing-left diff /tmp/before /tmp/after
