"""Print how long espeak-ng takes to say each phrase, in seconds, a column for each language.

Run from the root of the repository: python -m tests.bench.voice_table
"""

from collections.abc import Iterator, Sequence

from device_auth.prompts.wording import (
    LANGUAGES,
    Wording,
    code_words,
    notice_words,
    read_wording,
    state_words,
    trouble_words,
    waiting_words,
)
from hardware.espeak import EspeakVoice
from hardware.plans import APLAY
from hardware.voice import Utterance


def speeches(wording: Wording) -> Iterator[tuple[str, Sequence[Utterance]]]:
    """Return everything that the speaker says, by name."""
    for state in wording.states:
        yield f"state {state}", state_words(wording, state)
    for moment in wording.moments:
        yield f"moment {moment}", notice_words(wording, moment)
    for trouble in wording.troubles:
        yield f"trouble {trouble}", trouble_words(wording, trouble)
    yield "code FUP8UN, twice and spelled", code_words(wording, "FUP8UN")
    yield "address, then code FUP8UN", waiting_words(wording, "FUP8UN", "https://amazon.com/us/code")


def main() -> None:
    """Print the table."""
    voice = EspeakVoice(player=APLAY)
    columns = {
        language: {name: voice.render(speech).seconds for name, speech in speeches(read_wording(language))}
        for language in LANGUAGES
    }
    print(f"{'seconds':34}" + "".join(f"{language:>7}" for language in columns))
    for name in columns[LANGUAGES[0]]:
        print(f"{name:34}" + "".join(f"{column[name]:7.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()
