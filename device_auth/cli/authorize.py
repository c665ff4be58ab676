"""``device-auth authorize``: link by the authorization-code flow, for a maker at a desk with a browser."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from os import urandom
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from device_auth.assembly.doors import Doors
from device_auth.assembly.local import GrantOpening, LocalSpeaker
from device_auth.assembly.speaker import Ending, LinkResult
from device_auth.cli.attempt import Attempt, run_attempt, seconds
from device_auth.cli.pasting import is_typed, read_paste
from device_auth.core import linking
from device_auth.core.errors import CodePairExpired, ConfigError
from device_auth.core.models import (
    Answer,
    DialectName,
    Flow,
    Refusal,
    Seconds,
    Secret,
    TokenGrant,
    Unclear,
    Unreachable,
    View,
    WireRequest,
    later,
)
from device_auth.core.policy import CALL_BOUND, request_wait
from device_auth.core.speaker import AnswerCounts
from device_auth.core.states import TROUBLES, StateWord, Trouble
from device_auth.prompts.stderr import minutes_of, say
from device_auth.service.calls import Call, CallBroke, CallEnded, Calls
from device_auth.tools.authorize import (
    RedirectListener,
    has_display,
    open_browser,
    read_listen_address,
    redirect_page,
)
from device_auth.wire.authorization_code import (
    LEAST_RANDOMNESS,
    Redirect,
    UnexpectedRedirect,
    make_state,
    make_verifier,
    read_pasted,
    write_address,
)
from device_auth.wire.pasted import read_text
from device_auth.world.certificate import CERTIFICATE, server_context
from device_auth.world.settings import ENVIRONMENT, add_option, add_secret_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.service.provider_client import ProviderClient

COMMAND: Final = "device-auth authorize"

START_OVER: Final = f"Start again, for the page answers only once: {COMMAND} --paste"

USUAL_TIMEOUT: Final = Seconds(600)
"""As long as a code pair of Login with Amazon lives."""


MOST_PASTE: Final = 16 * 1024
"""Bytes: an address, and the text of the page around it."""

MOST_PASTES: Final = 10
"""Wrong ones after which nobody is asked again."""

NO_SPREAD: Final = 0.5
"""The draw that lengthens no wait and shortens none: makers at their desks do not come as a fleet."""


class Question(NamedTuple):
    """The question to the owner, and the values that an answer must fit.

    Attributes:
        address: of the page.
        verifier: for the exchange; None where the client has a secret.
    """

    address: str
    redirect_uri: str
    state: str
    verifier: Secret | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("--again", action="store_true", help="link again although there is a link")
    parser.add_argument(
        "--paste",
        action="store_true",
        help="wait for no browser: read the address that it ended on from standard input",
    )
    parser.add_argument("--no-browser", action="store_true", help="open no browser, print the address only")
    parser.add_argument("--no-qr", action="store_true", help="with --paste: show no QR code")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=USUAL_TIMEOUT,
        metavar="S",
        help=f"give up after S seconds (default {USUAL_TIMEOUT:.0f})",
    )
    add_option(parser, "redirect_uri")
    add_option(parser, "authorization_endpoint")
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Link the speaker by way of a browser."""
    return run_attempt(args, COMMAND, _authorize)


def _authorize(attempt: Attempt) -> int:
    args, settings = attempt.args, attempt.doors.settings
    if settings.dialect is not DialectName.LWA:
        raise ConfigError(
            "authorize works with Login with Amazon only",
            hint="Link by a code instead (device-auth link), or set dialect to lwa (--dialect lwa).",
        )
    speaker = LocalSpeaker(attempt.doors)
    with attempt.interruptible(), speaker.ready_for_grant(again=args.again) as opening:
        if opening is None:
            return attempt.end(LinkResult(Ending.ALREADY_LINKED, doubt=attempt.doors.doubt))
        if attempt.doors.is_simulated and attempt.is_read:
            say(attempt.doors.greeting)
        authorization = _AuthorizationRun(attempt, opening)
        redirect = authorization.paste() if args.paste else authorization.catch()
        refresh_token = authorization.exchange(redirect)
        request = linking.LinkRequested(opening.provider_client.rules, again=args.again)
        grant = linking.GrantSubmitted(request, refresh_token, Flow.AUTHORIZATION_CODE)
        exit_code = attempt.end(speaker.submit(opening, grant, attempt.audience))
        if settings.origins["client_secret"].startswith("option"):
            say(
                "Each refresh needs the client secret too. Put it where every command finds it: client_secret in the"
                " settings file, or a credential of the service."
            )
        return exit_code


class _AuthorizationRun:
    """Asks the owner, and exchanges the answer for a grant.

    Args:
        attempt: the command's.
        opening: with the store's lock held.
    """

    def __init__(self, attempt: Attempt, opening: GrantOpening) -> None:
        self._attempt = attempt
        self._args = attempt.args
        self._doors = attempt.doors
        self._provider_client = opening.provider_client
        self._amazon = opening.amazon
        self._until = later(attempt.doors.clock.now(), attempt.args.timeout)
        self._question = _ask(attempt.doors, opening.provider_client)

    # -- the owner

    def catch(self) -> Redirect:
        """Send the owner to the page, and wait until the browser comes back.

        Raises:
            DeviceAuthError: if it did not, or brought no code.
        """
        doors, question, amazon = self._doors, self._question, self._amazon
        place = read_listen_address(question.redirect_uri)
        if place is None:
            raise ConfigError(
                "redirect_uri is not an address of this machine, so this command cannot receive the redirect",
                hint="Use --paste, or set redirect_uri (--redirect-uri) to an address on localhost.",
            )
        context = None
        if place.is_secure:
            context = server_context(doors.places.state_dir, doors.clock.wall())
        came: SimpleQueue[Redirect | Refusal] = SimpleQueue()
        may_open = amazon is None or amazon.options.approve_after is None
        may_open = may_open and not self._args.no_browser and has_display(ENVIRONMENT)
        folder = doors.places.runtime_dir if may_open else None
        with (
            RedirectListener(place, question.state, context, came.put),
            redirect_page(folder, question.address) as page,
        ):
            self._tell_address(
                "A browser opens this page; approve there:"
                if page
                else "Open this page in a browser on this machine, and approve:"
            )
            self._tell_way_back(is_secure=place.is_secure, port=place.port)
            if page:
                open_browser(page.as_uri())
            with self._simulated_owner(self._come_back):
                answer = self._wait_for(came)
        return self._judge(answer)

    def _wait_for(self, came: "SimpleQueue[Redirect | Refusal]") -> Redirect | Refusal | None:
        """Return what comes, None once time is up; a person at a terminal sees how much is left."""
        clock = self._doors.clock
        if not (self._attempt.is_read and sys.stderr.isatty()) or self._doors.is_dumb:
            return clock.take(came, self._until)
        answer = None
        try:
            while answer is None and (left := self._until - clock.now()) > 0:
                _write_live(f"Waiting for your approval. Time left: {minutes_of(ceil(left))}")
                answer = clock.take(came, min(self._until, later(clock.now(), Seconds(left % 1 or 1))))
        finally:
            _write_live("")
        return answer

    def paste(self) -> Redirect:
        """Send the owner to the page, and read the address that the browser ended on; again after a slip.

        Raises:
            DeviceAuthError: if nothing came, or nothing that can be used.
        """
        self._tell_address("Open this page in a browser, wherever that is, and approve:")
        self._say(
            f"It ends on an address that begins with {self._question.redirect_uri} and that perhaps cannot be opened:"
            f" nothing is wrong then. You have {self._args.timeout:.0f} s to copy that address and paste it here."
        )
        self._draw_code()
        with self._simulated_owner(self._say_what_to_paste):
            wrong = 0
            while True:
                content = self._take_paste()
                answer = self._read_paste(content)
                if not isinstance(answer, UnexpectedRedirect):
                    break
                wrong += 1
                if not (content and wrong < MOST_PASTES and is_typed()):
                    self._attempt.refuse("cancelled", START_OVER)
                    raise CodePairExpired(
                        f"cannot read an answer from the pasted text. {answer.why}", hint=START_OVER
                    )
                say(f"{answer.why} Try again.")
        if isinstance(answer, Redirect) and not answer.is_checked:
            self._say("Only the code was given, so this command cannot check that it answers this request.")
        return self._judge(answer)

    def _judge(self, answer: Redirect | Refusal | None) -> Redirect:
        if isinstance(answer, Refusal):
            raise self._attempt.refused(answer)
        if answer is None:
            hint = (
                "Try again. If the page showed an error about the return URL, see that redirect_uri"
                f" ({self._question.redirect_uri}) stands among the security profile's Allowed Return URLs."
            )
            self._attempt.refuse("timed-out", hint)
            raise CodePairExpired("nobody approved within the time limit", hint=hint)
        return answer

    def _take_paste(self) -> bytes:
        pastes: SimpleQueue[bytes] = SimpleQueue()
        Thread(target=lambda: pastes.put(read_paste(MOST_PASTE)), name="paste", daemon=True).start()
        paste = self._doors.clock.take(pastes, self._until)
        if paste is None:
            self._judge(None)
        return paste or b""

    def _read_paste(self, content: bytes) -> Redirect | Refusal | UnexpectedRedirect:
        text = read_text(content)
        if text is None:
            return UnexpectedRedirect("It is not text.")
        return read_pasted(text, self._question.state, self._question.redirect_uri)

    # -- the exchange

    def exchange(self, redirect: Redirect) -> Secret:
        """Exchange the code for a grant, trying again until time is up, and return its refresh token.

        Raises:
            DeviceAuthError: if the provider refused, or did not answer in time.
        """
        question, clock, counts = self._question, self._doors.clock, AnswerCounts()
        inbox: SimpleQueue[CallEnded[None] | CallBroke] = SimpleQueue()
        calls: Calls[None] = Calls(inbox.put, self._provider_client.abandon, clock.now)
        attempt = 0
        while clock.now() < self._until:
            calls.start(
                Call(
                    None,
                    lambda: self._provider_client.exchange(
                        redirect.code, question.redirect_uri, question.verifier
                    ),
                )
            )
            answer = self._await_answer(inbox, calls)
            match answer:
                case TokenGrant(refresh_token=Secret() as refresh_token):
                    return refresh_token
                case Refusal():
                    raise self._attempt.refused(answer)
                case Unreachable(refusal=Refusal() as refusal):
                    raise self._attempt.refused(refusal)
                case Unclear():
                    counts = AnswerCounts(unclear=counts.unclear + 1, problem=answer.what)
                case Unreachable():
                    counts = AnswerCounts(unclear=counts.unclear, problem=answer.what)
                case _:
                    raise AssertionError(answer)
            attempt += 1
            self._tell_trouble(answer)
            wait = request_wait(attempt, NO_SPREAD, answer)
            clock.take(SimpleQueue(), min(self._until, later(clock.now(), wait)))
        raise self._attempt.timed_out(counts)

    def _await_answer(self, inbox: "SimpleQueue[CallEnded[None] | CallBroke]", calls: Calls[None]) -> Answer:
        """Wait for the answer, at most as long as any request is; a late one counts if it holds the grant."""
        while True:
            ended = self._doors.clock.take(inbox, min(self._until, calls.until))
            match ended:
                case None:
                    calls.abandon()
                    what = f"no answer within {CALL_BOUND:.0f} s"
                    return Unreachable(Trouble.PROVIDER_UNAVAILABLE, what, timed_out=True)
                case CallBroke(error):
                    raise error
                case CallEnded(call, answer):
                    if calls.end(call) or isinstance(answer, TokenGrant):
                        return answer

    # -- telling

    def _say(self, text: str) -> None:
        """Write a sentence if people read stderr."""
        if self._attempt.is_read:
            say(text)

    def _tell_address(self, what: str) -> None:
        for line in (what, "", self._doors.as_link(self._question.address), ""):
            self._say(line)
        if self._attempt.lines is not None:
            self._attempt.lines.tell(View(StateWord.WAITING, Trouble.NONE))
            self._attempt.lines.event("authorize", authorization_uri=self._question.address)

    def _tell_way_back(self, *, is_secure: bool, port: int) -> None:
        if is_secure:
            self._say(
                f"It comes back to {self._question.redirect_uri}, and the browser will warn that it does not know that"
                " place. It is this command, on this machine: go on past the warning. There is nothing to install, and"
                " no certificate to trust."
            )
        if ENVIRONMENT.get("SSH_CONNECTION") and not has_display(ENVIRONMENT):
            self._say(
                "You are here over SSH, and a browser comes back to the machine that it runs on. Lead it here, from"
                f" that machine: ssh -L {port}:localhost:{port} HOST. Or start again with --paste."
            )

    def _tell_trouble(self, answer: Unclear | Unreachable) -> None:
        phrase = TROUBLES[answer.trouble]
        self._say(f"{phrase.sentence} {phrase.next_step}")
        if self._attempt.lines is not None:
            self._attempt.lines.tell(View(StateWord.WAITING, answer.trouble, phrase.next_step))

    def _draw_code(self) -> None:
        """Draw the QR code of the page, if people read stderr on a terminal that it fits on."""
        if self._args.no_qr or not self._attempt.is_read:
            return
        from device_auth.prompts.terminal import style_of
        from device_auth.prompts.terminal_layout import draw_code

        style = style_of(sys.stderr, colour=not self._doors.is_colourless, is_dumb=self._doors.is_dumb)
        if style is None:
            return
        drawn, wide, why_not = draw_code(self._question.address, style, level="L")
        if drawn and (wide > style.columns or len(drawn) >= style.rows):
            why_not = f"The QR code is left out: it needs {wide} columns and {len(drawn) + 1} rows."
        for line in [why_not] if why_not else drawn:
            print(line, file=sys.stderr)  # noqa: T201  people read stderr

    # -- the simulated owner

    @contextmanager
    def _simulated_owner(self, come_back: "Callable[[str], None]") -> Iterator[None]:
        """Let the owner of a simulation approve after a while, where the simulation says so.

        Args:
            come_back: called with the address that the owner's browser would end on.
        """
        amazon = self._amazon
        if amazon is None or amazon.options.approve_after is None:
            yield
            return
        clock, ended = self._doors.clock, SimpleQueue[bool]()
        approved_at = later(clock.now(), Seconds(amazon.options.approve_after))
        asked = dict(parse_qsl(urlsplit(self._question.address).query))

        def approve() -> None:
            if clock.take(ended, approved_at) is None:
                come_back(amazon.approve_authorization(asked))

        owner = Thread(target=approve, name="simulated owner", daemon=True)
        owner.start()
        try:
            yield
        finally:
            ended.put(True)
            owner.join()

    def _come_back(self, address: str) -> None:
        """Request the address, as a browser does whose owner has gone on past the warning."""
        from device_auth.world.route import Authorities
        from device_auth.world.transport import HttpTransport

        certificate = self._doors.places.state_dir / CERTIFICATE
        ca_file = certificate if address.startswith("https:") else None
        HttpTransport(self._doors.clock, authorities=Authorities(ca_file)).send(
            WireRequest("GET", address, {})
        )

    def _say_what_to_paste(self, address: str) -> None:
        self._say("The simulated owner has approved, and the browser has ended on:")
        self._say(address)


def _write_live(text: str) -> None:
    """Write a text in place of the one before it."""
    with suppress(OSError):  # a terminal that is gone shows nothing, and says so to the next sentence
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()


def _ask(doors: Doors, provider_client: "ProviderClient") -> Question:
    settings = doors.settings
    state = make_state(urandom(LEAST_RANDOMNESS))
    verifier = None if settings.client_secret else make_verifier(urandom(LEAST_RANDOMNESS))
    address = write_address(
        provider_client.provider,
        endpoint=settings.authorization_endpoint,
        redirect_uri=settings.redirect_uri,
        state=state,
        verifier=verifier,
    )
    return Question(address, settings.redirect_uri, state, verifier)
