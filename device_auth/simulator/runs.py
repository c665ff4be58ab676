"""Many simulated Amazons behind one address: each is made for one run of one unit and has a path of its own.

None knows what another has issued: a code or a token of one run is worth nothing in the next, whichever unit sends it.
The control API answers loopback alone, as it does everywhere; the holder of a ``SimulatedRun`` needs none.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from werkzeug.exceptions import NotFound

from device_auth.core.errors import ConfigError
from device_auth.core.models import Secret
from device_auth.simulator import authority
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.app import create_app
from device_auth.simulator.models import Options
from device_auth.simulator.server import SimulatorServer
from device_auth.world.explain import explain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH: Final = "run"
_NAME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """The simulated Amazon of one run.

    Attributes:
        amazon: its state and decisions.
        base_url: for Login with Amazon.
        issued: every device code and token so far, in order.
    """

    amazon: Amazon
    base_url: str
    issued: list[Secret]


class RunsServer:
    """Serves simulated Amazons by TLS until it is stopped; a context manager.

    Args:
        host: an address of this machine; the certificate is for it.
        port: 0 for a free one.
        folder: of a certificate authority that this server alone has.
        now: monotonic seconds.

    Raises:
        ConfigError: if it is no address of this machine, the port is in use, or no certificate can be made.
    """

    def __init__(self, host: str, port: int, folder: Path, now: Callable[[], float]) -> None:
        try:
            address = ip_address(host)
        except ValueError:
            address = None
        if address is None or address.is_unspecified or address.is_multicast:
            hint = "Use an address of this machine that the units reach, such as 192.168.7.1."
            raise ConfigError(f"{host!a} is not one address to listen on", hint=hint)
        context, self.ca_file = authority.server_context(
            folder, address=None if address.is_loopback else address
        )
        try:
            self._server = SimulatorServer(host, port, context, now)
        except (OSError, OverflowError) as error:
            words = f"cannot listen on {host} port {port}"
            reason = explain(words, error) if isinstance(error, OSError) else words
            raise ConfigError(reason, hint="Look at the addresses of this machine: ip address") from error
        self.origin = self._server.origin
        self._now = now
        self._lock = threading.Lock()
        self._apps: dict[str, WSGIApplication] = {}
        self._server.start(self._answer)

    @contextmanager
    def run(self, options: Options) -> Iterator[SimulatedRun]:
        """Serve a simulated Amazon of its own meanwhile; afterwards its path is unknown."""
        name = secrets.token_hex(_NAME_BYTES)
        origin = f"{self.origin}/{_PATH}/{name}"
        issued: list[Secret] = []
        amazon = Amazon(options, clock=self._now, on_issue=lambda text: issued.append(Secret(text)))
        app = create_app(amazon, origin=origin)
        with self._lock:
            self._apps[name] = app
        try:
            yield SimulatedRun(amazon, f"{origin}/auth/O2/", issued)
        finally:
            with self._lock:
                del self._apps[name]

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        """Have the run that the path names answer. Source: PEP 3333, SCRIPT_NAME."""
        _, first, name, *rest = (*environ["PATH_INFO"].split("/", 3), "", "")[:4]
        with self._lock:
            app = self._apps.get(name) if first == _PATH else None
        if app is None:
            return NotFound()(environ, start_response)
        environ["SCRIPT_NAME"] = f"/{_PATH}/{name}"
        environ["PATH_INFO"] = f"/{''.join(rest)}"
        return app(environ, start_response)

    def stop(self) -> None:
        """Stop listening, and close all connections; a second call does nothing."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
