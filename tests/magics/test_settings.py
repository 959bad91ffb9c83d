"""The settings, by the names of this version and by those of version 2."""

from __future__ import annotations

from threading import TIMEOUT_MAX
from typing import Any

import pytest
from reactor_thread import later, reactor
from session import Session
from traitlets import TraitError
from traitlets.config import Config as Configuration
from twisted.internet.defer import Deferred

from twisted_ipython._magics.settings import SettingError, Settings
from twisted_ipython.async_runner import twisted_runner
from twisted_ipython.config import Config, ConfigError, config


@pytest.fixture
def settings() -> Settings:
    """Settings as they are by default."""
    return Settings()


GOOD = [
    ("timeout", "30", 30.0, "timeout=30"),
    ("timeout", "0.25", 0.25, "timeout=0.25"),
    ("timeout", "1234567.5", 1234567.5, "timeout=1234567.5"),
    ("timeout", "2147483648", 2.0**31, "timeout=2147483648"),
    ("timeout", "INFINITY", None, "timeout=INFINITY"),
    ("timeout", "None", None, "timeout=INFINITY"),
    ("timeout", str(TIMEOUT_MAX * 2), None, "timeout=INFINITY"),
    ("autoawait", "True", True, "autoawait=True"),
    ("autoawait", "1", True, "autoawait=True"),
    ("autoawait", "False", False, "autoawait=False"),
    ("share_reactor", "False", False, "share_reactor=False"),
    ("updates", "text", "text", "updates=text"),
    ("updates", "auto", "auto", "updates=auto"),
]
BAD = [
    ("timeout", "soon", "timeout cannot be 'soon'; it takes seconds, more than 0, or INFINITY"),
    ("timeout", "0", "timeout cannot be '0'; it takes seconds, more than 0, or INFINITY"),
    ("timeout", "-1", "timeout cannot be '-1'; it takes seconds, more than 0, or INFINITY"),
    ("timeout", "nan", "timeout cannot be 'nan'; it takes seconds, more than 0, or INFINITY"),
    ("timeout", "", "timeout cannot be ''; it takes seconds, more than 0, or INFINITY"),
    ("autoawait", "maybe", "autoawait cannot be 'maybe'; it takes True or False"),
    ("share_reactor", "maybe", "share_reactor cannot be 'maybe'; it takes True or False"),
    ("updates", "never", "updates cannot be 'never'; it takes auto, display or text"),
    (
        "patience",
        "1",
        "there is no setting 'patience'; there are: autoawait, share_reactor, timeout, updates",
    ),
]


@pytest.mark.parametrize(("name", "text", "value", "shown"), GOOD)
def test_write(settings: Settings, name: str, text: str, value: Any, shown: str) -> None:
    """A setting is written as text, kept as a value, and shown so that it can be written again."""
    settings.write(name, text)
    assert getattr(settings, name) == value
    assert settings.written(name) == shown
    settings.write(*shown.split("="))
    assert getattr(settings, name) == value


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_bad(settings: Settings, name: str, text: str, message: str) -> None:
    """A bad name or value changes nothing and is told in one line."""
    with pytest.raises(SettingError) as caught:
        settings.write(name, text)
    assert str(caught.value) == message
    assert [settings.written(each) for each in settings.names()] == [
        "autoawait=False",
        "share_reactor=True",
        "timeout=INFINITY",
        "updates=auto",
    ]


def test_alone(session: Session) -> None:
    """`%twisted_config` alone shows all settings, as `show` does."""
    shown = session.shown("%twisted_config")
    assert shown == session.shown("%twisted_config show")
    assert shown == "autoawait=False\nshare_reactor=True\ntimeout=20\nupdates=auto\n"


def test_restore(settings: Settings) -> None:
    """Everything goes back to the default."""
    settings.write("timeout", "5")
    settings.write("autoawait", "True")
    settings.write("share_reactor", "False")
    settings.restore()
    assert (settings.timeout, settings.autoawait, settings.share_reactor) == (None, False, True)


def test_traits() -> None:
    """A configuration file sets them by the name of the class, and a bad value is refused."""
    made = Settings(config=Configuration({"Settings": {"timeout": 30, "autoawait": True}}))
    assert (made.timeout, made.autoawait) == (30.0, True)
    made.timeout = float("inf")
    assert made.timeout is None
    with pytest.raises(TraitError, match="more than 0"):
        made.timeout = -1
    assert made.timeout is None
    assert {name for name, trait in made.traits(config=True).items() if trait.help} == {
        "timeout",
        "autoawait",
        "share_reactor",
        "reactor",
        "updates",
    }


# ---- the names of version 2


def test_version_2_config(capsys: pytest.CaptureFixture[str]) -> None:
    """`config` gets, sets, shows and resets, and prints what version 2 printed."""
    mine = Config()
    mine.set("timeout", "5")
    assert mine.get("timeout") == mine.timeout == 5
    mine.set("timeout", 7)
    mine.show("timeout")
    mine.set("timeout", "INFINITY")
    mine.timeout = 9
    mine.show()
    mine.reset()
    assert capsys.readouterr().out.splitlines() == [
        "timeout=5",
        "timeout=7",
        "timeout=7",
        "timeout=INFINITY",
        "autoawait=False",
        "share_reactor=True",
        "timeout=9",
        "updates=auto",
        "autoawait=False",
        "share_reactor=True",
        "timeout=INFINITY",
        "updates=auto",
    ]


def test_version_2_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is a ConfigError; a bad value is one too, and still a ValueError."""
    mine = Config()
    for act in (mine.get, mine.show, lambda name: mine.set(name, 1)):
        with pytest.raises(ConfigError, match="no setting 'patience'"):
            act("patience")
    with pytest.raises(ConfigError):
        mine.set("timeout", "soon")
    with pytest.raises(ValueError, match="soon"):
        mine.set("timeout", "soon")
    assert capsys.readouterr().out == ""


def test_version_2_runner(capsys: pytest.CaptureFixture[str]) -> None:
    """`twisted_runner` runs a coroutine that awaits Deferreds, blocking, for `config.timeout`."""
    reactor()
    seen: list[str] = []

    async def returns() -> Any:
        return await later("value")

    async def waits() -> None:
        try:
            await Deferred()
        finally:
            seen.append("cancelled")

    assert twisted_runner(returns()) == "value"
    config.set("timeout", 0.05)
    try:
        with pytest.raises(TimeoutError, match=r"0\.05 seconds"):
            twisted_runner(waits())
        assert seen == ["cancelled"]
        assert twisted_runner(returns()) == "value"
    finally:
        config.reset()
    assert capsys.readouterr().out == (
        "timeout=0.05\nautoawait=False\nshare_reactor=True\ntimeout=INFINITY\nupdates=auto\n"
    )
