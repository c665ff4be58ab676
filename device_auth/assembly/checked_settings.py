"""The settings as they are found, and all that is wrong with them: at a start, at a reload, and in ``config check``."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from device_auth.assembly.parts import has_no_parts
from device_auth.core.errors import ConfigError
from device_auth.world.keys import Keys, find_keys
from device_auth.world.provider import provider_addresses, provider_problems, read_authorities, warnings_about
from device_auth.world.route import names_route
from device_auth.world.settings import ENVIRONMENT, Settings, gather_settings

if TYPE_CHECKING:
    from device_auth.service.page import PageSettings


class CheckedSettings(NamedTuple):
    """The settings, with a default in place of each that cannot be used.

    Attributes:
        problems: with the file, and with names and values in it.
        provider_problems: what keeps the values from naming a provider.
        keys: that a link may be sealed under.
        environ: the environment.
        is_unreadable: the file cannot be read at all, which is the one problem.
    """

    settings: Settings
    problems: tuple[ConfigError, ...]
    provider_problems: tuple[ConfigError, ...]
    keys: Keys
    environ: Mapping[str, str] = ENVIRONMENT
    is_unreadable: bool = False

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

        return _problem_of(lambda: read_hardware(self.settings.hardware, self.settings.config_file))

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

    def warnings(self) -> list[str]:
        """Return a sentence for each setting that is allowed but likely not intended."""
        return [] if self.is_unreadable else warnings_about(self.settings)


def check_settings(
    options: Mapping[str, object], config_file: Path | None, environ: Mapping[str, str] = ENVIRONMENT
) -> CheckedSettings:
    """Read and check every setting.

    Args:
        options: the command line's arguments by name.
        config_file: as it was looked up now; one that cannot be read is the only problem that is reported.
        environ: the environment.
    """
    try:
        settings, problems = gather_settings(options, config_file, environ)
    except ConfigError as unreadable:
        settings, _ = gather_settings(options, None, environ)
        keys = find_keys(settings, environ, unknown=unreadable)
        return CheckedSettings(
            settings._replace(config_file=config_file), (unreadable,), (), keys, environ, is_unreadable=True
        )
    keys = find_keys(settings, environ, unknown=problems[0] if problems else None)
    return CheckedSettings(settings, tuple(problems), tuple(provider_problems(settings)), keys, environ)


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
