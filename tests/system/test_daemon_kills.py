import random
from pathlib import Path

from tests.kills import run


def test_a_day_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    day = run(tmp_path, 12, seed=random.randrange(10**6))  # noqa: S311  the moments of the kills

    assert day.household.running.amazon.grants()
