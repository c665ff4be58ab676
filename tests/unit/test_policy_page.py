from pathlib import Path

from device_auth.core.policy import REACTIONS, AnswerKind, Phase

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


def render_table() -> str:
    """Render the policy as the page shows it; after a change, print this and paste it there."""
    rows = [
        ["answer", *Phase],
        ["---"] * (1 + len(Phase)),
        *([kind, *REACTIONS[kind]] for kind in AnswerKind),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_page_shows_the_policy_that_is_in_force() -> None:
    assert render_table() in PAGE.read_text(encoding="utf-8")
