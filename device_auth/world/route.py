"""The route of requests: through which proxy, and trusting which authorities.

Without a CA file the system's authorities are trusted, as OpenSSL finds them; the variables by which other programs are
told of others replace them. Those that come with the package certifi count only where the system has none.
"""

import atexit
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from device_auth.core.errors import ConfigError
from device_auth.wire.addresses import Proxy, read_proxy, stays_here
from device_auth.world.explain import explain
from device_auth.world.files import open_plain
from device_auth.world.settings import ENVIRONMENT

if TYPE_CHECKING:
    import ssl

BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Each names a file or a folder of authorities. Source: requests, "SSL Cert Verification"."""

CERT_FILE: Final = "SSL_CERT_FILE"
CERT_FOLDERS: Final = "SSL_CERT_DIR"
"""Name a file, and folders with colons between. Source: OpenSSL's openssl-env(7)."""

CA_FILE: Final = "ca_file"
SYSTEM: Final = "system"
CERTIFI: Final = "certifi"
"""Origins of authorities, besides the variables."""

_HASHED: Final = r"[0-9a-f]{8}\.\d+"
"""The name of a certificate in a folder. Source: OpenSSL's openssl-rehash(1)."""

loading: Final = threading.Lock()
"""Held while libraries or authorities are loaded: a process that ends while a thread is within OpenSSL may end by SIGSEGV."""
atexit.register(loading.acquire)

REINSTALL: Final = "Reinstall the authorities: sudo apt install --reinstall ca-certificates"
"""Helps only where the system's authorities are those that are trusted."""


class Trust(NamedTuple):
    """The place of the trusted authorities.

    Attributes:
        origin: ``ca_file``, the variable that names them, ``system`` or ``certifi``.
        file: of certificates; empty if there is none.
        folder: of certificates, or several with colons between; empty if there is none.
    """

    origin: str
    file: str = ""
    folder: str = ""

    @property
    def place(self) -> str:
        """Return file and folder for people."""
        return ", ".join(part for part in (self.file, self.folder) if part)


def names_route(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a proxy or authorities."""
    of_authorities = any(environ.get(name) for name in (*BUNDLES, CERT_FILE, CERT_FOLDERS))
    return of_authorities or any(proxy_variables(scheme, environ) for scheme in ("https", "http"))


def openssl_paths() -> tuple[str, str]:
    """Return the file and the folder of authorities that OpenSSL was built with."""
    import ssl

    built = ssl.get_default_verify_paths()
    return built.openssl_cafile, built.openssl_capath


def find_trust(
    ca_file: Path | None,
    environ: Mapping[str, str] = ENVIRONMENT,
    usual: Callable[[], tuple[str, str]] = openssl_paths,
) -> Trust:
    """Find out which authorities are trusted, without reading them.

    Args:
        ca_file: the only ones, or None.
        environ: the environment.
        usual: returns the system's file and folder.
    """
    if ca_file is not None:
        return Trust(CA_FILE, file=str(ca_file))
    for name in BUNDLES:
        if given := environ.get(name):
            is_folder = os.path.isdir(given)  # noqa: PTH112  Path.is_dir raises in a closed folder
            return Trust(name, folder=given) if is_folder else Trust(name, file=given)
    file, folder = environ.get(CERT_FILE, ""), environ.get(CERT_FOLDERS, "")
    if file or folder:
        return Trust(CERT_FILE if file else CERT_FOLDERS, file, folder)
    file, folder = usual()
    file = file if _holds_anything(file) else ""
    folder = folder if _is_folder_of_certificates(folder) else ""
    if file or folder:
        return Trust(SYSTEM, file, folder)
    from certifi import where

    return Trust(CERTIFI, file=where())


class Authorities:
    """The trusted authorities, as a TLS context that is made once.

    Args:
        ca_file: the only ones to trust, or None.
        named: how messages name ``ca_file``.
        hint: how to correct it.
        environ: the environment.
    """

    def __init__(
        self,
        ca_file: Path | None = None,
        *,
        named: str = CA_FILE,
        hint: str = "Name a file of certificates in PEM form that this user may read.",
        environ: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        self.ca_file = ca_file
        self._named = named
        self._hint = hint
        self._environ = environ
        self._made: tuple[Trust, object, ssl.SSLContext] | None = None

    @property
    def trust(self) -> Trust:
        """Return their place, as it is found now."""
        return find_trust(self.ca_file, self._environ)

    def context(self) -> "ssl.SSLContext":
        """Return the context of all connections; another one once the file has changed.

        Raises:
            ConfigError: if the authorities cannot be read, or are none.
        """
        trust = self.trust
        state = _state_of(trust.file)
        made = self._made
        if made is None or made[:2] != (trust, state):
            made = self._made = trust, state, self.make_context()
        return made[2]

    def make_context(self) -> "ssl.SSLContext":
        """Make a context that nobody else has; raises as ``context``.

        ``check_hostname`` stays as urllib3 wants it: 1.26 compares the name itself, as it cannot have OpenSSL do it for an IP address.
        """
        import ssl

        from urllib3.util.ssl_ import create_urllib3_context

        trust = self.trust
        with loading:
            context = create_urllib3_context()
        try:
            for folder in filter(None, trust.folder.split(os.pathsep)):
                if not _has_certificates(folder):
                    raise self._unusable(trust, f"holds no certificates under their hashes: {folder}")
            with open_plain(Path(trust.file)) if trust.file else nullcontext() as fd, loading:
                # by its descriptor: a path may lead to another file a moment later, or to a pipe
                file = None if fd is None else f"/proc/self/fd/{fd}"
                context.load_verify_locations(file, trust.folder or None)
        except ssl.SSLError as error:
            raise self._unusable(trust, f"holds no certificates in PEM: {trust.file}") from error
        except (OSError, ValueError) as error:
            path = getattr(error, "filename", None) or trust.file
            raise self._unusable(trust, explain(f"cannot be read: {path}", error)) from error
        return context

    def _unusable(self, trust: Trust, fault: str) -> ConfigError:
        if trust.origin == CA_FILE:
            return ConfigError(f"{self._named} {fault}", hint=self._hint)
        if trust.origin in {SYSTEM, CERTIFI}:
            return ConfigError(f"the store of authorities ({trust.origin}) {fault}", hint=f"{REINSTALL}.")
        return ConfigError(f"the variable {trust.origin} {fault}", hint=_correct(trust.origin))


class Route(NamedTuple):
    """The route of requests to an address.

    Attributes:
        proxy: or None.
        origin: of the proxy: ``proxy``, which is the setting, or the name of a variable; empty without one.
        authorities: that are trusted.
        problem: why the proxy cannot be used, or None.
    """

    proxy: Proxy | None
    origin: str
    authorities: Authorities
    problem: ConfigError | None = None

    def prove(self, url: str) -> "tuple[Proxy | None, ssl.SSLContext | None]":
        """Return what a request to an address needs: the proxy and, for https, the TLS context.

        Raises:
            ConfigError: if one of them cannot be used.
        """
        if self.problem is not None:
            raise self.problem
        is_secure = urlsplit(url).scheme == "https"
        return self.proxy, self.authorities.context() if is_secure else None


def find_proxy(
    url: str,
    given: Proxy | None,
    of_environment: Callable[[str], str],
    environ: Mapping[str, str] = ENVIRONMENT,
) -> tuple[Proxy | None, str]:
    """Find out through which proxy requests go; none for this machine itself.

    Args:
        url: of the requests.
        given: by the settings.
        of_environment: returns that of the environment, or an empty text.
        environ: the environment.

    Returns:
        The proxy, and its origin as in ``Route``.

    Raises:
        ConfigError: if it cannot be used.
    """
    if stays_here(url):
        return None, ""
    if given is not None:
        return _usable(given, "proxy"), "proxy"
    text = of_environment(url)
    if not text:
        return None, ""
    origin = _variable_of(text, urlsplit(url).scheme, environ)
    try:
        # requests also reads a proxy address without a scheme as http
        return _usable(read_proxy(text if "://" in text else f"http://{text}"), origin), origin
    except ValueError as fault:
        raise ConfigError(f"the proxy of the variable {origin} {fault}", hint=_correct(origin)) from None


def proxy_variables(scheme: str, environ: Mapping[str, str] = ENVIRONMENT) -> list[str]:
    """Return the variables that name a proxy for a scheme, the strongest first. Source: requests, "Proxies"."""
    names = (f"{scheme}_proxy", "all_proxy")
    return [name for lower in names for name in (lower, lower.upper()) if environ.get(name)]


def _usable(proxy: Proxy, origin: str) -> Proxy:
    from importlib.util import find_spec

    if proxy.is_socks and find_spec("socks") is None:
        from device_auth.installation import how_to_install

        raise ConfigError(
            f"the proxy {proxy} ({origin}) needs the package PySocks, which is not installed",
            hint=f"{how_to_install('PySocks')}; or name a proxy that speaks HTTP.",
        )
    return proxy


def _variable_of(text: str, scheme: str, environ: Mapping[str, str]) -> str:
    names = proxy_variables(scheme, environ)
    return next((name for name in names if environ[name] == text), f"{scheme}_proxy")


def _correct(variable: str) -> str:
    return (
        f"Correct the variable {variable} or take it away; for the service it stands in a line Environment= of its unit:"
        " systemctl cat device-auth"
    )


def _state_of(file: str) -> object:
    """Return what changes when a file does."""
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _holds_anything(file: str) -> bool:
    try:
        return Path(file).stat().st_size > 0 and os.access(file, os.R_OK)
    except OSError:
        return False


def _has_certificates(folder: str) -> bool:
    """Return whether a folder has a certificate that OpenSSL would find; raises OSError if it cannot be read."""
    with os.scandir(folder) as entries:
        return any(re.fullmatch(_HASHED, entry.name) for entry in entries)


def _is_folder_of_certificates(folder: str) -> bool:
    try:
        return _has_certificates(folder)
    except OSError:
        return False
