"""A scripted day of a speaker, killed at random moments and started again each time: nothing may be lost.

Run: python -m tests.kills [--kills N] [--seed N]. The day goes round: a press links it, its refresh token rotates
every second or two, it is unlinked, and the next owner links it. After each kill the daemon is started again, must
answer on its socket and its page, and must be where it had been seen to be. At the end the last owner ends the link at
the account, and the speaker finds out in its own time.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread

from device_auth.client import ClientError, Revoked
from device_auth.simulator.amazon import EVERY_CODE, Amazon
from device_auth.simulator.referee import RuleName
from device_auth.simulator.server import serve
from tests.daemon_process import Household, Living
from tests.simulated_speaker import strict
from tests.waiting import LONG, wait_for

LINK_LIVES = 1.0
"""Seconds of a day for which a link is used before it is unlinked: a refresh or two."""

LOST_ON_ARRIVAL = {RuleName.OLD_REFRESH_TOKEN, RuleName.REPEATED_FINAL_CODE}
"""What the referee sees when a kill falls between the arrival of an answer and its save, some milliseconds of a day."""

LONGEST_LIFE = 3.0
"""Seconds until the daemon is killed, at most."""


@dataclass
class Day:
    """What has been seen of the speaker, and what that promises.

    Attributes:
        owner: the grant that was seen in use, of an owner who has not asked to be forgotten; None for none.
        forgotten: the newest grant whose owner has been seen forgotten.
        rotated_away: how often a kill fell between the arrival of a new refresh token and its save: the provider takes
            the old one no more, and nobody can help that. Some milliseconds of a day.
    """

    household: Household
    owner: int | None = None
    forgotten: int = 0
    rotated_away: int = 0

    def steps(self, living: Living) -> Iterator[None]:
        """Do the day's work, a look at a time."""
        while True:
            status = living.status()
            yield
            if status is None:
                continue
            if status.state == "unlinked":
                living.press("tap")
                wait_for(lambda: (now := living.status()) is None or now.state != "unlinked")
            elif status.state == "linked":
                yield from self._use(living)
            Event().wait(0.02)

    def look_at(self, access_token: str) -> None:
        """Take note of a token that was given out."""
        grant = self.household.running.amazon.grant_of(access_token)
        if grant is None:
            return  # it has run out
        assert grant.grant_id > self.forgotten, "a former owner's token"
        if self.owner is not None:
            assert grant.grant_id == self.owner, "another owner's token"

    def look_at_files(self) -> None:
        for name in ("token.json", "access-token"):
            try:
                found = (self.household.run / name).read_text()
            except FileNotFoundError:
                continue
            self.look_at(found.split('"access_token": "')[-1].split('"')[0])

    def is_as_promised(self, living: Living) -> bool:
        """Return whether it is where it had been seen to be, after a start."""
        status = living.status()
        if status is None or self.owner is None:
            return status is not None
        if status.trouble == "revoked" and RuleName.OLD_REFRESH_TOKEN in self.complaints():
            self.household.running.amazon.referee.reset()
            self.owner, self.rotated_away = None, self.rotated_away + 1
            return True
        assert status.state in {"starting", "linked"}, f"the link is lost: {status}"
        try:
            token = living.client.token(0)
        except ClientError:
            return False
        self.look_at(token.access_token)
        return True

    def complaints(self) -> set[RuleName]:
        """Name what the referee has seen."""
        return {complaint.kind for complaint in self.household.running.amazon.referee.complaints()}

    def _use(self, living: Living) -> Iterator[None]:
        until = time.monotonic() + LINK_LIVES
        while time.monotonic() < until:
            try:
                token = living.client.token(0)
            except ClientError:
                yield
                continue
            self.look_at(token.access_token)
            grant = self.household.running.amazon.grant_of(token.access_token)
            self.owner = self.owner if grant is None else grant.grant_id
            self.look_at_files()
            Event().wait(0.05)
            yield
        last, self.owner = self.owner, None  # from here on either is right, until it is seen
        try:
            living.client.unlink()
            wait_for(lambda: (now := living.status()) is None or now.state == "unlinked")
        except ClientError:
            return
        if living.status() is not None:
            self.forgotten = last or self.forgotten
        yield


def page_answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=LONG)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def run(folder: Path, kills: int, seed: int) -> Day:
    """Live through as many kills; AssertionError where something is lost."""
    chance = random.Random(seed)  # noqa: S311  the moments of the kills
    options = strict(interval=1, approve_after=0, token_lifetime=3, rotates=True)
    with serve(Amazon(options, clock=time.monotonic)) as running:
        day = Day(Household(folder, running))
        for _ in range(kills):
            day.look_at_files()
            with day.household.living() as living:
                wait_for(lambda living=living: day.is_as_promised(living), "it is not as it was")  # type: ignore[misc]  # bound here
                wait_for(lambda: page_answers(day.household.page_port), "the page is gone")
                killer = Thread(target=kill_after, args=(living, chance.uniform(0, LONGEST_LIFE)))
                killer.start()
                for _ in day.steps(living):
                    if living.process.poll() is not None:
                        break
                killer.join()
        with day.household.living() as living:
            end_at_the_account(day.household, living)
        complaints = running.amazon.referee.complaints()
        others = [one.sentence for one in complaints if one.kind not in LOST_ON_ARRIVAL]
        assert others == [], others
        assert len(complaints) <= 1 + kills // 10
        assert day.rotated_away <= 1 + kills // 50
        owners = len(running.amazon.grants())
        print(f"  {kills} kills, seed {seed}: {owners} owners, {day.rotated_away} rotated away, nothing lost")
    return day


def kill_after(living: Living, seconds: float) -> None:
    Event().wait(seconds)
    living.process.kill()
    living.process.wait()


def end_at_the_account(household: Household, living: Living) -> None:
    """Revoke the link: after two refusals, ten seconds apart, it is told, kept and not served."""

    def stands(*states: str) -> bool:
        status = living.status()
        return status is not None and status.state in states

    wait_for(lambda: stands("unlinked", "waiting", "linked"))
    if stands("unlinked"):
        living.press("tap")
    wait_for(lambda: stands("linked"), "it is not linked")
    household.running.amazon.revoke(EVERY_CODE)
    living.wait_until_told("light: yellow, 4 short blinks")
    living.wait_until("unlinked", "revoked")
    try:
        living.client.token()
    except Revoked:
        pass
    else:
        raise AssertionError("a revoked link is served")
    assert household.token_files() == set()
    assert '"revoked"' in (household.state / "link.json").read_text()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311  the same
    given = parser.parse_args()
    print(f"kills: seed {given.seed}")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.kills, given.seed)


if __name__ == "__main__":
    main()
