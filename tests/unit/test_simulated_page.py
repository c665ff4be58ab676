import pytest

from device_auth.assembly.service_process import SIMULATED_PAGE, listen_for_simulated_page


def test_a_second_simulated_speaker_has_its_page_at_a_free_port_and_tells_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with listen_for_simulated_page():  # the usual one, unless somebody else has it already
        caplog.clear()
        with listen_for_simulated_page() as second:
            host, port = second.getsockname()

    assert host == "127.0.0.1"
    assert f"{SIMULATED_PAGE} is taken: the page is at http://127.0.0.1:{port}/" in caplog.text
