"""The service: loop, daemon, parts, prompts, socket and page put together, and run until a signal stops it."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from stat import S_ISCHR
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

from device_auth.assembly.announcing import terminal_of
from device_auth.assembly.checked_settings import CheckedSettings, check_settings
from device_auth.assembly.opened_parts import OpenedParts, PartsListener, SimulatedAs
from device_auth.assembly.parts import open_parts
from device_auth.core.errors import ConfigError, StoreDamaged, StoreError
from device_auth.core.models import Link, Refusal, Seconds, TokenGrant, View, later
from device_auth.core.policy import REFRESH_DISTANCE
from device_auth.core.states import StateWord, Trouble, phrase_of
from device_auth.prompts.code_channels import CodeChannel, refuse_without_channel
from device_auth.prompts.fanout import PromptFanout
from device_auth.prompts.stderr import Stderr, say
from device_auth.service.api import Api
from device_auth.service.callers import Permissions, read_permissions
from device_auth.service.daemon import Daemon, DaemonOptions, explained
from device_auth.service.journal import open_log
from device_auth.service.page import Page, open_listener
from device_auth.service.status_feed import StatusFeed
from device_auth.service.systemd import Notifier, Sockets, is_anew, sockets_given, start_anew
from device_auth.world.c_library import call_c
from device_auth.world.clock import clock_steps
from device_auth.world.factory_lock import OPEN_FOR, LockPlaces, is_machines_own, note_reset
from device_auth.world.places import make_runtime_dir, read_places
from device_auth.world.settings import AT_START, ENVIRONMENT
from device_auth.world.signals import ServiceSignals, woken_by_signals
from device_auth.world.token_files import FileTokens
from device_auth.world.wiping import wipe as wipe_everything

if TYPE_CHECKING:
    import socket

    from device_auth.assembly.doors import Doors
    from device_auth.service.loop import Loop

log: Final = logging.getLogger(__name__)

SOCKET: Final = "api.sock"

MANAGER_API: Final = "api"
MANAGER_PAGE: Final = "page"
"""The names of the service manager's sockets: ``FileDescriptorName=`` of their units."""

OWN_API: Final = "own-api"
OWN_PAGE: Final = "own-page"
"""The names for a fresh process of the sockets that this service made."""

AT_REST: Final = {StateWord.UNLINKED, StateWord.LINKED}

RESTART: Final = "sudo systemctl restart device-auth"

ANSWERS_WITHIN: Final = Seconds(1)
"""How long answers may take before a fresh process takes over."""

PR_SET_DUMPABLE: Final = 4

SIMULATED_PAGE: Final = "127.0.0.1:8080"


class ServiceStreams(NamedTuple):
    """What a person, or a program, has of a running service.

    Attributes:
        log_to: standard error.
        log_format: ``json`` or ``text``; None for the journal where standard error leads there, else text.
        presses: lines that press a simulated button.
        is_ended_by_input: the service of a simulated speaker ends with them, or with the keyboard.
        on_page: called with the address of a simulated speaker's page.
    """

    log_to: TextIO | Stderr
    log_format: str | None = None
    presses: Iterable[str] | None = None
    is_ended_by_input: bool = False
    on_page: Callable[[str], None] = lambda _address: None

    def is_drawn(self, doors: "Doors") -> bool:
        """Return whether a simulated speaker is drawn on standard error."""
        return doors.is_simulated and sys.stderr.isatty() and not doors.is_dumb and self.log_format is None


class Beginning(NamedTuple):
    """How a process of the service begins.

    Attributes:
        sockets: that listen already, from the service manager or from the process before a fresh start.
        is_anew: it goes on in the place of another process.
    """

    sockets: Sockets
    is_anew: bool


def run_service(doors: "Doors", streams: ServiceStreams) -> None:
    """Run the service of a speaker until a signal stops it.

    Args:
        doors: of the speaker.
        streams: its log, and what presses a simulated button.

    Raises:
        ConfigError: if the options of a simulation cannot be used.
    """
    signals = ServiceSignals()
    with signals.heard():
        _keep_memory_private()
        doors.is_service = True
        begun = Beginning(sockets_given(ENVIRONMENT, os.getpid()), is_anew(ENVIRONMENT, os.getpid()))
        while (kept := _run_once(doors, signals, begun, streams)) is not None:
            _start_anew(signals, kept)
            begun = Beginning(kept, is_anew=True)


def _run_once(
    doors: "Doors", signals: ServiceSignals, begun: Beginning, streams: ServiceStreams
) -> Sockets | None:
    """Run the service until a signal stops it, or a fresh process is due.

    Returns:
        The sockets for the fresh process; None if a signal stopped it.
    """
    notifier = Notifier(ENVIRONMENT)
    with ExitStack() as opened:
        is_verbose = "verbose" in doors.options
        journal = opened.enter_context(
            open_log(
                ENVIRONMENT,
                doors.clock,
                stderr=streams.log_to,
                form=streams.log_format,
                is_verbose=is_verbose,
                is_quiet=streams.is_drawn(doors) and not is_verbose,
            )
        )
        opened.enter_context(doors.simulated_amazon(_link_of_simulation(doors)))
        in_force = _SettingsInForce(doors)
        servers = _Servers(doors, in_force, begun.sockets, streams.on_page)
        if doors.doubt:
            log.warning("%s", doors.doubt)
        feed = StatusFeed(doors.clock, FileTokens(doors.places.runtime_dir, doors.clock, keep_bare=True))
        is_known = begun.is_anew  # people have just been told

        def tell(view: View) -> None:
            journal.tell(view)
            feed.tell(view, loop.stored_link)
            nonlocal is_known
            if not is_known or view.trouble is not Trouble.NONE or view.state not in AT_REST:
                telling.tell(view)
            is_known = False
            notifier.status(_summary(view))

        def report_alive() -> None:
            notifier.alive()
            feed.follow_clock_step()
            feed.beat()

        loop = doors.open_loop(
            in_force.options().provider_client, tell, tokens=feed, refresh_ended=feed.refresh_ended
        )
        _keep_metrics(doors, loop, feed, opened)
        held = opened.enter_context(ExitStack())

        def open_store() -> TokenGrant | None:
            is_late = loop.speaker.awaited is not None
            if not doors.store.is_locked:
                held.enter_context(doors.store)
                # not before: the token may be another service's. A fresh process goes on with it.
                held.callback(lambda: None if servers.is_left else feed.withdraw())
                if is_late:
                    telling.open_failed_again()
                    servers.open_missing(feed, daemon)
            _move_to_best_key(doors)
            _fill_in_marks(doors)
            return _token_before_restart(doors)

        daemon = _make_daemon(
            doors,
            loop,
            in_force,
            report_alive,
            servers,
            open_store,
            lambda: refuse_without_channel([*telling.code_channels, *servers.code_channels]),
            lambda: _wipe(doors, is_by_hand=telling.has_real_button),
        )
        opened.enter_context(woken_by_signals(lambda: loop.call_soon(lambda: None)))
        opened.enter_context(clock_steps(lambda: loop.call_soon(feed.follow_clock_step)))
        signals.answer_by(daemon.stop, daemon.reload)
        telling = _PartsTelling(doors, daemon, streams)
        opened.callback(telling.close)
        servers.is_telling, servers.has_light = telling.is_telling, telling.has_light
        opened.callback(servers.close)
        on_started = _answering(loop, servers, feed, daemon, notifier, is_anew=begun.is_anew)
        opened.callback(lambda: notifier.reloading() if servers.is_left else notifier.stopping())
        if daemon.run(on_started):
            log.info("a fresh process goes on: the memory of this one holds what was unlinked")
            servers.leave()
    return servers.left


def _answering(
    loop: "Loop",
    servers: "_Servers",
    feed: StatusFeed,
    daemon: Daemon,
    notifier: Notifier,
    *,
    is_anew: bool,
) -> Callable[[], None]:
    """Begin to answer, and return what is called once the link is known: a fresh process answers only then.

    Those who came in the gap would be told "starting", and a command that there is no link.
    """

    def on_started() -> None:
        servers.open_missing(feed, daemon)
        notifier.ready()
        if loop.keeping is None:  # else a refresh loads it, and no owner waits for that
            from device_auth.world.transport import load

            threading.Thread(target=load, name="loading", daemon=True).start()

    if not is_anew:
        servers.open_missing(feed, daemon)
    return on_started


def _keep_metrics(doors: "Doors", loop: "Loop", feed: StatusFeed, opened: ExitStack) -> None:
    """Keep the file for Prometheus, if the settings ask for it."""
    if doors.settings.metrics:
        from device_auth.service.metrics import Metrics

        metrics = Metrics(doors.places.runtime_dir, feed.look, doors.clock, loop.call_soon)
        loop.hear = metrics.hear
        opened.callback(metrics.remove)


class _SettingsInForce:
    """The settings that the service uses: looked up and checked at its start, and again at each reload.

    Args:
        doors: use them.

    Attributes:
        checked: the settings in use, and what is wrong with them.
    """

    def __init__(self, doors: "Doors") -> None:
        self._doors = doors
        self.checked = self._look_up()
        self._use(self.checked)
        self._opened = doors.settings
        self._options = self._make_options(self.checked)
        for problem in self.checked.problems[1:]:
            log.error("%s. %s", problem, problem.hint)

    def options(self) -> DaemonOptions:
        """Return what the daemon takes of them; a missing provider or key is the problem in it."""
        return self._options

    def reload(self) -> DaemonOptions:
        """Look them up and check them again, and use them.

        Raises:
            DeviceAuthError: if they have a problem that those in force have not, which are kept then.
        """
        former, new = self.checked, self._look_up()
        if self._options.problem is None:
            found = [*new.problems, *new.provider_problems, new.parts_problem(), new.page_problem()]
            if former.route_problem() is None:
                found.append(new.route_problem())
            wrong = [problem for problem in found if problem is not None]
            for problem in wrong:
                log.error("%s. %s", problem, problem.hint)
            if wrong:
                raise wrong[0]
        self._use(new)
        options = self._make_options(new)
        if options.problem is not None and self._options.problem is None:
            self._use(former)
            raise options.problem
        self.checked, self._options = new, options
        if self._doors.store.is_locked:
            _move_to_best_key(self._doors)
        for name in AT_START:
            if self.has_changed(name):
                log.warning("%s has changed, which counts from the next start on: %s", name, RESTART)
        return options

    def has_changed(self, name: str) -> bool:
        """Return whether a setting is another one than at the start, when the parts and the page were opened."""
        return bool(getattr(self.checked.settings, name) != getattr(self._opened, name))

    def check_route(self) -> Refusal | None:
        """Return why no request could leave this machine, if so."""
        problem = self.checked.route_problem()
        return None if problem is None else explained(Trouble.MISCONFIGURED, problem, problem.hint)

    def _look_up(self) -> CheckedSettings:
        doors = self._doors
        if doors.is_simulated:
            return CheckedSettings(doors.settings, (), (), doors.keys, {})
        return check_settings(doors.options, read_places(doors.options).files)

    def _use(self, checked: CheckedSettings) -> None:
        self._doors.use_settings(checked.settings, checked.keys)

    def _make_options(self, checked: CheckedSettings) -> DaemonOptions:
        doors = self._doors
        problem: ConfigError | StoreError | None = next(iter(checked.problems), None)
        if problem is None:
            try:
                doors.keys.sealing()
                return DaemonOptions(doors.open_provider_client(), None, doors.settings.renewals)
            except (ConfigError, StoreError) as found:
                problem = found
        log.error("cannot request a code: %s. %s", problem, problem.hint)
        return DaemonOptions(doors.open_refreshing(), problem, doors.settings.renewals)


class _Servers:
    """The socket and the page, and all that a fresh process must not cut short: see ``daemon.FreshStart``.

    Args:
        doors: of the speaker.
        in_force: the settings.
        given: sockets that listen already, from the service manager or from the process before a fresh start.
        on_page: see ``ServiceStreams``.

    Attributes:
        is_telling: returns whether a person is still being told something.
        has_light: returns whether there is a light.
        left: the sockets for a fresh process, once they are left to it.
    """

    def __init__(
        self, doors: "Doors", in_force: _SettingsInForce, given: Sockets, on_page: Callable[[str], None]
    ) -> None:
        self._on_page = on_page
        self._doors = doors
        self._in_force = in_force
        self._given = given
        self._api: Api | None = None
        self._page: Page | None = None
        self._revoking: threading.Thread | None = None
        self.is_telling: Callable[[], bool] = lambda: False
        self.has_light: Callable[[], bool] = lambda: False
        self.left: Sockets | None = None

    @property
    def is_left(self) -> bool:
        """Return whether a fresh process goes on."""
        return self.left is not None

    @property
    def code_channels(self) -> tuple[CodeChannel, ...]:
        """Return the page, where a phone can see it."""
        return (CodeChannel.PAGE,) if self._page is not None and self._page.shows_codes else ()

    def open_missing(self, feed: StatusFeed, daemon: Daemon) -> None:
        """Open the socket and the page, as far as they are not open yet: another service may have had them."""
        if self._api is None:
            self._api = self._open_api(feed, daemon)
            if self._api is not None:
                self._api.start()
        if self._page is None:
            self._page = self._open_page(feed, daemon)

    def close(self) -> None:
        """Answer what has come, stop answering, and remove the socket unless a fresh process goes on with it."""
        self.hold()
        if self._page is not None:
            self._page.close()
        if self._api is not None:
            self._api.close(is_anew=self.is_left)

    def leave(self) -> None:
        """Leave the sockets to a fresh process; those of a page whose settings have changed are made anew."""
        self.left = {}
        if self._api is not None:
            name = MANAGER_API if MANAGER_API in self._given else OWN_API
            self.left[name] = [self._api.listener.dup()]
        is_given = MANAGER_PAGE in self._given
        if self._page is not None and (is_given or not self._in_force.has_changed("page")):
            self.left[MANAGER_PAGE if is_given else OWN_PAGE] = [each.dup() for each in self._page.listeners]

    def is_busy(self) -> bool:
        """Return whether a person is still being told something, or the provider of the end of a link."""
        return self.is_telling() or (self._revoking is not None and self._revoking.is_alive())

    def hold(self) -> None:
        """Let new requests of programs wait, and have those that have come answered."""
        for each in self._all():
            each.server.hold(ANSWERS_WITHIN)

    def go_on(self) -> None:
        """Answer requests again."""
        for each in self._all():
            each.start()

    def revoke(self, link: Link) -> None:
        """Revoke the link at the provider, in the background; the speaker has forgotten it already."""
        if link.revocation_endpoint:
            client = self._doors.open_refreshing()
            self._revoking = threading.Thread(target=client.revoke, args=(link,), name="revoke", daemon=True)
            self._revoking.start()

    def _all(self) -> "list[Api | Page]":
        return [server for server in (self._api, self._page) if server is not None]

    def _open_api(self, feed: StatusFeed, daemon: Daemon) -> Api | None:
        """Open the socket: that of the service manager, or else our own; return None without a runtime folder."""
        runtime_dir, clock = self._doors.places.runtime_dir, self._doors.clock
        # a simulated speaker is its user's own
        permissions = (
            Permissions(None, None, os.geteuid()) if self._doors.is_simulated else read_permissions()
        )

        def name() -> str:
            return self._doors.name

        if given := self._given.get(MANAGER_API):
            return Api(feed, daemon, clock, listener=given[0], permissions=permissions, name=name)
        if runtime_dir is None:
            log.error("cannot open the socket: there is no runtime folder")
            return None
        taken = next(iter(self._given.get(OWN_API, [])), None)
        try:
            make_runtime_dir(runtime_dir)
            path = runtime_dir / SOCKET
            return Api(feed, daemon, clock, listener=path, taken=taken, permissions=permissions, name=name)
        except StoreError as error:
            log.error("cannot open the socket: %s", error)
            return None

    def _open_page(self, feed: StatusFeed, daemon: Daemon) -> Page | None:
        """Serve the speaker's own page, unless it is switched off; that of a simulated speaker is on loopback only.

        A wrong setting of the page must not stop a linked speaker, which goes on without a page.
        """
        doors = self._doors
        try:
            settings = self._in_force.checked.read_page()
        except ConfigError as error:
            daemon.on_part_failure("page", _until_restart(error))
            return None
        if settings is None:
            return None
        sockets = self._given.get(MANAGER_PAGE) or self._given.get(OWN_PAGE, [])
        if doors.is_simulated:
            sockets = sockets or [listen_for_simulated_page()]
            settings = settings._replace(hosts=(*settings.hosts, "localhost"))  # its code is worth nothing
        page = Page(
            feed,
            daemon,
            doors.clock,
            settings=settings,
            sockets=sockets,
            name=lambda: doors.name,
            has_light=self.has_light,
        )
        try:
            page.start()
        except ConfigError as error:
            log.error("cannot serve the page: %s", error)
            return None
        if doors.is_simulated:
            address = "http://{}:{}/".format(*sockets[0].getsockname())
            say(f"The speaker's page: {doors.as_link(address)}")
            self._on_page(address)
        return page


def _start_anew(signals: ServiceSignals, kept: Sockets) -> None:
    """Put a fresh process in the place of this one; return if that is not possible, or a signal wants to stop it."""
    with signals.left_to_successor():
        if signals.is_stopping:
            return
        try:
            start_anew(kept, ENVIRONMENT)
        except OSError as error:
            log.error("cannot start anew, so the memory keeps what was unlinked: %s", error)


def _keep_memory_private() -> None:
    """Let no other process of this user read our memory, and no crash write it to the disk: it holds the refresh token.

    Source: prctl(2), ``PR_SET_DUMPABLE``.
    """
    failed: int | OSError
    try:
        failed = call_c("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    except OSError as error:
        failed = error
    if failed:
        log.warning("other processes of this user can read the memory of the service: %s", failed)


def _make_daemon(
    doors: "Doors",
    loop: "Loop",
    in_force: _SettingsInForce,
    report_alive: Callable[[], None],
    servers: _Servers,
    open_store: Callable[[], TokenGrant | None],
    refuse_code: Callable[[], Refusal | None],
    wipe: Callable[[], None],
) -> Daemon:
    return Daemon(
        loop=loop,
        clock=doors.clock,
        options=in_force.options(),
        read_options=in_force.reload,
        check_route=in_force.check_route,
        refuse_code=refuse_code,
        wipe=wipe,
        revoke=servers.revoke,
        report_alive=report_alive,
        open_store=open_store,
        seal=lambda: doors.store.seal(),  # noqa: PLW0108  of the settings that are in force then
        # the simulated Amazon lives in this process, and its tokens are worth nothing
        fresh_start=None if doors.is_simulated else servers,
    )


class _PartsTelling:
    """The parts, and the prompts over them.

    Args:
        doors: of the speaker.
        daemon: hears the button, and of each part that does not work.
        streams: what presses a simulated button.
    """

    def __init__(self, doors: "Doors", daemon: Daemon, streams: ServiceStreams) -> None:
        self._doors = doors
        self._daemon = daemon
        self._streams = streams
        self._failed: set[str] = set()
        self._opened = ExitStack()
        self._open()

    @property
    def code_channels(self) -> tuple[CodeChannel, ...]:
        """Return the parts by which a person can learn a code."""
        return self._parts.code_channels

    @property
    def has_real_button(self) -> bool:
        """Return whether a hand presses the button, and no program."""
        return self._parts.has_real_button

    def tell(self, view: View) -> None:
        """Tell a view by every part, without blocking."""
        self._fanout.tell(view)

    def has_light(self) -> bool:
        """Return whether there is a light."""
        return self._parts.has_light

    def is_telling(self) -> bool:
        """Return whether a person is still being told the last view."""
        return self._fanout.is_behind() or self._parts.is_speaking()

    def open_failed_again(self) -> None:
        """Open all parts again if one failed: another process may have had it."""
        if not self._failed:
            return
        self.close()
        failed, self._failed = self._failed, set()
        for part in failed:
            self._daemon.on_part_mended(part)
        self._open()

    def close(self) -> None:
        """Close the prompts, then the parts."""
        self._opened.close()

    def _open(self) -> None:
        """Open the parts; a wrong setting of theirs must not stop a linked speaker, which goes on without parts."""
        doors, streams = self._doors, self._streams
        on_end = self._daemon.stop if streams.is_ended_by_input else None
        listener = PartsListener(self._daemon.on_gesture, self._note_failure, on_end)
        simulated_as = self._simulated_as()
        self._parts = OpenedParts()
        try:
            self._parts = self._opened.enter_context(
                open_parts(
                    doors.settings,
                    doors.clock,
                    listener,
                    simulated_as=simulated_as,
                    presses=streams.presses,
                    name=lambda: doors.name,
                )
            )
        except ConfigError as error:
            self._daemon.on_part_failure("parts", _until_restart(error))
        prompts = list(self._parts.prompts)
        if simulated_as is not None:
            is_drawn = simulated_as is SimulatedAs.DRAWING
            prompts.append(terminal_of(doors, qr=is_drawn, sidebar=self._parts.sidebar, opened=self._opened))
        self._fanout = PromptFanout(prompts, doors.clock)
        self._opened.callback(self._fanout.close)

    def _simulated_as(self) -> SimulatedAs | None:
        """Return how a simulated speaker is shown; None of a real one."""
        if not self._doors.is_simulated:
            return None
        is_drawn = self._streams.is_drawn(self._doors)
        from device_auth.assembly.simulated_speaker import KEYS, LINES, UNREACHED

        say(self._doors.greeting)
        if self._streams.presses is not None:
            is_tty = sys.stdin.isatty()
            is_empty = not is_tty and S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)  # /dev/null
            say(UNREACHED if is_empty else KEYS if is_drawn and is_tty else LINES)
        return SimulatedAs.DRAWING if is_drawn else SimulatedAs.LINES

    def _note_failure(self, part: str, refusal: Refusal) -> None:
        self._failed.add(part)
        self._daemon.on_part_failure(part, refusal)


def _until_restart(problem: ConfigError) -> Refusal:
    """Return the trouble of a setting that is read only at a start."""
    return explained(Trouble.MISCONFIGURED, problem, f"{problem.hint} Then restart the service.")


def _link_of_simulation(doors: "Doors") -> Link | None:
    """Return the stored link of a simulated speaker, whose simulated Amazon must keep its address."""
    try:
        return doors.store.read() if doors.is_simulated else None
    except StoreDamaged:
        return None


def _move_to_best_key(doors: "Doors") -> None:
    """Seal the stored link under the best key; if that is not possible, it stays unchanged."""
    try:
        doors.store.move_to_best_key()
    except StoreError as error:
        log.warning("cannot seal the link under the best key, so the present key is kept: %s", error)


def _fill_in_marks(doors: "Doors") -> None:
    """Mark the stored link as this unit's, if it bears no mark yet."""
    try:
        doors.store.fill_in_marks()
    except StoreError as error:
        log.warning("the link keeps the marks that it has: %s", error)


def _token_before_restart(doors: "Doors") -> TokenGrant | None:
    """Return the access token that a kill left behind, old enough for a refresh at the first longer request."""
    kept = doors.tokens.read()
    if kept is None:
        return None
    left = Seconds(kept.expires_at - doors.clock.wall())
    return TokenGrant(
        kept.access_token, None, Seconds(left + REFRESH_DISTANCE), later(doors.clock.now(), left)
    )


def listen_for_simulated_page() -> "socket.socket":
    """Listen at the address of a simulated speaker's page, or at a free port, which is logged."""
    try:
        return open_listener(SIMULATED_PAGE)
    except OSError:
        listener = open_listener(f"{SIMULATED_PAGE.partition(':')[0]}:0")
        log.warning("%s is taken: the page is at http://%s:%d/", SIMULATED_PAGE, *listener.getsockname())
        return listener


def _wipe(doors: "Doors", *, is_by_hand: bool) -> None:
    """Carry out a reset: remove every file of ours, and prove it."""
    wiped = wipe_everything(doors.store, doors.places.runtime_dir)
    log.info("wiped: %d files removed, no secret found in %d bytes", len(wiped.removed), wiped.scanned)
    for path in wiped.kept:
        log.info("kept, as it is the unit's own: %s", path)
    _open_lock(doors, is_by_hand=is_by_hand)


def _open_lock(doors: "Doors", *, is_by_hand: bool) -> None:
    """Open the factory's lock for a while, after a reset; a simulated button is no hand on a real unit."""
    places = LockPlaces(doors.places.state_dir, doors.places.runtime_dir)
    if not is_by_hand and is_machines_own(places, doors.machine):
        return
    try:
        if note_reset(places, doors.clock.now()):
            log.warning("the factory's lock is open for %d minutes", OPEN_FOR // 60)
    except StoreError as error:
        log.error("%s", error)


def _summary(view: View) -> str:
    phrase = phrase_of(view.state, view.trouble, is_checking=view.is_checking)
    return f"{view.state}: {phrase.sentence} {view.hint}".strip()
