"""Break each decision of ``core/speaker.py`` by itself, and see that a unit or a property test notices.

Run by ``make mutants``, a few minutes. A mutant is one line of the file replaced by another, in a copy of the package
in a temporary folder. The run fails if one survives, or if its line is no longer there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
FILE: Final = Path("device_auth/core/speaker.py")
TESTS: Final = ("tests/unit/test_speaker.py", "tests/property/test_speaker_histories.py")
BESIDE: Final = ("tests/conftest.py", "tests/values.py", "pyproject.toml")
LONGEST: Final = 300
"""Seconds; a mutant that makes the tests run longer is killed by that."""


class Mutant(NamedTuple):
    """One break.

    Attributes:
        breaks: the decision, in a few words.
        line: as it stands in the file, once, without its indentation; several lines where one stands more than once.
        broken: what it is replaced by.
    """

    breaks: str
    line: str
    broken: str


M = Mutant
MUTANTS: Final = (
    M(
        "a former link is put back without a token of the link that is undone",
        "withdraw = () if state.in_use is not None else (refresh.Withdraw(),)",
        "withdraw = ()",
    ),
    M(
        "an undoing leaves the token of the link in use",
        "withdraw = () if state.in_use is not None else (refresh.Withdraw(),)",
        "withdraw = (refresh.Withdraw(),)",
    ),
    M(
        "why a link may not outlast a power cut is told",
        "hint = state.doubt if is_well else phrase_of(word, trouble, is_checking=is_checking).next_step",
        "hint = phrase_of(word, trouble, is_checking=is_checking).next_step",
    ),
    M(
        "a trouble is told before a doubt",
        "is_well = word is StateWord.LINKED and trouble is Trouble.NONE",
        "is_well = word is StateWord.LINKED",
    ),
    M(
        "a doubt outlives the link",
        "sequence=state.sequence,\n        doubt=state.doubt,\n    )\n    return forgotten",
        "sequence=state.sequence,\n    )\n    return forgotten",
    ),
    M(
        "a doubt is told of a link only",
        "is_well = word is StateWord.LINKED and trouble is Trouble.NONE",
        "is_well = trouble is Trouble.NONE",
    ),
    M(
        "a store that cannot be read yet is told before all else",
        "if state.awaited is not None:\n        why",
        "if state.awaited is not None and state.problem is None:\n        why",
    ),
    M(
        "no code is requested while the store cannot be read",
        "case linking.LinkRequested() if state.awaited is not None:",
        "case linking.LinkRequested() if state.awaited is not None and event.again:",
    ),
    M(
        "a press is answered while the store cannot be read",
        "# there may be a link, and a new one could not be stored\n            return replace(state, sequence=state.sequence + 1), ()",
        "return state, ()",
    ),
    M(
        "a store that was read is awaited no more",
        "return _read(replace(state, awaited=None), event), ()",
        "return _read(state, event), ()",
    ),
    M(
        "the 20 s bound counts as a time-out",
        "answer = Unreachable(Trouble.PROVIDER_UNAVAILABLE, what, timed_out=True)",
        "answer = Unreachable(Trouble.PROVIDER_UNAVAILABLE, what)",
    ),
    M(
        "what could not be put back is tried again",
        "return replace(state, owed=replace(owed, look_at=look_at)), ()",
        "return replace(state, owed=owed), ()",
    ),
    M(
        "after a doubtful erasure the store is looked at again",
        "owed = OwedWrite(state.stored) if state.owed is None else state.owed",
        "owed = OwedWrite(None) if state.owed is None else state.owed",
    ),
    M(
        "an unlink ends an attempt first",
        "state, commands = _link(state, linking.Cancelled(), now)\n            return state, (*commands, refresh",
        "commands = ()\n            return state, (*commands, refresh",
    ),
    M(
        "tokens go before the store is erased",
        "return state, (*commands, refresh.Withdraw(), linking.ForgetPending())",
        "return state, (*commands, linking.ForgetPending())",
    ),
    M(
        "the pair goes before the store is erased",
        "return state, (*commands, refresh.Withdraw(), linking.ForgetPending())",
        "return state, (*commands, refresh.Withdraw())",
    ),
    M(
        "an erasure that failed is looked into",
        "return replace(state, is_unlinking=True), (LookAtStore(),)",
        "return state, (LookAtStore(),)",
    ),
    M(
        "a store found empty is an unlinked speaker",
        "return _forget(state) if link is None else _stay_linked(state, link, now)",
        "return _stay_linked(state, link, now) if link is not None else (state, ())",
    ),
    M(
        "an unlink drops every request",
        "return forgotten, (DropCalls(None),)",
        "return forgotten, ()",
    ),
    M(
        "an answer after an unlink is not used",
        "next_number=state.next_number,\n        answers",
        "in_use=state.in_use,\n        next_number=state.next_number,\n        answers",
    ),
    M(
        "numbers are not used again after an unlink",
        "next_number=state.next_number,\n        answers",
        "answers",
    ),
    M(
        "a service stays one after an unlink",
        "is_service=state.is_service,",
        "",
    ),
    M(
        "a link that stays is served on",
        "return state, commands if grant is None else (refresh.Serve(grant), *commands)",
        "return state, commands",
    ),
    M(
        "the doubt ends with a look at the store",
        "state, commands = _see_store(replace(state, is_unlinking=False), found, now)",
        "state, commands = _see_store(state, found, now)",
    ),
    M(
        "the speaker itself is told of last",
        "if trouble is Trouble.NONE and state.problem is not None:",
        "if state.problem is not None:",
    ),
    M(
        "linking is told of before keeping",
        "if trouble is Trouble.NONE and state.in_use is not None:",
        "if state.in_use is not None:",
    ),
    M(
        "the refusal's own hint is told",
        "hint=hint if refusal is None else refusal.hint,",
        "hint=hint,",
    ),
    M(
        "the machine wakes for a link on trial",
        "moments = [refresh.next_moment(kept.keeping) for kept in _kept_links(state)]",
        "moments = [refresh.next_moment(kept.keeping) for kept in (state.in_use,) if kept]",
    ),
    M(
        "the machine wakes for what is owed to the disk",
        "linking.next_moment(state.stage), NEVER if state.owed is None else state.owed.look_at, *moments",
        "linking.next_moment(state.stage), *moments, NEVER",
    ),
    M(
        "a lost key is told",
        "return replace(state, stored=None, overwritten=None, stage=unlinked)",
        "return replace(state, stored=None, overwritten=None)",
    ),
    M(
        "a marked link is not linked",
        "return replace(state, stage=linking.Linked()) if _is_in_force(event.link) else state",
        "return replace(state, stage=linking.Linked()) if event.link else state",
    ),
    M(
        "only an unproved link is put on trial at a start",
        "if _is_in_force(link) and not link.is_proved:",
        "if _is_in_force(link):",
    ),
    M(
        "an unproved link is not served at a start",
        "if _is_in_force(link) and not link.is_proved:",
        "if False:",
    ),
    M(
        "a token found beside an unproved link is withdrawn",
        "commands = (refresh.Withdraw(),)\n        request",
        "commands = ()\n        request",
    ),
    M(
        "a grant of before a restart gives way to the former one",
        "request = replace(event.request, again=_is_in_force(link.replaces))",
        "request = replace(event.request, again=False)",
    ),
    M(
        "a marked former link is nothing to give way to",
        "request = replace(event.request, again=_is_in_force(link.replaces))",
        "request = replace(event.request, again=link.replaces is not None)",
    ),
    M(
        "an expired pair is not resumed",
        "if pending.pair.expires_at > now and _is_issued_by(event.provider, pending.provider):",
        "if _is_issued_by(event.provider, pending.provider):",
    ),
    M(
        "a pair of another provider is not resumed",
        "if pending.pair.expires_at > now and _is_issued_by(event.provider, pending.provider):",
        "if pending.pair.expires_at > now:",
    ),
    M(
        "a pair that cannot be used is forgotten",
        "commands = (*commands, linking.ForgetPending())",
        "pass",
    ),
    M(
        "a pair goes on with the provider that issued it",
        "return state, (*commands, UseProvider(pending.provider), *more)",
        "return state, (*commands, *more)",
    ),
    M(
        "a token endpoint yet to be discovered is no other",
        "token_endpoint=wanted.token_endpoint or issuer.token_endpoint,",
        "token_endpoint=wanted.token_endpoint,",
    ),
    M(
        "a service waits for a press",
        "if not event.is_service:",
        "if True:",
    ),
    M(
        "a link handed over is no trouble",
        'refusal = None if trouble is Trouble.NONE else Refusal(trouble, "", told.sentence, told.next_step)',
        'refusal = Refusal(trouble, "", told.sentence, told.next_step)',
    ),
    M(
        "a marked link is told of",
        "state = replace(state, stage=linking.Unlinked(trouble, refusal))",
        "pass",
    ),
    M(
        "only a link in force is kept at a start",
        "if not _is_in_force(state.stored):\n        return",
        "if state.stored is None:\n        return",
    ),
    M(
        "without a link the token of before is withdrawn",
        "return state, (refresh.Withdraw(),)\n    state = _begin",
        "return state, ()\n    state = _begin",
    ),
    M(
        "the token of before a restart is served on",
        "state = _begin_to_keep(state, state.stored, now, event.draw, event.token)",
        "state = _begin_to_keep(state, state.stored, now, event.draw)",
    ),
    M(
        "a fleet's first refreshes are spread",
        "state = _begin_to_keep(state, state.stored, now, event.draw, event.token)",
        "state = _begin_to_keep(state, state.stored, now, 0.0, event.token)",
    ),
    M(
        "a token that ran out over a restart is withdrawn",
        "return state, ((refresh.Withdraw() if grant is None else refresh.Serve(grant)),)",
        "return state, (() if event.token is None else (refresh.Serve(event.token),))",
    ),
    M(
        "a late refusal of a refresh is not heard",
        "if event.is_late and not is_grant:",
        "if False:",
    ),
    M(
        "a late refresh that brings a token is heard",
        "if event.is_late and not is_grant:",
        "if event.is_late:",
    ),
    M(
        "a late grant counts for the pair in hand alone",
        "and state.stage.pair == question.pair",
        "",
    ),
    M(
        "of late answers to a poll only a grant counts",
        "if event.is_late and not (is_grant and is_for_this_pair):",
        "if event.is_late and not is_for_this_pair:",
    ),
    M(
        "a late grant is heard",
        "if event.is_late and not (is_grant and is_for_this_pair):",
        "if event.is_late:",
    ),
    M(
        "answers are counted",
        "counted = replace(state, answers=_count(state.answers, answer))",
        "counted = state",
    ),
    M(
        "a rotated refresh token of a replaced link is not lost",
        "if isinstance(answer, TokenGrant) and not _is_kept(state, question.number):",
        "if False:",
    ),
    M(
        "only the replaced link's own token is taken over",
        "if in_use is None or former is None or not _is_same(former, link) or grant.refresh_token is None:",
        "if in_use is None or former is None or grant.refresh_token is None:",
    ),
    M(
        "a wish without a link is answered at once",
        "return state, (_refresh_ended(state),)\n    state, commands",
        "return state, ()\n    state, commands",
    ),
    M(
        "a wish is answered at once where no refresh comes of it",
        "return state, commands if is_coming else (*commands, _refresh_ended(state))",
        "return state, commands",
    ),
    M(
        "a refresh about to come is waited for",
        "return state, commands if is_coming else (*commands, _refresh_ended(state))",
        "return state, (*commands, _refresh_ended(state))",
    ),
    M(
        "what is owed to the disk is looked at when due",
        "commands = (*commands, LookAtStore())",
        "pass",
    ),
    M(
        "a trial that ends is over",
        "if not isinstance(stepped, linking.Proving):",
        "if False:",
    ),
    M(
        "a cancel leaves the refresh of the link in use",
        "return state, (DropCalls(None if state.in_use is None else state.in_use.number),)",
        "return state, (DropCalls(None),)",
    ),
    M(
        "the proof is asked for at once",
        "return _keep(state, number, TimePassed(), now)",
        "return state, ()",
    ),
    M(
        "a save is undone",
        "return replace(state, owed=OwedWrite(_former(state))), (*withdraw, LookAtStore())",
        "return state, ()",
    ),
    M(
        "a new link names the one in use as it is now",
        "former = overwritten if state.in_use is None else state.in_use.keeping.link",
        "former = overwritten",
    ),
    M(
        "a marked link is not named as the former",
        "former = former if _is_in_force(former) else None",
        "pass",
    ),
    M(
        "a token of nobody goes before a new grant is stored",
        "withdraw = () if former is not None else (refresh.Withdraw(),)",
        "withdraw = ()",
    ),
    M(
        "the former's token stays while the new grant is proved",
        "withdraw = () if former is not None else (refresh.Withdraw(),)",
        "withdraw = (refresh.Withdraw(),)",
    ),
    M(
        "a new grant settles what is owed to the disk",
        "return replace(state, overwritten=overwritten, owed=None), (*withdraw, command)",
        "return replace(state, overwritten=overwritten), (*withdraw, command)",
    ),
    M(
        "a stored grant ends the doubt of an erasure",
        "return _link(replace(state, stored=link, is_unlinking=False), linking.Saved(), now)",
        "return _link(replace(state, stored=link), linking.Saved(), now)",
    ),
    M(
        "a grant that is not stored yet does not end the doubt of an erasure",
        "return replace(state, overwritten=overwritten, owed=None), (*withdraw, command)",
        "return replace(state, overwritten=overwritten, owed=None, is_unlinking=False), (*withdraw, command)",
    ),
    M(
        "what a grant is stored over is remembered",
        "return replace(state, overwritten=overwritten, owed=None), (*withdraw, command)",
        "return replace(state, owed=None), (*withdraw, command)",
    ),
    M(
        "a link that is told knows it",
        "keeping, _ = refresh.step(kept.keeping, refresh.LinkTold(), now)",
        "keeping = kept.keeping",
    ),
    M(
        "the new link is put to use",
        "state = replace(state, in_use=replace(kept, keeping=keeping), on_trial=None)",
        "state = replace(state, on_trial=None)",
    ),
    M(
        "a former owner's token files do not stay after a re-link",
        "return state, (refresh.Withdraw() if keeping.grant is None else refresh.Serve(keeping.grant),)",
        "return state, () if keeping.grant is None else (refresh.Serve(keeping.grant),)",
    ),
    M(
        "the token of a proved link is served",
        "return state, (refresh.Withdraw() if keeping.grant is None else refresh.Serve(keeping.grant),)",
        "return state, (refresh.Withdraw(),)",
    ),
    M(
        "a save that failed leaves what was stored",
        "if state.stored is None or _is_same(state.stored, state.overwritten):",
        "if state.stored is None:",
    ),
    M(
        "a link that was replaced comes back from the new one",
        "return state.overwritten if replaced is None or _is_same(replaced, state.overwritten) else replaced",
        "return state.overwritten",
    ),
    M(
        "a marked link that was stored over comes back",
        "return state.overwritten if replaced is None or _is_same(replaced, state.overwritten) else replaced",
        "return replaced",
    ),
    M(
        "a mark that is not on the disk yet comes back",
        "if replaced is None or _is_same(replaced, state.overwritten) else replaced",
        "if replaced is None else replaced",
    ),
    M(
        "a look that nobody asked for changes nothing",
        "if state.owed is None:\n        return state, ()",
        "if state.owed is None:\n        return state, (PutBack(found),)",
    ),
    M(
        "the link in use is put back with its newest refresh token",
        "return owed.link if state.in_use is None else state.in_use.keeping.link",
        "return owed.link",
    ),
    M(
        "what lies there already is not written again",
        "if found == wanted:",
        "if False:",
    ),
    M(
        "a save that came about although it failed is undone",
        "if found == wanted:",
        "if True:",
    ),
    M(
        "what is settled is owed no more",
        "state = replace(state, stored=link, owed=None)",
        "state = replace(state, stored=link)",
    ),
    M(
        "after a failed re-link across a restart the former link is refreshed",
        "return _begin_to_keep(state, link, now) if is_let_go and _is_in_force(link) else state",
        "return state",
    ),
    M(
        "a marked link that is put back is not kept",
        "return _begin_to_keep(state, link, now) if is_let_go and _is_in_force(link) else state",
        "return _begin_to_keep(state, link, now) if is_let_go and link else state",
    ),
    M(
        "only a service keeps a link that is put back",
        "is_let_go = state.is_service and state.in_use is None",
        "is_let_go = state.in_use is None",
    ),
    M(
        "the link in use stays in use when the disk is put right",
        "is_let_go = state.is_service and state.in_use is None",
        "is_let_go = state.is_service",
    ),
    M(
        "each kept link has a number of its own",
        "return replace(state, in_use=kept, next_number=state.next_number + 1)",
        "return replace(state, in_use=kept)",
    ),
    M(
        "an answer to a link that is gone is not used",
        "if kept is None:\n        return state, ()\n    was_proved",
        "if kept is None:\n        kept = state.in_use or state.on_trial\n    if kept is None:\n        return state, ()\n    was_proved",
    ),
    M(
        "an account is asked for once",
        "and link.account_id is None and not kept.has_asked_account",
        "and link.account_id is None",
    ),
    M(
        "an account is asked for only where the scope gives it",
        "return is_given and grant is not None and",
        "return grant is not None and",
    ),
    M(
        "an account that is known is not asked for",
        "grant is not None and link.account_id is None and",
        "grant is not None and",
    ),
    M(
        "an answer about the account that comes late is not used",
        "return (state, ()) if event.is_late else _take_profile(state, question.number, answer, now)",
        "return _take_profile(state, question.number, answer, now)",
    ),
    M(
        "an answer about the account of a link that is gone is not used",
        "if kept is None:\n        return state, ()\n    is_on_trial",
        "if kept is None:\n        kept = state.in_use or state.on_trial\n    if kept is None:\n        return state, ()\n    is_on_trial",
    ),
    M(
        "an unproved link is not served",
        "is_held_back = is_on_trial or state.is_unlinking",
        "is_held_back = state.is_unlinking",
    ),
    M(
        "nothing is served while the store may be erased",
        "is_held_back = is_on_trial or state.is_unlinking",
        "is_held_back = is_on_trial",
    ),
    M(
        "a link that gives way is not marked",
        "if link.mark is not None and _gives_way(state, kept):",
        "if False:",
    ),
    M(
        "a link in use is stored in the one on trial",
        "if stored is not None and not _is_same(stored, link):",
        "if False:",
    ),
    M(
        "a lost link is not named as the former any more",
        "link = replace(stored, replaces=None if link.mark is not None else link)",
        "link = replace(stored, replaces=link)",
    ),
    M(
        "a former owner's token goes before the new link is final",
        "return (*((refresh.Withdraw(),) if is_final else ()), StoreLink(kept.number, link))",
        "return (StoreLink(kept.number, link),)",
    ),
    M(
        "a first link gives way only if it leaves no trace",
        "return isinstance(state.stage, linking.Proving) and state.stage.request.gives_way",
        "return isinstance(state.stage, linking.Proving)",
    ),
    M(
        "a link told before its proof gives way",
        "return kept.keeping.link.replaces is not None",
        "return False",
    ),
    M(
        "the end of a proof is reported",
        "return state, (*commands, _refresh_ended(state)) if is_in_use else commands",
        "return state, commands",
    ),
    M(
        "a link refused for good is given up",
        "if standing is ProofStanding.REFUSED:",
        "if False:",
    ),
    M(
        "a doubt does not end a link",
        "if standing is ProofStanding.REFUSED:",
        "if standing is not ProofStanding.HOLDS:",
    ),
    M(
        "a link that is given up is not in use",
        "state, commands = _give_up(replace(state, in_use=None), keeping, now)",
        "state, commands = _give_up(state, keeping, now)",
    ),
    M(
        "the end of a refresh is reported",
        "return state, (*commands, _refresh_ended(state))\n\n\ndef _refresh_ended",
        "return state, commands\n\n\ndef _refresh_ended",
    ),
    M(
        "the moment of the next refresh is reported",
        "return ReportRefreshEnded(NEVER if ask_at is None else ask_at)",
        "return ReportRefreshEnded()",
    ),
    M(
        "a revoked link does not come back as the former one",
        "former, stored = lost.link.replaces, state.stored",
        "former, stored = state.stored and state.stored.replaces, state.stored",
    ),
    M(
        "a link on trial has nothing to give way to once the former is lost",
        "state = replace(state, on_trial=replace(state.on_trial, keeping=trial))",
        "pass",
    ),
    M(
        "a lost link is not put back unmarked",
        "state = replace(state, owed=replace(state.owed, link=lost.link))",
        "pass",
    ),
    M(
        "a lost link that was stored over comes back marked",
        "state = replace(state, overwritten=lost.link if former is None else former)",
        "state = state if former is None else replace(state, overwritten=former)",
    ),
    M(
        "a lost link that was stored over comes back as what it gives way to",
        "state = replace(state, overwritten=lost.link if former is None else former)",
        "state = replace(state, overwritten=lost.link) if former is None else state",
    ),
    M(
        "what is owed to the disk counts as stored over",
        "overwritten = state.stored if state.owed is None else _wanted(state, state.owed)",
        "overwritten = state.stored",
    ),
    M(
        "a former link that rotated during the trial comes back with its newest refresh token",
        "if former is not None and _is_same(former, keeping.link.replaces):",
        "if False:",
    ),
    M(
        "the former link is kept when its successor is refused",
        "state = _begin_to_keep(state, former, now)\n    if",
        "if",
    ),
    M(
        "an attempt at another link goes on",
        "if isinstance(state.stage, linking.Linked | linking.Unlinked):",
        "if True:",
    ),
    M(
        "why the successor was given up is told for a while",
        "state = replace(state, stage=linking.Linked(lost.trouble, lost.refusal, told_until))",
        "state = replace(state, stage=linking.Linked(lost.trouble, lost.refusal))",
    ),
    M(
        "the former link is put back on the disk",
        "return replace(state, owed=OwedWrite(former)), (LookAtStore(),)",
        "return state, ()",
    ),
    M(
        "the link on trial names the former that is in use again",
        "return state, (StoreLink(state.next_number - 1, replace(stored, replaces=former)),)",
        "return state, ()",
    ),
    M(
        "a changed link is saved again by its own machine",
        "return _keep(state, event.number, refresh.SaveFailed(), now)",
        "return state, ()",
    ),
    M(
        "a mark that could not be saved is saved later",
        "return replace(state, stored=event.link, owed=OwedWrite(event.link, look_at)), ()",
        "return state, ()",
    ),
    M(
        "only a mark is saved later for a link that is gone",
        "if event.link.mark is None:\n        return state, ()",
        "if False:\n        return state, ()",
    ),
    M(
        "generations of one link are told by its name",
        "return (one and one.link_id) == (other and other.link_id)",
        "return one == other",
    ),
)


class Outcome(NamedTuple):
    """What came of a mutant; an empty text where nothing noticed it."""

    mutant: Mutant
    killed_by: str


def run() -> int:
    """Run every mutant; return the exit code."""
    text = (ROOT / FILE).read_text()
    lost = [mutant for mutant in MUTANTS if text.count(mutant.line) != 1]
    for mutant in lost:
        sys.stdout.write(f"no longer applies: {mutant.breaks}\n")
    workers = os.cpu_count() or 1
    with copies(workers) as free:
        folder = free.get()
        killed_by = _test(folder, text)
        free.put(folder)
        if killed_by:
            sys.stdout.write(f"the tests fail without a mutant: {killed_by}\n")
            return 1

        def play(mutant: Mutant) -> Outcome:
            place = free.get()
            try:
                return Outcome(mutant, _test(place, text.replace(mutant.line, mutant.broken)))
            finally:
                free.put(place)

        outcomes = []
        with ThreadPoolExecutor(workers) as pool:
            for outcome in pool.map(play, [mutant for mutant in MUTANTS if mutant not in lost]):
                sys.stdout.write(f"{outcome.mutant.breaks:72} {outcome.killed_by or 'SURVIVED'}\n")
                sys.stdout.flush()
                outcomes.append(outcome)
    survivors = sum(not outcome.killed_by for outcome in outcomes)
    sys.stdout.write(
        f"{len(MUTANTS)} mutants: {len(outcomes) - survivors} killed, {survivors} survived, {len(lost)} lost\n"
    )
    return 1 if survivors or lost else 0


@contextmanager
def copies(count: int) -> Iterator["SimpleQueue[Path]"]:
    """Make copies of the package and of the tests that mutants are run against."""
    free: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for number in range(count):
            place = Path(folder, str(number))
            for name in ("device_auth", "hardware"):
                shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
            for name in (*TESTS, *BESIDE):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, place / name)
            free.put(place)
        yield free


def _test(place: Path, text: str) -> str:
    """Run the tests against a text of the file; return the name of the first that fails, empty if none does."""
    (place / FILE).write_text(text)
    # compiled files are told apart by size and second only; and each run draws the same histories
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    for test in TESTS:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            test,
        ]
        try:
            ran = subprocess.run(
                command,
                cwd=place,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{test}: no end within {LONGEST} s"
        if ran.returncode != 0:
            failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            return (
                failed[0].split(" - ")[0].split("::")[-1] if failed else f"{test}: exit code {ran.returncode}"
            )
    return ""


if __name__ == "__main__":
    sys.exit(run())
