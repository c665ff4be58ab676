"""Wait for a press of a real button, then link as ``link --simulate`` does, told by a real light; for the checks only.

Usage: python -m tests.vm.press_to_link DIRECTORY
"""

import sys
from argparse import Namespace
from pathlib import Path
from queue import SimpleQueue

from device_auth.cli.speaker import open_speaker
from device_auth.core import linking
from device_auth.core.models import NEVER, later
from device_auth.prompts.everyone import Everyone
from device_auth.prompts.light import LightPrompt
from device_auth.prompts.moments import JUST_LINKED_FOR
from hardware.board import open_parts, read_plan
from hardware.button import Gesture
from hardware.clock import PartsClock


def main(folder: Path) -> None:
    """Link after a press."""
    parts = open_parts(read_plan({"board": "generic-led", "gpio": "gpiod"}), PartsClock())
    assert parts.light is not None
    assert parts.button is not None
    pressed: SimpleQueue[object] = SimpleQueue()
    parts.button.listen(pressed.put, pressed.put)
    print("ready", flush=True)
    assert pressed.get() is Gesture.TAP

    places = {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")}
    speaker = open_speaker(Namespace(simulate="auto", **places))
    with speaker.simulated_amazon(None), speaker.store:
        conversation = speaker.open_conversation()
        everyone = Everyone([LightPrompt(parts.light)], speaker.clock, report=print)
        loop = speaker.open_loop(conversation, everyone.tell)
        loop.start(linking.LinkRequested(conversation.rules, 0, again=False))
        loop.run(lambda: isinstance(loop.state, linking.Linked | linking.Unlinked), NEVER)
        loop.run(lambda: False, later(speaker.clock.now(), JUST_LINKED_FOR))
        everyone.close(JUST_LINKED_FOR)
        print("linked" if isinstance(loop.state, linking.Linked) else loop.state)
    parts.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
