"""
The settings: traits, and how `%twisted_config` reads and writes them.

Thread: cell.
"""

from __future__ import annotations

from threading import TIMEOUT_MAX
from typing import Any, Final

from traitlets import Bool, CFloat, Enum, TraitError, validate
from traitlets.config import Configurable

NO_SUCH_SETTING: Final = "there is no setting {name!r}; there are: {names}"
BAD_VALUE: Final = "{name} cannot be {value!r}; it takes {takes}"
INFINITY: Final = "INFINITY"
_SWITCH: Final = "True or False"
TAKES: Final = {
    "timeout": "seconds, more than 0, or INFINITY",
    "autoawait": _SWITCH,
    "share_reactor": _SWITCH,
    "updates": "auto, display or text",
}


class SettingError(ValueError):
    """A setting's name or value is not one; the message is one line."""


class Settings(Configurable):
    """What can be set, with `%config TwistedMagics`, a configuration file or `%twisted_config`."""

    timeout = CFloat(
        None,
        allow_none=True,
        help="Seconds that a cell may await; None (INFINITY in %twisted_config) means no limit.",
    ).tag(config=True)
    autoawait = Bool(
        False, help="Whether loading the extension also runs `%autoawait twisted`."
    ).tag(config=True)

    share_reactor = Bool(
        True,
        help="Whether cells that do not await share the reactor's loop, and borrow the reactor"
        " when they call it.",
    ).tag(config=True)

    # Not one that `%twisted_config` changes: a reactor cannot be started twice.
    reactor = Enum(
        ["asyncio", "uvloop"],
        "asyncio",
        help="Whose loop the reactor runs on that loading installs: for a configuration file, since"
        " a reactor that runs stays.",
    ).tag(config=True)

    updates = Enum(
        ("auto", "display", "text"),
        "auto",
        help="Where it is shown that something pending has ended: in its display, or in a line"
        " of text, for front ends that ignore updates of a display.",
    ).tag(config=True)

    @validate("timeout")
    def _positive(self, proposal: Any) -> float | None:
        value: float | None = proposal["value"]
        if value is not None and not value > 0:
            raise TraitError(f"timeout takes {TAKES['timeout']}, not {value:g}")
        return None if value is None or value > TIMEOUT_MAX else value

    def names(self) -> list[str]:
        """The names of the settings.  Thread: any."""
        return sorted(TAKES)

    def written(self, name: str) -> str:
        """One setting as ``name=value``; a SettingError if there is none.  Thread: cell."""
        self._check(name)
        value = getattr(self, name)
        if value is None:
            return f"{name}={INFINITY}"
        return f"{name}={format(value, '.15g') if isinstance(value, float) else value}"

    def write(self, name: str, value: str) -> None:
        """Change one setting to what is typed; a SettingError if it cannot be.  Thread: cell."""
        self._check(name)
        try:
            setattr(self, name, self.traits()[name].from_string(value))
        except (TraitError, ValueError):
            takes = TAKES[name]
            raise SettingError(BAD_VALUE.format(name=name, value=value, takes=takes)) from None

    def restore(self) -> None:
        """Set everything as it is by default.  Thread: cell."""
        for name in self.names():
            setattr(self, name, self.traits()[name].default_value)

    def _check(self, name: str) -> None:
        if name not in TAKES:
            names = ", ".join(self.names())
            raise SettingError(NO_SUCH_SETTING.format(name=name, names=names))
