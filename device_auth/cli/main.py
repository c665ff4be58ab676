"""The command ``device-auth``: finds the verb, runs it, and turns an error into a message and an exit code.

Only the verb that is named is imported: each start counts on a slow machine.
"""

import argparse
import atexit
import gc
import importlib
import sys
import threading
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol, cast

from device_auth import __version__
from device_auth.core.errors import ConfigError, DeviceAuthError, trace_of
from device_auth.prompts.stderr import USUAL_COLUMNS, Stderr, null_stream, say_problem
from device_auth.world.settings import add_provider_options

VERBS: Final = {
    "link": "ask for a code, show it, wait for approval, store the grant",
    "run": "the daemon: button, prompts, refresh, token service",
    "status": "what state, since when, what next",
    "token": "print a valid access token",
    "unlink": "forget the account (--wipe: everything, with proof)",
    "authorize": "link by the authorization-code flow, with a browser",
    "export": "hand the link to another AVS client (move it, not copy it)",
    "doctor": "find out what is wrong, say what to do",
    "seal": "seal a plain link under the key that is set up",
    "config": "init | show | check | get | set | unset | edit: the settings",
    "hardware": "list | test | wiring | enable | disable: the parts",
    "simulator": "a simulated Amazon on loopback",
    "factory": "the rig: a unit's identity, its tests, its lock",
}

EXIT_CODES: Final = """\
exit codes:
  0    done
  1    doctor only: nothing failed, but there are warnings
  2    the command line is wrong
  69   the provider was not reached
  70   a bug in this program
  72   a part of the speaker failed its test, or the unit a check of the factory
  74   the store cannot be read or written
  75   not linked, the code expired, or try again
  76   only answers came that could not be understood
  77   denied by the owner, link revoked, or the unit is locked (factory)
  78   a setting, the client or an extra is wrong or missing, or another
       identity is there (factory)
  130  interrupted
"""

SIMULATIONS: Final = ("auto", "manual")
"""Who approves in a simulation: its owner by himself, or a person on its page."""

UNFOLDED: Final = ("link", "run", "authorize")
"""Modules of the verbs whose help text lists the options of the provider: they make a link."""

HIDDEN: Final = "…"
"""Stands for a word that could be a secret."""

USAGE: Final = 2
BUG: Final = 70
INTERRUPTED: Final = 130
OUTPUT_BROKE: Final = 74


class Verb(Protocol):
    """One verb's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's own arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Run the verb, and return the exit code or raise ``DeviceAuthError``."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; those of the process if None.

    Returns:
        The exit code, one of ``EXIT_CODES``.
    """
    atexit.register(gc.freeze)  # collecting finds nothing of use at the end of a process
    if sys.stderr is None:
        sys.stderr = null_stream()
    args = read_arguments(sys.argv[1:] if argv is None else argv)
    verb = _import_verb(args.verb)
    _log_to_stderr(is_verbose="verbose" in vars(args))
    if argv is None:
        threading.excepthook = say_bug_of_thread
        gc.freeze()  # no module that is loaded is garbage
    gc.enable()
    try:
        return verb.run(args)
    except DeviceAuthError as error:
        say_problem(str(error), error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # or the interpreter would fail once more when it flushes at exit
        return OUTPUT_BROKE
    except Exception as error:  # noqa: BLE001  the one place where a bug becomes an exit code
        _say_bug(error)
        return BUG


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in two lines, without every option."""

    _width: int | None = USUAL_COLUMNS

    def parse_known_args(  # type: ignore[override]  # the base has overloads for other namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Read the arguments; one that is not understood is an error of the verb it was given to."""
        found, left = super().parse_known_args(args, namespace)
        for action in self._get_positional_actions():
            # argparse before Python 3.12 fills it with nothing as soon as an option follows the word before it
            if action.nargs == argparse.OPTIONAL and getattr(found, action.dest, 0) is None and left:
                if left[0].startswith("-"):
                    continue
                try:
                    setattr(found, action.dest, self._get_values(action, [left.pop(0)]))
                except argparse.ArgumentError as error:
                    self.error(str(error))
        if left:
            self.error(f"unknown arguments: {' '.join(_shown(word.partition('=')[0]) for word in left)}")
        return found, left

    def format_help(self) -> str:
        """Return the help text, as wide as the terminal: examples and exit codes end it."""
        from device_auth.cli.examples import examples_for

        self._width = None
        self.epilog = f"{examples_for(self.prog)}\n{EXIT_CODES}"
        return super().format_help()

    def _get_formatter(self) -> argparse.HelpFormatter:
        """Return a formatter: argparse makes one for each option, and loads shutil for the terminal's width."""
        return argparse.RawDescriptionHelpFormatter(self.prog, width=self._width)

    def error(self, message: str) -> NoReturn:
        """Report what is wrong, the word that may have been meant, and how to list every option; then exit."""
        import re

        ours = {str(choice) for action in self._actions for choice in action.choices or ()}

        def shown(found: "re.Match[str]") -> str:
            word = found[0][1:-1]
            return found[0] if word in ours else _shown(word, found[0][0])

        message = re.sub(r"'[^']*'|\"[^\"]*\"", shown, message)
        message = message.replace("invalid int value", "not a whole number")
        hidden = "A word that could be a secret is not repeated here. " if HIDDEN in message else ""
        say_problem(message, f"{hidden}{self._meant(message)}To list every option: {self.prog} --help")
        sys.exit(USAGE)

    def _meant(self, message: str) -> str:
        import difflib
        import re

        given = re.search(r"choice: '([^']+)' \(choose from (.+)\)|unknown arguments: --([\w-]+)", message)
        if given is None:
            return ""
        word, choices = given[1] or given[3], given[2]
        listed = choices.replace("'", "").split(", ") if choices else self._option_string_actions
        known = [name.removeprefix("--") for name in listed]
        near = difflib.get_close_matches(word, [name for name in known if name[0].isalpha()], n=1)
        return f"Did you mean {'' if choices else '--'}{near[0]}? " if near else ""


def _shown(word: str, quotes: str = "") -> str:
    """Return a word of the command line, or a mark in its place where it could be a token or a secret."""
    import re

    return quotes + (word if re.fullmatch(r"[a-z0-9._/-]{0,24}", word) else HIDDEN) + quotes


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; the result has no entry for an option that was not given."""
    parser = make_parser(words)
    # argparse would take the verb behind a bare --simulate for its value
    return parser.parse_args(
        [
            "--simulate=auto" if word == "--simulate" and following not in SIMULATIONS else word
            for word, following in zip(words, [*words, ""][1:], strict=True)
        ]
    )


def make_parser(loaded: Container[str] | None = None) -> argparse.ArgumentParser:
    """Make the parser.

    Args:
        loaded: the verbs and sub-verbs whose own arguments are wanted, as the words of a command line name them; importing
            the others is left out. None for all.
    """
    parser = Parser(
        prog="device-auth",
        description="Link a screenless speaker to its owner's account, and keep it linked.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"device-auth {__version__}")
    _add_common_options(parser)
    modules = {name: (summary, name) for name, summary in VERBS.items()}
    _add_verbs(parser, "verb", modules, loaded)
    return parser


def _add_verbs(
    parser: argparse.ArgumentParser,
    dest: str,
    modules: Mapping[str, tuple[str, str]],
    loaded: Container[str] | None,
) -> None:
    """Add a parser for each verb that is wanted, and of the others the summary.

    Args:
        parser: of the command or a verb.
        dest: the name of the verb's name among the arguments.
        modules: the summary and the module of each verb.
        loaded: see ``make_parser``.
    """

    def make(prog: str, **described: Any) -> Parser | None:
        is_wanted = loaded is None or prog.rpartition(" ")[2] in loaded
        return Parser(prog=prog, **described) if is_wanted else None

    verbs = parser.add_subparsers(dest=dest, metavar="VERB", required=True, parser_class=make)  # type: ignore[call-overload]  # a verb that is not named has none
    for name, (summary, module) in modules.items():
        verb: Parser | None = verbs.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            allow_abbrev=False,
        )
        if verb is not None:
            found = _import_verb(module)
            found.add_arguments(verb)
            _add_common_options(verb, is_folded=module not in UNFOLDED)
            if hasattr(found, "SUB_VERBS"):
                _add_verbs(verb, "sub_verb", found.SUB_VERBS, loaded)


def _add_common_options(parser: argparse.ArgumentParser, *, is_folded: bool = True) -> None:
    """Add the options that every verb accepts, before the verb and after it.

    The defaults are suppressed, or a value given before the verb would be lost behind it.

    Args:
        parser: of the command or a verb.
        is_folded: the help text does not list those of the provider, which work all the same.
    """
    group = parser.add_argument_group("places and output")
    group.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="the settings file")
    group.add_argument(
        "--state-dir", metavar="DIR", default=argparse.SUPPRESS, help="where the link is stored"
    )
    group.add_argument(
        "--runtime-dir", metavar="DIR", default=argparse.SUPPRESS, help="where access tokens are handed out"
    )
    group.add_argument(
        "--simulate",
        metavar="HOW",
        nargs="?",
        choices=SIMULATIONS,
        default=argparse.SUPPRESS,
        help="use a simulated Amazon whose owner approves after 5 s; --simulate=manual: approve on its page",
    )
    group.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print machine-readable JSON"
    )
    group.add_argument("-v", "--verbose", action="count", default=argparse.SUPPRESS, help="log to stderr")
    provider = parser.add_argument_group("provider")
    provider.add_argument(
        "--help-provider",
        action=_HelpOfProvider,
        nargs=0,
        default=argparse.SUPPRESS,
        help="list the provider's options, which every verb has" if is_folded else argparse.SUPPRESS,
    )
    add_provider_options(provider, is_shown=not is_folded)


class _HelpOfProvider(argparse.Action):
    """Prints what the help text of most verbs leaves out."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(help_of_provider(parser.prog).format_help(), end="")  # noqa: T201  as argparse prints its own help
        parser.exit()


def help_of_provider(prog: str) -> argparse.ArgumentParser:
    """Return a parser with the options of the provider alone, for its help text."""
    parser = argparse.ArgumentParser(
        prog,
        usage="%(prog)s [OPTION]...",
        description="Each is also a setting, as client_id, and an environment variable, as DEVICE_AUTH_CLIENT_ID.",
        add_help=False,
    )
    add_provider_options(parser.add_argument_group("provider"))
    return parser


def _import_verb(name: str) -> Verb:
    module = f"device_auth.cli.{name}"
    try:
        return cast("Verb", importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
    # Debian's packages have it in one of its own
    from device_auth.installation import how_to_install_sibling

    say_problem(f"the verb {name} is not installed", how_to_install_sibling(f"device-auth-{name}"))
    sys.exit(ConfigError.exit_code)


def _log_to_stderr(*, is_verbose: bool) -> None:
    """Log to stderr: everything with ``--verbose``, else warnings that the verb itself does not report."""
    import logging

    if is_verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=Stderr())
        return
    handler = logging.StreamHandler(Stderr())
    handler.addFilter(lambda record: record.name != "device_auth.service.loop")
    logging.basicConfig(level=logging.WARNING, format="device-auth: %(message)s", handlers=[handler])


def say_bug_of_thread(bug: threading.ExceptHookArgs) -> None:
    """Report where a bug struck in a thread."""
    if bug.exc_value is not None:
        _say_bug(bug.exc_value)


def _say_bug(error: BaseException) -> None:
    """Report where a bug struck, without the error's own text: it might hold a secret."""
    print(f"device-auth: a bug in this program: {type(error).__name__}", file=sys.stderr)  # noqa: T201  people
    for at in trace_of(error):
        code = at.tb_frame.f_code
        print(f"  {code.co_filename}:{at.tb_lineno} in {code.co_name}", file=sys.stderr)  # noqa: T201  people
    print("  Please report it with these lines.", file=sys.stderr)  # noqa: T201  people
