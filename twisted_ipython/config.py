"""
``twisted_ipython.config.config``: the settings, by the name that version 2 gave them.

The settings themselves are traits of the magics that the last load made; with
none loaded, what is set here holds for `twisted_ipython.async_runner`.
"""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

__all__ = ["Config", "ConfigError", "config"]


class ConfigError(Exception):
    """A setting's name or value is not one."""


class Config:
    """The settings; call in the thread that runs the shell's cells."""

    def __init__(self) -> None:
        self._magics: Any = None

    @property
    def timeout(self) -> float | None:
        """Seconds that a cell may await, or None for ever."""
        value: float | None = self._settings().timeout
        return value

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._settings().timeout = seconds

    def get(self, key: str) -> Any:
        """A setting's value; raises `ConfigError` if there is none of that name."""
        self._line(f"show {key}", quiet=True)
        return getattr(self._settings(), key)

    def set(self, key: str, raw_value: object) -> None:
        """Change a setting and print it; raises `ConfigError` for a bad name or value."""
        self._line(f"{key} {raw_value}")

    def show(self, key: str | None = None) -> None:
        """Print one setting, or all."""
        self._line(f"show {key or ''}")

    def reset(self) -> None:
        """Set everything as it is by default, and print it."""
        self._line("reset")

    def _settings(self) -> Any:
        from twisted_ipython._extension import magics_of_last_load
        from twisted_ipython._settings import Settings

        loaded = magics_of_last_load()
        if loaded is None and self._magics is None:
            self._magics = Settings()
        return loaded or self._magics
