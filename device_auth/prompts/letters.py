"""Letters large enough to read across a room, of five by seven points.

A user code is read by eye and typed by hand: zero is crossed and one has a foot, so that neither looks like a letter.
"""

from typing import Final

from device_auth.prompts.picture import Matrix, half_blocks

GLYPHS: Final = (
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
"""Six points wide for each letter, the last one the gap."""

WIDTH: Final = 6

POINTS: Final = {
    letter: tuple(line[WIDTH * place :][: WIDTH - 1].ljust(WIDTH - 1) for line in art.splitlines())
    for letters, art in GLYPHS
    for place, letter in enumerate(letters)
}
"""Seven lines of five points for every letter."""


def draw_letters(text: str, width: int) -> list[str] | None:
    """Draw a text with half blocks, one or more lines of letters of four screen lines each.

    Args:
        text: a user code; it is broken only after its hyphens.
        width: in columns.

    Returns:
        Screen lines; None if a letter cannot be drawn or the room is too small.
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
