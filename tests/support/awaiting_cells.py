"""What the cells of tests of awaiting cells need."""

from __future__ import annotations

__all__ = ["SETUP"]

SETUP = """
import asyncio, signal, sqlite3, sys, threading
from twisted.internet import defer, reactor, task, threads
from twisted_ipython import in_main_thread

def later(value=None, seconds=0.01):
    return task.deferLater(reactor, seconds, lambda: value)

def here(*_):
    return threading.current_thread().name

async def one():
    return 1

async def two():
    yield 1
    yield 2

class Inside:
    async def __aenter__(self): return self
    async def __aexit__(self, *_): pass
"""
