import pytest

from device_auth.factory.check_digit import DIGITS, check_digit_of, has_check_digit


def test_the_standards_own_example_has_the_standards_check_digit() -> None:
    assert check_digit_of("A12425GABC1234002") == "M"


@pytest.mark.parametrize("dsn", ["SP_0001", "a", "7-Z", "00000000"])
def test_a_wrong_character_is_told(dsn: str) -> None:
    whole = dsn + check_digit_of(dsn)

    assert has_check_digit(whole)
    for place, right in enumerate(whole):
        if right.isalnum():
            wrong = (whole[:place] + each + whole[place + 1 :] for each in DIGITS if each != right.upper())
            assert not any(has_check_digit(each) for each in wrong)


def test_two_neighbours_that_changed_places_are_told() -> None:
    whole = "SP01B7XQ" + check_digit_of("SP01B7XQ")

    for place in range(len(whole) - 1):
        swapped = whole[:place] + whole[place + 1] + whole[place] + whole[place + 2 :]
        assert swapped == whole or not has_check_digit(swapped)


def test_a_check_digit_alone_is_no_dsn() -> None:
    assert not has_check_digit(check_digit_of(""))
