import pytest

from device_auth.core import errors

EXIT_CODES = {
    errors.DeviceAuthError: 70,
    errors.ConfigError: 78,
    errors.ProviderUnreachable: 69,
    errors.ProviderUnclear: 76,
    errors.CodePairExpired: 75,
    errors.LinkingDenied: 77,
    errors.ClientRejected: 78,
    errors.Interrupted: 130,
    errors.NotLinked: 75,
    errors.Busy: 75,
    errors.RefreshRejected: 77,
    errors.StoreError: 74,
}


@pytest.mark.parametrize(("error", "exit_code"), EXIT_CODES.items())
def test_an_error_carries_the_exit_code_of_its_kind(
    error: type[errors.DeviceAuthError], exit_code: int
) -> None:
    assert error("it broke").exit_code == exit_code


def test_an_error_says_what_happened_and_hints_what_to_do() -> None:
    error = errors.StoreError("cannot write link.json", hint="Check the owner of the folder.")

    assert str(error) == "cannot write link.json"
    assert error.hint == "Check the owner of the folder."


def test_an_error_without_a_cure_has_no_hint() -> None:
    assert errors.NotLinked("there is no link").hint == ""


@pytest.mark.parametrize(
    "error", [errors.CodePairExpired, errors.LinkingDenied, errors.ClientRejected, errors.Interrupted]
)
def test_all_that_ends_linking_can_be_caught_as_one(error: type[errors.DeviceAuthError]) -> None:
    assert issubclass(error, errors.LinkingError)
