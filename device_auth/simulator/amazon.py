"""What the simulated Amazon remembers and decides: code pairs, grants and tokens.

Its one idea: no HTTP here. Requests come as arguments, answers go as values, the clock and the seed are
passed in, and one lock guards it all. Access tokens begin ``Sim|A|``, refresh tokens ``Sim|R|`` and
authorization codes ``Sim|C|``, so that none is ever taken for a real one.
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from device_auth.core.models import DialectName, Flow
from device_auth.simulator.authorization import read_authorization, refuse_exchange, send_back
from device_auth.simulator.clients import (
    ClientRefusal,
    authenticate,
    is_client_id,
    refuse_client,
    refuse_scopes,
)
from device_auth.simulator.faults import NO_FAULT, Endpoint, Fault, Script
from device_auth.simulator.memory import Remembered, fingerprint, recall, remember
from device_auth.simulator.models import (
    Applicant,
    AuthorizationCode,
    AuthorizationRequest,
    CodeExchange,
    Credentials,
    Grant,
    IssuedPair,
    KeptToken,
    OAuthRefusal,
    Options,
    PairState,
    SentBack,
    Tokens,
)
from device_auth.simulator.referee import (
    ACCESS_PREFIX,
    CODE_PREFIX,
    REFRESH_PREFIX,
    SECRET_PREFIXES,
    ComplaintKind,
    Referee,
    judge_authorization,
)

EVERY_CODE: Final = "all"
"""Stands for every code pair in the control API; no user code can be this word, it has vowels."""

AUTHORIZATION_PAGE: Final = "ap/oa"
"""Where a browser brings an authorization request. Source: LWA "Authorization Code Grant"."""

DEFAULT_INTERVAL: Final = 5
"""Seconds between polls where the answer names none. Source: RFC 8628 §3.2."""

LONGEST_RETRY_AFTER: Final = 3_600
"""Seconds of ``Retry-After`` that a client is held to: one told to wait for days may come back sooner."""

_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; nothing that looks like a digit. Source: RFC 8628 §6.1."""

_SLOW_DOWN_STEP: Final = 5
_SLOW_DOWN_CEILING: Final = 60
_TOLERANCE: Final = 0.001
"""Seconds forgiven for rounding; the server notes an answer's end before its last byte leaves."""


class Amazon:
    """The simulated Amazon.

    Args:
        options: how it behaves.
        clock: monotonic seconds; tests share a virtual clock.
        memory: a file that outlives the process, so that a later one can refresh a token given by this
            one. It holds fingerprints of refresh tokens, never a token.

    Raises:
        StoreError: the memory cannot be read.
    """

    def __init__(self, options: Options, *, clock: Callable[[], float], memory: Path | None = None) -> None:
        self.options = options
        self.clock = clock
        self.referee = Referee(clock)
        self._memory = memory
        self._lock = threading.RLock()
        self._script = Script()
        self._drawn = 0
        self._pairs: dict[str, IssuedPair] = {}
        self._device_codes: dict[str, str] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._grants: dict[int, Grant] = {}
        self._refresh_tokens: dict[str, KeptToken] = {}
        self._access_tokens: dict[str, tuple[int, float]] = {}
        if memory is not None and memory.exists():
            remembered = recall(memory)
            self._drawn = remembered.drawn
            self._grants = remembered.grants
            self._refresh_tokens = remembered.refresh_tokens

    # Asking for a code pair

    def give_code_pair(self, applicant: Applicant, fault: Fault = NO_FAULT) -> IssuedPair | OAuthRefusal:
        """Return a new code pair, or say why not."""
        with self._lock:
            refused = refuse_client(applicant.client_id, applicant.dialect, self.options) or refuse_scopes(
                applicant, self.options
            )
            if refused is not None:
                return refused
            lifetime = self.options.code_lifetime if fault.lifetime is None else fault.lifetime
            pair = IssuedPair(
                applicant=applicant,
                user_code=self._new_user_code(applicant.dialect),
                device_code=self._draw(24, "device code").hex(),
                issued_at=self.clock(),
                expires_in=lifetime,
                interval=_interval_told(self.options.interval, fault),
            )
            self._pairs[pair.device_code] = pair
            self._device_codes[plain_code(pair.user_code)] = pair.device_code
            if len(self._pairs) > self.options.most_remembered:
                oldest = self._pairs.pop(next(iter(self._pairs)))
                del self._device_codes[plain_code(oldest.user_code)]
            return pair

    # Polling

    def poll_arrived(self, device_code: str) -> bool:
        """Note that a poll has come in; tell whether it kept the interval. The referee hears if not."""
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is None:
                return True
            now = self.clock()
            due = pair.not_before
            if pair.heard_at is not None:
                due = max(due, pair.heard_at + pair.interval)
            is_early = now < due - _TOLERANCE
            if pair.was_told_final:
                sentence = "A code pair was polled again after its final answer."
                self._complain(ComplaintKind.REPEATED_FINAL_CODE, sentence, pair)
            elif is_early:
                sentence = f"Polled {due - now:.3f} s too early; the interval is {pair.interval} s."
                self._complain(ComplaintKind.POLLED_TOO_EARLY, sentence, pair)
                pair = _slowed(pair)
            self._pairs[device_code] = replace(pair, polls=pair.polls + 1, heard_at=now)
            return not is_early

    def poll(
        self,
        dialect: DialectName,
        device_code: str,
        *,
        user_code: str = "",
        client_id: str = "",
        fault: Fault = NO_FAULT,
    ) -> Tokens | OAuthRefusal:
        """Answer a poll: tokens once the owner has approved, before that the reason why not."""
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is None or pair.applicant.dialect is not dialect:
                return _not_known(dialect)
            matches = (
                user_code == pair.user_code
                if dialect is DialectName.LWA
                else client_id == pair.applicant.client_id
            )
            if not matches:
                sentence = "The other half of a poll does not belong to its device code."
                self._complain(ComplaintKind.WRONG_PARAMETER, sentence, pair)
                return _not_known(dialect)
            match self._state_now(pair):
                case PairState.WAITING:
                    return OAuthRefusal("authorization_pending", "The owner has not answered yet.")
                case PairState.DENIED:
                    # What LWA answers to a refusal is not documented; this is RFC 8628's name, §3.5.
                    return OAuthRefusal("access_denied", "The owner has declined.")
                case PairState.EXPIRED if dialect is DialectName.RFC8628:
                    return OAuthRefusal("expired_token", "The device code has expired.")
                case PairState.EXPIRED | PairState.USED:
                    return _not_known(dialect)
                case PairState.APPROVED:
                    self._pairs[device_code] = replace(pair, state=PairState.USED)
                    return self._give_grant(pair, fault)

    def poll_answered(self, device_code: str, at: float, *, is_final: bool, retry_after: float = 0) -> None:
        """Note when the answer to a poll ended; the interval counts from there. Source: RFC 8628 §3.5."""
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is not None:
                self._pairs[device_code] = replace(
                    pair,
                    heard_at=at if pair.heard_at is None else max(at, pair.heard_at),
                    not_before=max(pair.not_before, at + min(retry_after, LONGEST_RETRY_AFTER)),
                    was_told_final=pair.was_told_final or is_final,
                )

    def slow_down(self, device_code: str) -> None:
        """Hold a code pair to a longer interval from now on."""
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is not None:
                self._pairs[device_code] = _slowed(pair)

    # Tokens

    def refresh(
        self,
        dialect: DialectName,
        refresh_token: str,
        client_id: str,
        fault: Fault = NO_FAULT,
        *,
        client_secret: str | None = None,
    ) -> Tokens | OAuthRefusal:
        """Return a new access token for a refresh token."""
        with self._lock:
            mark = fingerprint(refresh_token)
            kept = self._refresh_tokens.get(mark)
            if kept is None:
                return OAuthRefusal("invalid_grant", "The refresh token is not known.")
            grant = self._grants[kept.grant_id]
            name = grant.applicant.name
            if grant.applicant.dialect is not dialect:
                sentence = "A refresh token was sent to an endpoint of the other dialect."
                self.referee.complain(
                    ComplaintKind.REFRESH_TOKEN_ELSEWHERE, sentence, endpoint=Endpoint.REFRESH, client=name
                )
                return OAuthRefusal("invalid_grant", "The refresh token was not given here.")
            if kept.is_replaced:
                sentence = "A refresh token was used after it had been replaced."
                self.referee.complain(
                    ComplaintKind.OLD_REFRESH_TOKEN, sentence, endpoint=Endpoint.REFRESH, client=name
                )
                return OAuthRefusal("invalid_grant", "The refresh token has been replaced.")
            if grant.is_revoked or grant.applicant.client_id != client_id:
                return OAuthRefusal("invalid_grant", "The grant was revoked, or is another client's.")
            refused = self._refuse_secret(grant, client_secret)
            if refused is not None:
                return refused
            self._grants[grant.grant_id] = grant = replace(grant, refreshes=grant.refreshes + 1)
            rotates = self.options.rotates if fault.rotation is None else fault.rotation
            tokens = self._give_tokens(grant, fault, kept_token=None if rotates else refresh_token)
            return replace(tokens, replaces=mark) if rotates else tokens

    def _refuse_secret(self, grant: Grant, client_secret: str | None) -> OAuthRefusal | None:
        """Return why the secret sent with a refresh is not good enough, or too much; None if it is right."""
        applicant = grant.applicant
        if grant.flow is Flow.AUTHORIZATION_CODE:
            objection = authenticate(Credentials(applicant.client_id, client_secret), self.options)
            return None if objection is None else self._object(objection, Endpoint.REFRESH, applicant.name)
        if client_secret is not None:
            # What LWA makes of it is not known: Amazon's own device code sends none, others of its tools do.
            sentence = "A client secret was sent with the refresh token of a speaker linked by code."
            self.referee.complain(
                ComplaintKind.UNEXPECTED_SECRET, sentence, endpoint=Endpoint.REFRESH, client=applicant.name
            )
        return None

    def refresh_answered(self, replaced: str) -> None:
        """Drop a replaced refresh token, now that its successor has reached the client.

        Until then the old one still works: whether LWA replaces tokens at all, and how long an old one
        lasts, is not documented, and a lost answer is not the client's fault.
        """
        with self._lock:
            self._refresh_tokens[replaced] = replace(self._refresh_tokens[replaced], is_replaced=True)
            self._remember()

    def revoke_token(self, token: str, client_id: str) -> None:
        """Revoke the grant of a token; an unknown one is no error. Source: RFC 7009 §2.2."""
        with self._lock:
            mark = fingerprint(token)
            grant_id: int | None = None
            if mark in self._refresh_tokens:
                grant_id = self._refresh_tokens[mark].grant_id
            elif mark in self._access_tokens:
                grant_id = self._access_tokens[mark][0]
            grant = self._grants.get(grant_id or 0)
            if grant is None:
                return
            if grant.applicant.dialect is DialectName.LWA:
                sentence = "A token was sent to an endpoint of the other dialect."
                name = grant.applicant.name
                self.referee.complain(
                    ComplaintKind.REFRESH_TOKEN_ELSEWHERE, sentence, endpoint=Endpoint.REVOKE, client=name
                )
            elif grant.applicant.client_id == client_id:
                self._revoke([grant])

    # The authorization-code flow

    def read_authorization(
        self, parameters: list[tuple[str, str]]
    ) -> AuthorizationRequest | SentBack | OAuthRefusal:
        """Read what a browser brings from a client to the sign-in page."""
        return read_authorization(parameters, self.options)

    def judge_authorization(self, parameters: list[tuple[str, str]]) -> None:
        """Let the referee look at an authorization request."""
        client = self.name_of(dict(parameters))
        for kind, sentence in judge_authorization([(name, value) for name, value in parameters if value]):
            self.referee.complain(kind, sentence, endpoint=AUTHORIZATION_PAGE, client=client)

    def allow(self, request: AuthorizationRequest) -> str:
        """Return a new authorization code, in the address that the browser is sent back to."""
        with self._lock:
            code = CODE_PREFIX + self._draw(24, "authorization code").hex()
            self._codes[fingerprint(code)] = AuthorizationCode(
                request=request,
                issued_at=self.clock(),
                expires_in=self.options.authorization_code_lifetime,
            )
            if len(self._codes) > self.options.most_remembered:
                del self._codes[next(iter(self._codes))]
        scope = " ".join(request.applicant.scopes)  # a client ignores what it does not know, RFC 6749 §4.1.2
        return send_back(request.redirect_uri, request.state, code=code, scope=scope)

    def decline(self, request: AuthorizationRequest) -> str:
        """Return the address that tells the client that the owner has declined."""
        return send_back(
            request.redirect_uri,
            request.state,
            error="access_denied",
            error_description="The owner has declined.",
        )

    def approve_authorization(self, query: Mapping[str, str]) -> str:
        """Sign in and allow, as an owner with a browser would.

        Args:
            query: of the address that the client sends the browser to.

        Returns:
            The address that the browser is sent back to; it carries an error if the request is not good.

        Raises:
            ValueError: the browser would not be sent back: the client or its redirect URI is not known.
        """
        return self._answer_authorization(query, self.allow)

    def decline_authorization(self, query: Mapping[str, str]) -> str:
        """Sign in and decline; the twin of ``approve_authorization``.

        Raises:
            ValueError: the browser would not be sent back: the client or its redirect URI is not known.
        """
        return self._answer_authorization(query, self.decline)

    def _answer_authorization(
        self, query: Mapping[str, str], answer: Callable[[AuthorizationRequest], str]
    ) -> str:
        parameters = list(query.items())
        self.judge_authorization(parameters)
        match self.read_authorization(parameters):
            case OAuthRefusal(description=description):
                raise ValueError(description)
            case SentBack(address=address):
                return address
            case request:
                return answer(request)

    def exchange_arrived(self, code: str) -> None:
        """Note that an exchange has come in; the referee hears if its code had its final answer before."""
        with self._lock:
            known = self._codes.get(fingerprint(code))
            if known is not None and known.was_told_final:
                sentence = "An authorization code was exchanged again after its final answer."
                name = known.request.applicant.name
                self.referee.complain(
                    ComplaintKind.REPEATED_EXCHANGE, sentence, endpoint=Endpoint.EXCHANGE, client=name
                )

    def exchange(self, asked: CodeExchange, fault: Fault = NO_FAULT) -> Tokens | OAuthRefusal:
        """Return tokens for an authorization code, once. Source: RFC 6749 §4.1.2, §4.1.3."""
        with self._lock:
            mark, client_id = fingerprint(asked.code), asked.credentials.client_id
            code = self._codes.get(mark)
            name = self.name_of({"code": asked.code, "client_id": client_id})
            objection = authenticate(asked.credentials, self.options)
            if objection is not None:
                return self._object(objection, Endpoint.EXCHANGE, name)
            if code is None:
                return OAuthRefusal("invalid_grant", "The authorization code is not known.")
            if code.request.applicant.client_id != client_id:
                refused = OAuthRefusal("invalid_grant", "The authorization code is another client's.")
                remark = ComplaintKind.WRONG_PARAMETER, "The authorization code is another client's."
                return self._object(ClientRefusal(refused, remark), Endpoint.EXCHANGE, name)
            if code.grant_id is not None:
                self._revoke([self._grants[code.grant_id]])
                return OAuthRefusal("invalid_grant", "The authorization code was used before.")
            objection = refuse_exchange(code, asked, self.clock())
            if objection is not None:
                return self._object(objection, Endpoint.EXCHANGE, name)
            grant = self._new_grant(code.request.applicant, "", Flow.AUTHORIZATION_CODE)
            self._codes[mark] = replace(code, grant_id=grant.grant_id)
            return self._give_tokens(grant, fault, kept_token=None)

    def exchange_answered(self, code: str) -> None:
        """Note that the final answer to an exchange has reached the client."""
        with self._lock:
            mark = fingerprint(code)
            if mark in self._codes:
                self._codes[mark] = replace(self._codes[mark], was_told_final=True)

    def authorizations(self) -> tuple[AuthorizationCode, ...]:
        """Return every authorization code, without the code itself."""
        with self._lock:
            return tuple(self._codes.values())

    def grant_of(self, access_token: str) -> Grant | None:
        """Find the grant of an access token that is still good."""
        with self._lock:
            grant_id, expires_at = self._access_tokens.get(fingerprint(access_token), (0, 0))
            grant = self._grants.get(grant_id)
            if grant is None or grant.is_revoked or self.clock() >= expires_at:
                return None
            return grant

    # The owner, and whoever scripts the owner

    def find(self, user_code: str) -> IssuedPair | None:
        """Find a code pair that waits, by what a person typed: case and punctuation do not count."""
        with self._lock:
            pair = self._pairs.get(self._device_codes.get(plain_code(user_code), ""))
            return pair if pair is not None and self._state_now(pair) is PairState.WAITING else None

    def approve(self, user_code: str) -> int:
        """Approve one code pair that waits, or all of them; tell how many."""
        return self._end_waiting(user_code, PairState.APPROVED)

    def deny(self, user_code: str) -> int:
        """Decline one code pair that waits, or all of them; tell how many."""
        return self._end_waiting(user_code, PairState.DENIED)

    def expire(self, user_code: str) -> int:
        """End the time of one code pair that waits, or of all of them; tell how many."""
        return self._end_waiting(user_code, PairState.EXPIRED)

    def _end_waiting(self, user_code: str, state: PairState) -> int:
        with self._lock:
            if user_code == EVERY_CODE:
                pairs = [each for each in self._pairs.values() if self._state_now(each) is PairState.WAITING]
            else:
                found = self.find(user_code)
                pairs = [] if found is None else [found]
            for pair in pairs:
                self._pairs[pair.device_code] = replace(pair, state=state)
            return len(pairs)

    def revoke(self, user_code: str) -> int:
        """Revoke the grant that came of a code, or every grant, as an owner can; tell how many."""
        with self._lock:
            grants = [grant for grant in self._grants.values() if not grant.is_revoked]
            if user_code != EVERY_CODE:
                wanted = plain_code(user_code) or None  # a grant of an earlier process has no code
                grants = [grant for grant in grants if plain_code(grant.user_code) == wanted]
            return self._revoke(grants)

    def _revoke(self, grants: list[Grant]) -> int:
        for grant in grants:
            self._grants[grant.grant_id] = replace(grant, is_revoked=True)
        self._remember()
        return len(grants)

    def pairs(self) -> tuple[IssuedPair, ...]:
        """Return every code pair with the state that it has now."""
        with self._lock:
            return tuple(replace(pair, state=self._state_now(pair)) for pair in self._pairs.values())

    def grants(self) -> tuple[Grant, ...]:
        """Return every grant."""
        with self._lock:
            return tuple(self._grants.values())

    def is_device_code(self, text: str) -> bool:
        """Return whether a text is a device code that was given out."""
        with self._lock:
            return text in self._pairs

    def name_of(self, form: Mapping[str, str]) -> str:
        """Name the client that sent a form, for complaints; never by anything that could be a secret."""
        with self._lock:
            pair = self._pairs.get(form.get("device_code", ""))
            if pair is not None:
                return pair.applicant.name
            code = self._codes.get(fingerprint(form.get("code", "")))
            if code is not None:
                return code.request.applicant.name
            client_id = form.get("client_id", "")
            is_secret = client_id in self._pairs or client_id.startswith(SECRET_PREFIXES)
            is_secret = is_secret or client_id in self.options.client_secrets.values()
            return client_id if is_client_id(client_id, DialectName.RFC8628) and not is_secret else ""

    # Faults

    def script(self, endpoint: Endpoint, faults: Iterable[Fault]) -> None:
        """Script the next answers of an endpoint, behind those that wait already."""
        with self._lock:
            self._script.add(endpoint, list(faults))

    def take_fault(self, endpoint: Endpoint) -> Fault:
        """Return the fault for the answer that is due."""
        with self._lock:
            return self._script.take(endpoint)

    def clear_faults(self) -> None:
        """Forget every scripted fault."""
        with self._lock:
            self._script.clear()

    def faults_waiting(self) -> dict[str, int]:
        """Count the scripted faults that wait, by endpoint."""
        with self._lock:
            return self._script.waiting()

    # Inside: the lock is held

    def _state_now(self, pair: IssuedPair) -> PairState:
        if pair.state not in {PairState.WAITING, PairState.APPROVED}:
            return pair.state
        now = self.clock()
        if now >= pair.expires_at:
            return PairState.EXPIRED
        approve_after = self.options.approve_after
        if approve_after is not None and now >= pair.issued_at + approve_after:
            return PairState.APPROVED
        return pair.state

    def _give_grant(self, pair: IssuedPair, fault: Fault) -> Tokens:
        grant = self._new_grant(pair.applicant, pair.user_code, Flow.DEVICE_CODE)
        return self._give_tokens(grant, fault, kept_token=None)

    def _new_grant(self, applicant: Applicant, user_code: str, flow: Flow) -> Grant:
        grant = Grant(grant_id=len(self._grants) + 1, applicant=applicant, user_code=user_code, flow=flow)
        self._grants[grant.grant_id] = grant
        return grant

    def _give_tokens(self, grant: Grant, fault: Fault, *, kept_token: str | None) -> Tokens:
        lifetime = self.options.token_lifetime if fault.lifetime is None else fault.lifetime
        access_token = ACCESS_PREFIX + self._new_token("access token")
        refresh_token = kept_token or REFRESH_PREFIX + self._new_token("refresh token")
        self._access_tokens[fingerprint(access_token)] = (grant.grant_id, self.clock() + lifetime)
        if len(self._access_tokens) > self.options.most_remembered:
            del self._access_tokens[next(iter(self._access_tokens))]
        self._refresh_tokens[fingerprint(refresh_token)] = KeptToken(grant.grant_id)
        self._remember()
        return Tokens(
            access_token=access_token,
            refresh_token=refresh_token,
            expires_in=lifetime,
            scopes=grant.applicant.scopes,
        )

    def _new_token(self, label: str) -> str:
        """Make the opaque part of a token, as long as LWA's: 350 characters or more with its prefix."""
        return base64.urlsafe_b64encode(self._draw(264, label)).decode()

    def _new_user_code(self, dialect: DialectName) -> str:
        """Make a user code: six characters as LWA's, or eight with a hyphen as RFC 8628's."""
        while True:
            number = int.from_bytes(self._draw(16, "user code"), "big")
            letters = "".join(
                _LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(8)
            )
            code = letters[:6] if dialect is DialectName.LWA else f"{letters[:4]}-{letters[4:]}"
            if plain_code(code) not in self._device_codes:
                return code

    def _draw(self, length: int, label: str) -> bytes:
        """Give bytes nobody can guess, or with a seed those that everybody can tell."""
        if self.options.seed is None:
            return secrets.token_bytes(length)
        self._drawn += 1
        return hashlib.shake_256(f"{self.options.seed}/{label}/{self._drawn}".encode()).digest(length)

    def _complain(self, kind: ComplaintKind, sentence: str, pair: IssuedPair) -> None:
        self.referee.complain(kind, sentence, endpoint=Endpoint.TOKEN_POLL, client=pair.applicant.name)

    def _object(self, objection: ClientRefusal, endpoint: Endpoint, client: str) -> OAuthRefusal:
        if objection.remark is not None:
            kind, sentence = objection.remark
            self.referee.complain(kind, sentence, endpoint=endpoint, client=client)
        return objection.refused

    def _remember(self) -> None:
        if self._memory is not None:
            remember(self._memory, Remembered(self._drawn, self._grants, self._refresh_tokens))


def plain_code(user_code: str) -> str:
    """Reduce a user code to what counts: letters and digits, case ignored. Source: RFC 8628 §6.1."""
    return "".join(character for character in user_code.upper() if character.isalnum())


def _interval_told(usual: int, fault: Fault) -> int:
    """Return the interval that the client is told, and so is held to."""
    if "interval" in fault.change:
        changed = fault.change["interval"]
        return changed if isinstance(changed, int) and changed > 0 else DEFAULT_INTERVAL
    return usual if fault.interval is None else fault.interval


def _slowed(pair: IssuedPair) -> IssuedPair:
    """Lengthen the interval of a code pair.

    Source: RFC 8628 §3.5: five seconds more. LWA gives no figure; Amazon's SDK doubles up to a minute.
    """
    longer = pair.interval + _SLOW_DOWN_STEP
    if pair.applicant.dialect is DialectName.LWA:
        longer = max(pair.interval, min(max(longer, pair.interval * 2), _SLOW_DOWN_CEILING))
    return replace(pair, interval=longer)


def _not_known(dialect: DialectName) -> OAuthRefusal:
    if dialect is DialectName.LWA:
        return OAuthRefusal("invalid_code_pair", "The code pair is not valid.")
    return OAuthRefusal("invalid_grant", "The device code is not valid.")
