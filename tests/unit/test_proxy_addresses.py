"""The address of a proxy: read, or refused in words that never show it."""

import pytest

from device_auth.wire.addresses import read_proxy

CANARY = "w0rd"


@pytest.mark.parametrize(
    ("text", "shown", "user"),
    [
        ("http://proxy.test:3128", "http://proxy.test:3128", ""),
        ("HTTP://proxy_1.test", "http://proxy_1.test:80", ""),
        ("https://proxy.test/", "https://proxy.test:443", ""),
        ("socks5h://proxy.test", "socks5h://proxy.test:1080", ""),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080", ""),
        ("http://me:w%40rd@proxy.test:1", "http://***@proxy.test:1", "me:w@rd"),
        ("http://user1@proxy.test:1", "http://***@proxy.test:1", "user1"),
    ],
)
def test_a_proxy_is_shown_without_its_user_and_password(text: str, shown: str, user: str) -> None:
    proxy = read_proxy(text)

    assert str(proxy) == shown
    assert proxy.user.reveal() == user
    assert proxy.address.reveal() == text
    assert not user or user not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must begin with"),
        (f"proxy.test:3128@{CANARY}", "must begin with"),
        (f"gopher://{CANARY}@proxy.test", "must begin with"),
        (f"http://{CANARY}@", "names no host"),
        (f"http://{CANARY}@proxy.test:0", "names no host"),
        (f"http://{CANARY}@proxy.test:port", "is not a well-formed address"),
        (f"http://{CANARY}@[::1", "is not a well-formed address"),
        (f"http://{CANARY}@{'a' * 64}.test", "is not a well-formed address"),
        (f"http://{CANARY}@a..test", "is not a well-formed address"),
        (f"http://{CANARY} @proxy.test", "has characters"),
        (f"http://{CANARY}\n@proxy.test", "has characters"),
    ],
)
def test_what_is_no_proxy_is_refused_without_being_shown(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        read_proxy(text)

    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
