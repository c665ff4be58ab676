"""The settings as they are found, and all that is wrong with them: at a start, at a reload, and in ``config check``."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from device_auth.assembly.parts import has_no_parts
from device_auth.core.errors import ConfigError
from device_auth.world.keys import Keys, find_keys
from device_auth.world.provider import provider_addresses, provider_problems, read_authorities, warnings_about
from device_auth.world.route import names_route
from device_auth.world.settings import ENVIRONMENT, Settings, SettingsFiles, gather_settings

if TYPE_CHECKING:
    from device_auth.service.page import PageSettings


class CheckedSettings(NamedTuple):
    """The settings, with a default in place of each that cannot be used.

    Attributes:
        problems: with the files, and with names and values in them.
        provider_problems: what keeps the values from naming a provider.
        keys: that a link may be sealed under.
        environ: the environment.
    """

    settings: Settings
    problems: tuple[ConfigError, ...]
    provider_problems: tuple[ConfigError, ...]
    keys: Keys
    environ: Mapping[str, str] = ENVIRONMENT

    @property
    def is_unreadable(self) -> bool:
        """Return whether a file cannot be read at all, so that nothing is known of what may be missing."""
        return bool(self.settings.unread)

    def key_problems(self) -> Iterator[ConfigError]:
        """Look for the keys, and return what is wrong with settings of them; a missing key is not a wrong setting."""
        for found in self.keys.problems:
            if found.is_setting:
                yield ConfigError(found.message, hint=found.hint)

    def parts_problem(self) -> ConfigError | None:
        """Return what is wrong in ``[hardware]``; a missing part is not a wrong setting."""
        if has_no_parts(self.settings.hardware):
            return None
        from device_auth.assembly.hardware_parts import read_hardware

        return _problem_of(lambda: read_hardware(self.settings.hardware, self.settings.hardware_of))

    def page_problem(self) -> ConfigError | None:
        """Return what is wrong in ``[page]``."""
        return _problem_of(self.read_page)

    def read_page(self) -> "PageSettings | None":
        """Read ``[page]``; None for a page that is switched off.

        Raises:
            ConfigError: if it cannot be used.
        """
        from device_auth.service.page import read_page_settings

        return read_page_settings(self.settings.page, self.settings.locale)

    def route_problem(self, *, is_thorough: bool = False) -> ConfigError | None:
        """Return why no request could leave for the provider: the CA file, the proxy, the environment's of both.

        Where none of them is named, only a thorough look loads what sends requests.
        """
        is_named = bool(self.settings.ca_file or self.settings.proxy) or names_route(self.environ)
        if not (is_named or is_thorough):
            return None
        return _problem_of(lambda: _prove_route(self.settings))

    def every_problem(self) -> list[ConfigError]:
        """Look at everything, and return all that is wrong."""
        problems = [*self.problems, *self.provider_problems]
        if not self.is_unreadable:
            parts = (self.route_problem(is_thorough=True), self.parts_problem(), self.page_problem())
            problems += [*self.key_problems(), *(problem for problem in parts if problem is not None)]
        return problems

    def warnings(self) -> list[str]:
        """Return a sentence for each setting that is allowed but likely not intended."""
        if self.is_unreadable:
            return []
        return [*warnings_about(self.settings), *_about_language(self.settings), *_passed_over(self.settings)]


def check_settings(
    options: Mapping[str, object], files: SettingsFiles, environ: Mapping[str, str] = ENVIRONMENT
) -> CheckedSettings:
    """Read and check every setting.

    Args:
        options: the command line's arguments by name.
        files: as they were looked up now.
        environ: the environment.
    """
    settings, problems = gather_settings(options, files, environ)
    keys = find_keys(settings, environ, unknown=problems[0] if problems else None)
    no_provider = () if settings.unread else provider_problems(settings)
    return CheckedSettings(settings, tuple(problems), tuple(no_provider), keys, environ)


def _about_language(settings: Settings) -> Iterator[str]:
    from device_auth.prompts.wording import note_on_language

    if note := note_on_language(settings.locale):
        yield note


def _passed_over(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each value in a file that another file takes the place of."""
    for name, origins in settings.passed_over.items():
        stronger = settings.origins[name]
        for origin in origins:
            if stronger.startswith(("identity ", "settings ")) and origin.startswith(("settings ", "file ")):
                yield f"{name} ({origin}) is not used: {stronger} comes first."


def _problem_of(read: Callable[[], object]) -> ConfigError | None:
    try:
        read()
    except ConfigError as problem:
        return problem
    return None


def _prove_route(settings: Settings) -> None:
    from device_auth.world.transport import route_to

    authorities = read_authorities(settings)
    for url in provider_addresses(settings):
        route_to(url, authorities, settings.proxy).prove(url)
