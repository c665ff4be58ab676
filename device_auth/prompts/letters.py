"""Letters large enough to read from across a room, drawn from five by seven points.

A user code is read by eye and typed by hand: zero is crossed, one has a foot, so that neither is taken for a
letter.
"""

from typing import Final

from device_auth.prompts.picture import Matrix, half_blocks

SHEET: Final = (
    ("ABCDEFGHIJKLM", """\
 ###  ####   ###  ####  ##### #####  ###  #   #  ###    ### #   # #     #   #
#   # #   # #   # #   # #     #     #   # #   #   #      #  #  #  #     ## ##
#   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # #
##### ####  #     #   # ####  ####  #  ## #####   #      #  ##    #     # # #
#   # #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   #
#   # #   # #   # #   # #     #     #   # #   #   #   #  #  #  #  #     #   #
#   # ####   ###  ####  ##### #      ###  #   #  ###   ##   #   # ##### #   #"""),
    ("NOPQRSTUVWXYZ", """\
#   #  ###  ####   ###  ####   #### ##### #   # #   # #   # #   # #   # #####
##  # #   # #   # #   # #   # #       #   #   # #   # #   # #   # #   #     #
# # # #   # #   # #   # #   # #       #   #   # #   # #   #  # #   # #     #
#  ## #   # ####  #   # ####   ###    #   #   # #   # # # #   #     #     #
#   # #   # #     # # # # #       #   #   #   # #   # # # #  # #    #    #
#   # #   # #     #  #  #  #      #   #   #   #  # #  ## ## #   #   #   #
#   #  ###  #      ## # #   # ####    #    ###    #   #   # #   #   #   #####"""),
    ("0123456789-", """\
 ###    #    ###  #####    #  #####   ##  #####  ###   ###
#   #  ##   #   #    #    ##  #      #        # #   # #   #
#  ##   #       #   #    # #  ####  #        #  #   # #   #
# # #   #      #     #  #  #      # ####    #    ###   #### #####
##  #   #     #       # #####     # #   #   #   #   #     #
#   #   #    #    #   #    #  #   # #   #   #   #   #    #
 ###   ###  #####  ###     #   ###   ###    #    ###   ##"""),
)  # fmt: skip
"""Six points a letter, the last of them the gap."""

WIDTH: Final = 6

POINTS: Final = {
    letter: tuple(line[WIDTH * place :][: WIDTH - 1].ljust(WIDTH - 1) for line in art.splitlines())
    for letters, art in SHEET
    for place, letter in enumerate(letters)
}
"""Seven lines of five points for every letter there is."""


def draw_letters(text: str, width: int) -> list[str] | None:
    """Draw a text with half blocks, one or more lines of letters of four screen lines each.

    Args:
        text: a user code; it is broken behind its hyphens only.
        width: how many columns there are.

    Returns:
        Screen lines; None if a letter cannot be drawn, or there is no room.
    """
    if not set(text) <= POINTS.keys():
        return None
    parts = [text] if _columns(text) <= width else text.replace("-", "-\n").split("\n")
    if max(map(_columns, parts)) > width:
        return None
    return [line.rstrip() for part in parts for line in half_blocks(_strokes(part), colour=False)]


def _columns(text: str) -> int:
    return WIDTH * len(text) - 1


def _strokes(text: str) -> Matrix:
    """Return the ground as dark modules and the strokes as light ones, an empty row below."""
    rows = [" ".join(POINTS[letter][y] for letter in text) for y in range(7)]
    return tuple(tuple(point != "#" for point in row) for row in [*rows, " " * _columns(text)])
