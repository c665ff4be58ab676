"""The state and the decisions of the simulated Amazon: code pairs, grants and tokens.

There is no HTTP here. Requests come as arguments, responses are values, the clock and the seed are passed in, and one
lock guards all of it. Access tokens begin with ``Sim|A|``, refresh tokens with ``Sim|R|`` and authorization codes with
``Sim|C|``, so that none is ever taken for a real one.
"""

import base64
import hashlib
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from device_auth.core.models import DialectName, Flow
from device_auth.simulator import pace
from device_auth.simulator.authorization import read_authorization, refuse_exchange, send_back
from device_auth.simulator.clients import (
    UNKNOWN_CLIENT,
    ClientRefusal,
    authenticate,
    has_secret,
    is_client_id,
    is_known,
    refuse_client,
    refuse_scopes,
)
from device_auth.simulator.faults import NO_FAULT, Endpoint, Fault, Script
from device_auth.simulator.memory import Remembered, fingerprint, recall, remember
from device_auth.simulator.models import (
    SLOW_DOWN,
    Applicant,
    AuthorizationCode,
    AuthorizationRequest,
    CodeExchange,
    Credentials,
    Denial,
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
    Referee,
    RuleName,
    judge_authorization,
)

EVERY_CODE: Final = "all"
"""Stands for every code pair in the control API; user codes have no vowels."""

AUTHORIZATION_PAGES: Final = {DialectName.LWA: "ap/oa", DialectName.RFC8628: "authorize"}
"""The paths of authorization requests. Source: LWA "Authorization Code Grant"; no RFC names one."""

LONGEST_RETRY_AFTER: Final = 3_600
"""Longest ``Retry-After``, in seconds, that the referee enforces."""

_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; no letter that looks like a digit. Source: RFC 8628 §6.1."""

_PENDING: Final = OAuthRefusal("authorization_pending", "The owner has not answered yet.")


class Amazon:
    """The simulated Amazon.

    Args:
        options: its behaviour.
        clock: monotonic seconds; tests share a virtual clock.
        memory: a file that outlives the process, so that a later process can refresh the tokens of this one. It
            holds fingerprints of refresh tokens, never a token.
        on_issue: called with each device code and each token that is issued; nothing else here keeps a token.

    Raises:
        StoreError: if the memory cannot be read.
    """

    def __init__(
        self,
        options: Options,
        *,
        clock: Callable[[], float],
        memory: Path | None = None,
        on_issue: Callable[[str], object] | None = None,
    ) -> None:
        self.options = options
        self.clock = clock
        self.referee = Referee(clock, is_strict=options.is_strict, allowed=options.allowed)
        self._memory = memory
        self._on_issue = on_issue
        self._lock = threading.RLock()
        self._script = Script()
        self._drawn = 0
        self._pairs: dict[str, IssuedPair] = {}
        self._device_codes: dict[str, str] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._grants: dict[int, Grant] = {}
        self._refresh_tokens: dict[str, KeptToken] = {}
        self._replaced: deque[str] = deque()
        self._access_tokens: dict[str, tuple[int, float]] = {}
        self._forgotten: Counter[str] = Counter()
        if memory is not None and memory.exists():
            remembered = recall(memory)
            self._drawn = remembered.drawn
            self._grants = remembered.grants
            self._refresh_tokens = remembered.refresh_tokens
            self._replaced.extend(mark for mark, kept in self._refresh_tokens.items() if kept.is_replaced)

    # Requesting a code pair

    def issue_code_pair(self, applicant: Applicant, fault: Fault = NO_FAULT) -> IssuedPair | OAuthRefusal:
        """Return a new code pair or a refusal."""
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
                interval=pace.interval_sent(self.options.interval, fault),
            )
            self._pairs[pair.device_code] = pair
            self._device_codes[plain_code(pair.user_code)] = pair.device_code
            if self._on_issue is not None:
                self._on_issue(pair.device_code)
            if len(self._pairs) > self.options.most_remembered:
                oldest = self._pairs.pop(next(iter(self._pairs)))
                del self._device_codes[plain_code(oldest.user_code)]
                self._forgotten["pairs"] += 1
            return pair

    # Polling

    def poll_arrived(self, device_code: str) -> bool:
        """Note a poll and have the referee judge its pace; return whether it may be answered truly."""
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is None:
                return True
            now = self.clock()
            breach, is_due = pace.judge_poll(pair, now), pace.is_due(pair, now)
            if breach is not None:
                self._report(*breach, Endpoint.TOKEN_POLL, pair.applicant)
                is_noted = pair.was_noted or breach[0] is RuleName.POLL_BELOW_TOLD
                pair = replace(pair, was_noted=is_noted)
            self._pairs[device_code] = replace(
                pair, polls=pair.polls + 1, heard_at=now, answered_at=now if is_due else pair.answered_at
            )
            return is_due

    def poll(
        self,
        dialect: DialectName,
        device_code: str,
        *,
        user_code: str = "",
        client_id: str = "",
        is_due: bool = True,
        fault: Fault = NO_FAULT,
    ) -> Tokens | OAuthRefusal:
        """Answer a poll: with tokens once the owner has approved, else with a refusal.

        Args:
            dialect: of the endpoint.
            device_code: of the poll.
            user_code: of an LWA poll.
            client_id: of an RFC 8628 poll.
            is_due: whether the truth is due. If not, the answer is ``slow_down``; but an ended code is told at once,
                and so is an approved one of LWA.
            fault: sets the lifetime of the access token.
        """
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is None or pair.applicant.dialect is not dialect:
                return _not_known(dialect)
            is_lwa = dialect is DialectName.LWA
            matches = user_code == pair.user_code if is_lwa else client_id == pair.applicant.client_id
            if not matches:
                sentence = "The other half of a poll does not belong to its device code."
                self._report(RuleName.WRONG_PARAMETER, sentence, Endpoint.TOKEN_POLL, pair.applicant)
                return _not_known(dialect)
            state = self._state_now(pair)
            if not is_due and (state is PairState.WAITING or (state is PairState.APPROVED and not is_lwa)):
                self._pairs[device_code] = pace.slowed(pair)
                return SLOW_DOWN
            match state:
                case PairState.WAITING:
                    return _PENDING
                case PairState.DENIED if is_lwa and self.options.denial is Denial.SILENT:
                    return _PENDING
                case PairState.DENIED if is_lwa and self.options.denial is Denial.INVALID_CODE_PAIR:
                    return _not_known(dialect)
                case PairState.DENIED:
                    return OAuthRefusal("access_denied", "The owner has declined.")
                case PairState.EXPIRED if not is_lwa:
                    return OAuthRefusal("expired_token", "The device code has expired.")
                case PairState.EXPIRED | PairState.USED:
                    return _not_known(dialect)
                case PairState.APPROVED:
                    self._pairs[device_code] = replace(pair, state=PairState.USED)
                    grant = self._new_grant(pair.applicant, pair.user_code, Flow.DEVICE_CODE)
                    return self._issue_tokens(grant, fault, kept_token=None)

    def poll_answered(
        self,
        device_code: str,
        at: float,
        *,
        is_final: bool,
        is_documented: bool = True,
        is_due: bool = True,
        retry_after: float = 0,
    ) -> None:
        """Note the end of the response to a poll, from which the interval counts. Source: RFC 8628 §3.5.

        Args:
            device_code: of the poll.
            at: the time.
            is_final: whether the client must not poll again.
            is_documented: whether LWA has this final answer.
            is_due: of ``poll_arrived``.
            retry_after: seconds of the response's Retry-After.
        """
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is not None:
                rule = pair.told_final
                if is_final and rule is None:
                    is_its_own = is_documented or pair.applicant.dialect is DialectName.RFC8628
                    rule = RuleName.REPEATED_FINAL_CODE if is_its_own else RuleName.REPEATED_DECLINED_CODE
                self._pairs[device_code] = replace(
                    pair,
                    heard_at=max(at, pair.heard_at),
                    answered_at=max(at, pair.answered_at) if is_due else pair.answered_at,
                    not_before=max(pair.not_before, at + min(retry_after, LONGEST_RETRY_AFTER)),
                    told_final=rule,
                )

    def slow_down(self, device_code: str) -> None:
        """Lengthen the interval of a code pair."""
        with self._lock:
            pair = self._pairs.get(device_code)
            if pair is not None:
                self._pairs[device_code] = pace.slowed(pair)

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
        """Return a new access token for a refresh token. A client of RFC 8628 is authenticated before."""
        with self._lock:
            if not is_known(client_id, self.options):
                return UNKNOWN_CLIENT
            mark = fingerprint(refresh_token)
            kept = self._refresh_tokens.get(mark)
            if kept is None:
                if refresh_token.startswith(REFRESH_PREFIX):
                    sentence = "A refresh token came that was not issued here, or has been forgotten."
                    self.referee.report(
                        RuleName.UNKNOWN_REFRESH_TOKEN, sentence, endpoint=Endpoint.REFRESH, client=client_id
                    )
                return OAuthRefusal("invalid_grant", "The refresh token is not known.")
            grant = self._grants[kept.grant_id]
            applicant = grant.applicant
            if applicant.dialect is not dialect:
                sentence = "A refresh token was sent to an endpoint of the other dialect."
                self._report(RuleName.REFRESH_TOKEN_ELSEWHERE, sentence, Endpoint.REFRESH, applicant)
                return OAuthRefusal("invalid_grant", "The refresh token was not given here.")
            if kept.is_replaced:
                sentence = "A refresh token was used after it had been replaced."
                self._report(RuleName.OLD_REFRESH_TOKEN, sentence, Endpoint.REFRESH, applicant)
                return OAuthRefusal("invalid_grant", "The refresh token has been replaced.")
            if grant.is_revoked or applicant.client_id != client_id:
                return OAuthRefusal("invalid_grant", "The grant was revoked, or is another client's.")
            refused = self._refuse_secret(grant, client_secret)
            if refused is not None:
                return refused
            self._grants[grant.grant_id] = grant = replace(grant, refreshes=grant.refreshes + 1)
            rotates = self.options.rotates if fault.rotation is None else fault.rotation
            tokens = self._issue_tokens(grant, fault, kept_token=None if rotates else refresh_token)
            return replace(tokens, replaces=mark) if rotates else tokens

    def _refuse_secret(self, grant: Grant, client_secret: str | None) -> OAuthRefusal | None:
        """Return why a refresh is refused for its secret; None if it is not. An unneeded secret is reported."""
        applicant = grant.applicant
        if applicant.dialect is DialectName.RFC8628:
            return None
        has_its_own = client_secret is not None and has_secret(applicant.client_id, self.options)
        if grant.flow is Flow.AUTHORIZATION_CODE or has_its_own:
            credentials = Credentials(applicant.client_id, client_secret)
            return self.refuse_credentials(credentials, applicant.dialect, Endpoint.REFRESH, applicant.name)
        if client_secret is not None:
            # LWA's reaction is unknown: Amazon's device client sends none, others of its tools do.
            sentence = "A client secret was sent with the refresh token of a speaker linked by code."
            self._report(RuleName.UNEXPECTED_SECRET, sentence, Endpoint.REFRESH, applicant)
        return None

    def refuse_credentials(
        self, credentials: Credentials, dialect: DialectName, endpoint: Endpoint, client: str
    ) -> OAuthRefusal | None:
        """Return why a client's credentials are refused, and report it; None if they are right."""
        refusal = authenticate(credentials, dialect, self.options)
        return None if refusal is None else self.refuse(refusal, endpoint, client)

    def refuse(self, refusal: ClientRefusal, endpoint: Endpoint, client: str) -> OAuthRefusal:
        """Return a refusal's response, and have the referee report the rule that was broken."""
        if refusal.breach is not None:
            kind, sentence = refusal.breach
            self.referee.report(kind, sentence, endpoint=endpoint, client=client)
        return refusal.answer

    def refresh_answered(self, replaced: str) -> None:
        """Drop a replaced refresh token, now that its successor has reached the client.

        Until then the old one works: LWA does not document replacement, and a lost response is not the fault of the client.
        """
        with self._lock:
            kept = self._refresh_tokens.get(replaced)
            if kept is None or kept.is_replaced:
                return
            self._refresh_tokens[replaced] = replace(kept, is_replaced=True)
            self._replaced.append(replaced)
            if len(self._replaced) > self.options.most_remembered:
                self._refresh_tokens.pop(self._replaced.popleft(), None)
                self._forgotten["refresh_tokens"] += 1
            self._remember()

    def revoke_token(self, token: str, client_id: str) -> None:
        """Revoke the grant of a token; an unknown one is not an error. Source: RFC 7009 §2.2."""
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
                self._report(RuleName.REFRESH_TOKEN_ELSEWHERE, sentence, Endpoint.REVOKE, grant.applicant)
            elif grant.applicant.client_id == client_id:
                self._revoke([grant])

    # The authorization-code flow

    def read_authorization(
        self, parameters: list[tuple[str, str]], dialect: DialectName = DialectName.LWA
    ) -> AuthorizationRequest | SentBack | OAuthRefusal:
        """Read a client's request that a browser carries to the sign-in page."""
        return read_authorization(parameters, dialect, self.options)

    def judge_authorization(
        self, parameters: list[tuple[str, str]], dialect: DialectName = DialectName.LWA
    ) -> None:
        """Have the referee judge an authorization request."""
        client, page = self.name_of(dict(parameters)), AUTHORIZATION_PAGES[dialect]
        sent = [(name, value) for name, value in parameters if value]
        for kind, sentence in judge_authorization(sent, dialect):
            self.referee.report(kind, sentence, endpoint=page, client=client)

    def allow(self, request: AuthorizationRequest) -> str:
        """Return the address that carries a new authorization code back to the client."""
        with self._lock:
            code = CODE_PREFIX + self._draw(24, "authorization code").hex()
            self._codes[fingerprint(code)] = AuthorizationCode(
                request=request,
                issued_at=self.clock(),
                expires_in=self.options.authorization_code_lifetime,
            )
            if len(self._codes) > self.options.most_remembered:
                del self._codes[next(iter(self._codes))]
                self._forgotten["authorizations"] += 1
        scope = " ".join(request.applicant.scopes)  # clients ignore unknown parameters, RFC 6749 §4.1.2
        return send_back(request.redirect_uri, request.state, code=code, scope=scope)

    def decline(self, request: AuthorizationRequest) -> str:
        """Return the address that carries the owner's refusal back to the client."""
        return send_back(
            request.redirect_uri,
            request.state,
            error="access_denied",
            error_description="The owner has declined.",
        )

    def approve_authorization(self, query: Mapping[str, str], dialect: DialectName = DialectName.LWA) -> str:
        """Sign in and allow, as an owner with a browser would.

        Args:
            query: of the address that the client sends the browser to.
            dialect: of that address.

        Returns:
            The address that the browser is sent back to; it carries an error if the request is invalid.

        Raises:
            ValueError: if the browser would not be sent back: the client or its redirect URI is unknown.
        """
        return self._answer_authorization(query, dialect, self.allow)

    def decline_authorization(self, query: Mapping[str, str], dialect: DialectName = DialectName.LWA) -> str:
        """Sign in and decline; like ``approve_authorization`` otherwise."""
        return self._answer_authorization(query, dialect, self.decline)

    def _answer_authorization(
        self, query: Mapping[str, str], dialect: DialectName, answer: Callable[[AuthorizationRequest], str]
    ) -> str:
        parameters = list(query.items())
        self.judge_authorization(parameters, dialect)
        match self.read_authorization(parameters, dialect):
            case OAuthRefusal(description=description):
                raise ValueError(description)
            case SentBack(address=address):
                return address
            case request:
                return answer(request)

    def exchange_arrived(self, code: str) -> None:
        """Note an exchange; report it to the referee if its code had its final response before."""
        with self._lock:
            known = self._codes.get(fingerprint(code))
            if known is not None and known.was_told_final:
                sentence = "An authorization code was exchanged again after its final answer."
                self._report(RuleName.REPEATED_EXCHANGE, sentence, Endpoint.EXCHANGE, known.request.applicant)

    def exchange(self, sent: CodeExchange, fault: Fault = NO_FAULT) -> Tokens | OAuthRefusal:
        """Return tokens for an authorization code, once. Source: RFC 6749 §4.1.2, §4.1.3."""
        with self._lock:
            mark, client_id = fingerprint(sent.code), sent.credentials.client_id
            code = self._codes.get(mark)
            name = self.name_of({"code": sent.code, "client_id": client_id})
            refused = self.refuse_credentials(sent.credentials, sent.dialect, Endpoint.EXCHANGE, name)
            if refused is not None:
                return refused
            if code is None or code.request.applicant.dialect is not sent.dialect:
                return OAuthRefusal("invalid_grant", "The authorization code is not known.")
            if code.request.applicant.client_id != client_id:
                sentence = "The authorization code is another client's."
                breach = RuleName.WRONG_PARAMETER, sentence
                stolen = ClientRefusal(OAuthRefusal("invalid_grant", sentence), breach)
                return self.refuse(stolen, Endpoint.EXCHANGE, name)
            if code.grant_id is not None:
                issued = self._grants.get(code.grant_id)  # None if it was forgotten
                self._revoke([] if issued is None else [issued])
                return OAuthRefusal("invalid_grant", "The authorization code was used before.")
            wrong = refuse_exchange(code, sent, self.clock())
            if wrong is not None:
                return self.refuse(wrong, Endpoint.EXCHANGE, name)
            grant = self._new_grant(code.request.applicant, "", Flow.AUTHORIZATION_CODE)
            self._codes[mark] = replace(code, grant_id=grant.grant_id)
            return self._issue_tokens(grant, fault, kept_token=None)

    def exchange_answered(self, code: str) -> None:
        """Note that the final response to an exchange has reached the client."""
        with self._lock:
            mark = fingerprint(code)
            if mark in self._codes:
                self._codes[mark] = replace(self._codes[mark], was_told_final=True)

    def authorizations(self) -> tuple[AuthorizationCode, ...]:
        """Return every authorization code, without the code itself."""
        with self._lock:
            return tuple(self._codes.values())

    def grant_of(self, access_token: str) -> Grant | None:
        """Return the grant of a valid access token."""
        with self._lock:
            grant_id, expires_at = self._access_tokens.get(fingerprint(access_token), (0, 0))
            grant = self._grants.get(grant_id)
            if grant is None or grant.is_revoked or self.clock() >= expires_at:
                return None
            return grant

    def lifetime_left(self, access_token: str) -> int:
        """Return the whole seconds that an access token is valid; 0 if it is not."""
        with self._lock:
            _, expires_at = self._access_tokens.get(fingerprint(access_token), (0, 0))
            return max(0, round(expires_at - self.clock()))

    # The owner, or the control API in place of the owner

    def find(self, user_code: str) -> IssuedPair | None:
        """Return the waiting code pair for a typed code; case and punctuation do not count."""
        with self._lock:
            pair = self._pairs.get(self._device_codes.get(plain_code(user_code), ""))
            return pair if pair is not None and self._state_now(pair) is PairState.WAITING else None

    def approve(self, user_code: str) -> int:
        """Approve one waiting code pair, or all; return how many."""
        return self._end_waiting(user_code, PairState.APPROVED)

    def deny(self, user_code: str) -> int:
        """Decline one waiting code pair, or all; return how many."""
        return self._end_waiting(user_code, PairState.DENIED)

    def expire(self, user_code: str) -> int:
        """Expire one waiting code pair, or all; return how many."""
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
        """Revoke the grant of a user code, or every grant, as an owner can; return how many."""
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
        """Return every code pair with its present state."""
        with self._lock:
            return tuple(replace(pair, state=self._state_now(pair)) for pair in self._pairs.values())

    def grants(self) -> tuple[Grant, ...]:
        """Return every grant."""
        with self._lock:
            return tuple(self._grants.values())

    def forgotten(self) -> dict[str, int]:
        """Return by kind how many code pairs, authorization codes, grants and tokens were forgotten: there were too many."""
        with self._lock:
            return dict(self._forgotten)

    def is_device_code(self, text: str) -> bool:
        """Return whether a text is a device code that was issued."""
        with self._lock:
            return text in self._pairs

    def name_of(self, form: Mapping[str, str]) -> str:
        """Return the client's name for remarks about its form; never a word that could be a secret."""
        with self._lock:
            pair = self._pairs.get(form.get("device_code", ""))
            if pair is not None:
                return pair.applicant.name
            code = self._codes.get(fingerprint(form.get("code", "")))
            if code is not None:
                return code.request.applicant.name
            client_id = form.get("client_id", "")
            is_secret = client_id in self._pairs or client_id.startswith(SECRET_PREFIXES)
            is_secret = is_secret or any(each.secret == client_id for each in self.options.clients.values())
            return client_id if is_client_id(client_id, DialectName.RFC8628) and not is_secret else ""

    # Faults

    def script(self, endpoint: Endpoint, faults: Iterable[Fault]) -> None:
        """Script the next responses of an endpoint, after those that are scripted already."""
        with self._lock:
            self._script.add(endpoint, list(faults))

    def take_fault(self, endpoint: Endpoint) -> Fault:
        """Return the fault for the next response."""
        with self._lock:
            return self._script.take(endpoint)

    def clear_faults(self) -> None:
        """Forget every scripted fault."""
        with self._lock:
            self._script.clear()

    def faults_waiting(self) -> dict[str, int]:
        """Return the number of scripted faults by endpoint."""
        with self._lock:
            return self._script.waiting()

    # Called with the lock held

    def _state_now(self, pair: IssuedPair) -> PairState:
        now = self.clock()
        is_silent = pair.applicant.dialect is DialectName.LWA and self.options.denial is Denial.SILENT
        is_over = pair.state in {PairState.USED, PairState.EXPIRED} or (
            pair.state is PairState.DENIED and not is_silent
        )
        if not is_over and now >= pair.expires_at:
            return PairState.EXPIRED
        approve_after = self.options.approve_after
        is_approved = approve_after is not None and now >= pair.issued_at + approve_after
        return PairState.APPROVED if pair.state is PairState.WAITING and is_approved else pair.state

    def _new_grant(self, applicant: Applicant, user_code: str, flow: Flow) -> Grant:
        if len(self._grants) >= self.options.most_remembered:
            self._forget_grant()
        grant_id = next(reversed(self._grants), 0) + 1
        self._grants[grant_id] = Grant(grant_id=grant_id, applicant=applicant, user_code=user_code, flow=flow)
        return self._grants[grant_id]

    def _forget_grant(self) -> None:
        """Forget the oldest revoked grant with its refresh tokens; if none is revoked, the oldest."""
        revoked = (grant.grant_id for grant in self._grants.values() if grant.is_revoked)
        gone = next(revoked, None) or next(iter(self._grants))
        del self._grants[gone]
        for mark in [mark for mark, kept in self._refresh_tokens.items() if kept.grant_id == gone]:
            del self._refresh_tokens[mark]
        self._forgotten["grants"] += 1

    def _issue_tokens(self, grant: Grant, fault: Fault, *, kept_token: str | None) -> Tokens:
        lifetime = self.options.token_lifetime if fault.lifetime is None else fault.lifetime
        access_token = ACCESS_PREFIX + self._new_token("access token")
        refresh_token = kept_token or REFRESH_PREFIX + self._new_token("refresh token")
        now = self.clock()
        self._access_tokens[fingerprint(access_token)] = (grant.grant_id, now + lifetime)
        oldest, (_, expires_at) = next(iter(self._access_tokens.items()))
        if expires_at <= now:  # an expired one is answered like one that was never given
            del self._access_tokens[oldest]
        elif len(self._access_tokens) > self.options.most_remembered:
            del self._access_tokens[oldest]
            self._forgotten["access_tokens"] += 1
        self._refresh_tokens[fingerprint(refresh_token)] = KeptToken(grant.grant_id)
        self._remember()
        if self._on_issue is not None:
            for token in (access_token, *(() if kept_token else (refresh_token,))):
                self._on_issue(token)
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
        """Return random bytes; with a seed, the same ones in each run."""
        if self.options.seed is None:
            return secrets.token_bytes(length)
        self._drawn += 1
        return hashlib.shake_256(f"{self.options.seed}/{label}/{self._drawn}".encode()).digest(length)

    def _report(self, kind: RuleName, sentence: str, endpoint: Endpoint, applicant: Applicant) -> None:
        self.referee.report(kind, sentence, endpoint=endpoint, client=applicant.name)

    def _remember(self) -> None:
        if self._memory is not None:
            remember(self._memory, Remembered(self._drawn, self._grants, self._refresh_tokens))


def plain_code(user_code: str) -> str:
    """Return the letters and digits of a user code, in upper case. Source: RFC 8628 §6.1."""
    return "".join(character for character in user_code.upper() if character.isalnum())


def _not_known(dialect: DialectName) -> OAuthRefusal:
    if dialect is DialectName.LWA:
        return OAuthRefusal("invalid_code_pair", "The code pair is not valid.")
    return OAuthRefusal("invalid_grant", "The device code is not valid.")
