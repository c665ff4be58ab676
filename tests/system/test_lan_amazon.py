import json
import subprocess
import sys

import pytest

from tests.dead_network import MAKE_NETWORK, NAMESPACE, has_namespaces


@pytest.mark.skipif(not has_namespaces(), reason="needs unshare, iproute2 and root")
def test_units_of_a_network_reach_the_simulated_amazon_and_not_its_control() -> None:
    script = f'{MAKE_NETWORK}\nexec "$0" -m tests.lan_amazon'
    ended = subprocess.run(
        [*NAMESPACE, "sh", "-c", script, sys.executable], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == ["https://10.8.8.1", 403, 403]
