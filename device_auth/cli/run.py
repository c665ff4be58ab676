"""``device-auth run``: the daemon: button, prompts, refresh, token service."""

import argparse
import logging
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import Final

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.opened_parts import OpenedParts, PartsListener, SimulatedAs
from device_auth.assembly.parts import open_parts
from device_auth.core.errors import ConfigError, StoreDamaged, StoreError
from device_auth.core.models import Link, Refusal, Seconds, TokenGrant, View, later
from device_auth.core.policy import FRESH_FOR
from device_auth.core.states import STATES, TROUBLES, Trouble
from device_auth.prompts.code_channels import CodeChannel, refuse_without_channel
from device_auth.prompts.fanout import PromptFanout
from device_auth.service.api import Api
from device_auth.service.callers import open_gate
from device_auth.service.daemon import Daemon, DaemonOptions
from device_auth.service.journal import open_log
from device_auth.service.loop import Loop
from device_auth.service.page import Page, open_listener, read_page_settings
from device_auth.service.status_feed import StatusFeed
from device_auth.service.systemd import Notifier, sockets_given
from device_auth.world.places import make_runtime_dir
from device_auth.world.settings import ENVIRONMENT, add_secret_option
from device_auth.world.signals import handled, woken_by_signals
from device_auth.world.token_files import FileTokens
from device_auth.world.wiping import wipe

log: Final = logging.getLogger(__name__)

CLOSING_TIME: Final = Seconds(0.5)
"""How long prompts may take to tell the last view before the service ends."""

SOCKET: Final = "api.sock"

SIMULATED_PAGE: Final = "127.0.0.1:8080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own."""
    parser.add_argument(
        "--log-format",
        choices=("json", "text"),
        help="log to stderr in this form; without it, to the journal where stderr leads there, else as text",
    )
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until told to stop."""
    speaker = open_doors(vars(args))
    speaker.is_service = True
    speaker.settings  # noqa: B018  settings that cannot be read end the start, here and now
    notifier = Notifier(ENVIRONMENT)
    with ExitStack() as opened:
        journal = opened.enter_context(
            open_log(
                ENVIRONMENT,
                speaker.clock,
                stderr=sys.stderr,
                form=args.log_format,
                is_verbose="verbose" in speaker.options,
            )
        )
        opened.enter_context(speaker.simulated_amazon(_stored(speaker)))
        opened.enter_context(speaker.store)
        _move_to_best_key(speaker)
        desk = StatusFeed(
            speaker.clock, FileTokens(speaker.places.runtime_dir, speaker.clock, keep_bare=True)
        )
        opened.callback(desk.withdraw)
        plan = _read_plan(speaker)

        def tell(view: View) -> None:
            journal.tell(view)
            desk.tell(view, loop.stored_link)
            fanout.tell(view)
            notifier.status(_in_a_line(view))

        loop = speaker.open_loop(plan.conversation, tell, tokens=desk, refresh_ended=desk.refresh_ended)

        def alive() -> None:
            notifier.alive()
            desk.mind_the_clock()

        channels: list[CodeChannel] = []
        daemon = _make_daemon(speaker, loop, plan, lambda: refuse_without_channel(tuple(channels)), alive)
        parts = opened.enter_context(_open_parts(speaker, daemon))
        channels += parts.code_channels
        fanout = PromptFanout(parts.prompts, speaker.clock, report=_say_no_more)
        opened.callback(fanout.close, CLOSING_TIME)
        given = sockets_given(ENVIRONMENT, os.getpid())
        api = _open_api(speaker, desk, daemon, given.get("api", []))
        if api is not None:
            api.start()
            opened.callback(api.close)
        page = _open_page(speaker, desk, daemon, given.get("page", []))
        if page is not None:
            opened.callback(page.close)
            channels.append(CodeChannel.PAGE)
        opened.callback(notifier.stopping)
        opened.enter_context(_signals(daemon, loop))
        daemon.run(notifier.ready, _kept_token(speaker))
    return 0


def _make_daemon(
    speaker: Doors,
    loop: Loop,
    plan: DaemonOptions,
    refuse_code: Callable[[], Refusal | None],
    alive: Callable[[], None],
) -> Daemon:
    return Daemon(
        loop=loop,
        clock=speaker.clock,
        plan=plan,
        read_plan=lambda: _read_plan_anew(speaker),
        refuse_code=refuse_code,
        wipe=lambda: _wipe(speaker),
        revoke=lambda link: _revoke(speaker, link),
        alive=alive,
    )


def _open_parts(speaker: Doors, daemon: Daemon) -> AbstractContextManager[OpenedParts]:
    return open_parts(
        speaker.settings,
        speaker.clock,
        PartsListener(daemon.on_gesture, daemon.on_part_failure),
        simulated_as=SimulatedAs.LINES if speaker.is_simulated else None,
        presses=sys.stdin if speaker.is_simulated else _piped_lines(),
    )


def _piped_lines() -> Iterable[str] | None:
    """Return the lines of a program that presses a simulated button; None where none writes to us."""
    is_piped = sys.stdin is not None and stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)
    return sys.stdin if is_piped else None


def _stored(speaker: Doors) -> Link | None:
    """Return the stored link, for a simulated Amazon that is to be found where it was."""
    try:
        return speaker.store.read() if speaker.is_simulated else None
    except StoreDamaged:
        return None


def _move_to_best_key(speaker: Doors) -> None:
    """Put the stored link under the best key there is; where that cannot be, it stays as it is and is told of later."""
    try:
        speaker.store.move_to_best_key()
    except StoreError as error:
        log.warning("the link stays under the key it has: %s", error)


def _kept_token(speaker: Doors) -> TokenGrant | None:
    """Return the access token that a kill left behind; old enough to be refreshed at once by who wants a longer one."""
    kept = speaker.tokens.read()
    if kept is None:
        return None
    left = Seconds(kept.expires_at - speaker.clock.wall())
    return TokenGrant(kept.access_token, None, Seconds(left + FRESH_FOR), later(speaker.clock.now(), left))


def _read_plan(speaker: Doors) -> DaemonOptions:
    """Read what the settings say; a provider that they do not name, or a key that is not there, is no end."""
    try:
        speaker.keys.sealing()
        return DaemonOptions(speaker.open_provider_client(), None, speaker.settings.renewals)
    except (ConfigError, StoreError) as problem:
        log.error("no code can be asked for: %s", problem)
        return DaemonOptions(speaker.open_refreshing(), problem, speaker.settings.renewals)


def _read_plan_anew(speaker: Doors) -> DaemonOptions:
    speaker.read_settings_anew()
    plan = _read_plan(speaker)
    _move_to_best_key(speaker)
    return plan


def _open_api(speaker: Doors, desk: StatusFeed, daemon: Daemon, given: list[socket.socket]) -> Api | None:
    """Open the socket: the one we were given, else our own; without a runtime folder there is none."""
    runtime_dir = speaker.places.runtime_dir
    if given:
        return Api(desk, daemon, speaker.clock, listener=given[0], gate=open_gate())
    if runtime_dir is None:
        log.error("there is no runtime folder, so there is no socket")
        return None
    try:
        make_runtime_dir(runtime_dir)
        return Api(desk, daemon, speaker.clock, listener=runtime_dir / SOCKET, gate=open_gate())
    except StoreError as error:
        log.error("there is no socket: %s", error)
        return None


def _open_page(speaker: Doors, desk: StatusFeed, daemon: Daemon, given: list[socket.socket]) -> Page | None:
    """Serve the speaker's own page, unless it is switched off; a simulated speaker shows it on loopback only.

    Raises:
        ConfigError: its settings cannot be used.
    """
    settings = read_page_settings(speaker.settings.page, speaker.settings.locale)
    if settings is None:
        return None
    if speaker.is_simulated:
        given = given or [simulated_place()]
    page = Page(desk, daemon, speaker.clock, settings=settings, sockets=given)
    try:
        page.start()
    except ConfigError as error:
        log.error("there is no page: %s", error)
        return None
    return page


def simulated_place() -> socket.socket:
    """Listen where a simulated speaker has its page; where that is taken, at a port that is free, and tell which."""
    try:
        return open_listener(SIMULATED_PAGE)
    except OSError:
        listener = open_listener(f"{SIMULATED_PAGE.partition(':')[0]}:0")
        log.warning("%s is taken: the page is at http://%s:%d/", SIMULATED_PAGE, *listener.getsockname())
        return listener


def _wipe(speaker: Doors) -> None:
    wiped = wipe(speaker.store, speaker.places.runtime_dir)
    log.info("wiped: %d files removed, no secret found in %d bytes", len(wiped.removed), wiped.scanned)


def _revoke(speaker: Doors, link: Link) -> None:
    """Tell the provider in the background; the speaker has forgotten the link whatever it answers."""
    if link.revocation_endpoint:
        conversation = speaker.open_refreshing()
        threading.Thread(target=conversation.revoke, args=(link,), name="revoke", daemon=True).start()


@contextmanager
def _signals(daemon: Daemon, loop: Loop) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        daemon.stop()

    def reload(_signal: int, _frame: FrameType | None) -> None:
        daemon.reload()

    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    with handled(wanted), woken_by_signals(lambda: loop.call_soon(lambda: None)):
        yield


def _in_a_line(view: View) -> str:
    telling = STATES[view.state] if view.trouble is Trouble.NONE else TROUBLES[view.trouble]
    return f"{view.state}: {telling.sentence} {view.hint}".strip()


def _say_no_more(_name: str, _error: BaseException) -> None:
    """Leave a prompt that failed at that: it is in the log already, and the others go on."""
