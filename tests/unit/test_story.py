from tests.story import RECORDING, tell_story


def test_the_recording_of_the_simulated_speaker_is_what_one_sees_today() -> None:
    assert tell_story() == RECORDING.read_text(encoding="utf-8"), "write it anew: python -m tests.story"


def test_the_recording_goes_from_unlinked_by_way_of_expired_to_linked() -> None:
    story = tell_story()
    told = [
        "not linked to an account",
        "AAYJHL",
        "The code has expired",
        "KJJPBH",
        "now linked to your account",
    ]
    places = [story.index(text) for text in told]

    assert places == sorted(places)
    assert story.index("orange, breathing") < story.index("red, 3 short blinks") < story.index("cyan, steady")
