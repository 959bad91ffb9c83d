"""
``twisted_ipython.config.config``: the settings, by the name that version 2 gave them.

They are those of the shell that loaded the extension last.

Thread: cell.
"""

from __future__ import annotations

from typing import Any

from twisted_ipython._magics.settings import SettingError as ConfigError
from twisted_ipython._magics.settings import Settings

__all__ = ["Config", "ConfigError", "config"]


class Config:
    """The settings of the shell that loaded the extension last, or of none."""

    def __init__(self) -> None:
        self._unloaded = Settings()

    def _settings(self) -> Settings:
        from twisted_ipython._extension import settings_of_last_load

        return settings_of_last_load() or self._unloaded

    @property
    def timeout(self) -> float | None:
        """Seconds that a cell may await, or None for ever.  Thread: cell."""
        value: float | None = self._settings().timeout
        return value

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._settings().timeout = seconds

    def get(self, key: str) -> Any:
        """A setting's value; `ConfigError` if there is none of that name.  Thread: cell."""
        self._settings().written(key)
        return getattr(self._settings(), key)

    def set(self, key: str, raw_value: object) -> None:
        """Change a setting and print it; `ConfigError` for a bad name or value.  Thread: cell."""
        self._settings().write(key, str(raw_value))
        self.show(key)

    def show(self, key: str | None = None) -> None:
        """Print one setting, or all; `ConfigError` if there is none of that name.  Thread: cell."""
        for name in self._settings().names() if key is None else [key]:
            print(self._settings().written(name))

    def reset(self) -> None:
        """Set everything as it is by default, and print it.  Thread: cell."""
        self._settings().restore()
        self.show()


config = Config()
