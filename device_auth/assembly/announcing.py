"""The prompts of one command: terminal, picture and a program's lines beside the speaker's own parts."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from device_auth.core.models import Seconds, View
from device_auth.core.values import dataclass
from device_auth.prompts.fanout import PromptFanout
from device_auth.prompts.stderr import say, words_for

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.assembly.speaker import Audience
    from device_auth.core.ports import Prompt
    from device_auth.prompts.terminal import Sidebar

DRAWING_TIME: Final = Seconds(0.5)
"""How long a program is kept waiting for a code while its picture is being written."""


@dataclass(frozen=True, slots=True)
class Announcer:
    """Tells views by every prompt of a command.

    Attributes:
        tell: tells a view, without blocking.
        is_behind: returns whether a prompt has not shown the newest view yet.
    """

    tell: Callable[[View], None]
    is_behind: Callable[[], bool]


@contextmanager
def announcing(
    doors: "Doors", audience: "Audience", *, parts: "Iterable[Prompt]" = (), sidebar: "Sidebar | None" = None
) -> Iterator[Announcer]:
    """Open every prompt, and close them all once the last view is told.

    Args:
        doors: of the speaker.
        audience: who follows.
        parts: the prompts over the speaker's parts.
        sidebar: what is drawn of a simulated speaker.

    Yields:
        The announcer of all of them.

    Raises:
        ConfigError: if the picture cannot be written there.
    """
    with ExitStack() as opened:
        fanout = PromptFanout([*_prompts_for(doors, audience, sidebar, opened), *parts], doors.clock)
        opened.callback(fanout.close)

        def tell(view: View) -> None:
            fanout.tell(view)
            if audience.qr_file is not None and view.code_pair is not None:
                fanout.wait(DRAWING_TIME)  # a program that reads of a code may open its picture at once
            if audience.follow is not None:
                audience.follow(view)

        yield Announcer(tell, fanout.is_behind)


def terminal_of(doors: "Doors", *, qr: bool, sidebar: "Sidebar | None", opened: ExitStack) -> "Prompt":
    """Open the prompt on standard error; what others write there goes above its live lines until ``opened`` is closed."""
    from device_auth.prompts import terminal

    words = words_for(doors.settings.locale, sys.stderr)
    if words is None and (note := _note_on_language(doors.settings.locale)):
        say(note)
    prompt = terminal.open_terminal(
        sys.stderr,
        environ_no_color=doors.is_colourless,
        is_dumb=doors.is_dumb,
        qr=qr,
        sidebar=sidebar,
        speaker=doors.name,
        has_links=doors.has_links,
        words=words,
    )
    opened.enter_context(prompt.lines_go_above())
    return prompt


def _note_on_language(locale: str) -> str:
    if locale.startswith("en-"):  # the default: no need to load what finds a language
        return ""
    from device_auth.prompts.wording import note_on_language

    return note_on_language(locale)


def _prompts_for(
    doors: "Doors", audience: "Audience", sidebar: "Sidebar | None", opened: ExitStack
) -> "list[Prompt]":
    prompts: list[Prompt] = []
    if audience.is_read:
        prompts.append(terminal_of(doors, qr=audience.has_qr, sidebar=sidebar, opened=opened))
    if audience.qr_file is not None:
        from device_auth.prompts import picture
        from device_auth.world.files import OwnersFile

        file = OwnersFile(audience.qr_file)
        picture.check_picture(file)
        prompts.append(picture.PicturePrompt(file))
    return prompts
