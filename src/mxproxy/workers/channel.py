"""
Questions and answers between a parent and a worker, over a socket that both have.

A line is a JSON object.  C{{"id": 1, "ask": "reload", "with": ...}} is a question, answered by
C{{"id": 1, "answer": ...}} or C{{"id": 1, "error": "why"}}.  File descriptors travel with a question
(SCM_RIGHTS), which says how many they are (C{"files": 2}).  They are there before it is, and may be
there before earlier questions are, as Twisted sends them with whatever bytes go next.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

Handler = Callable[[str, Any, list[int]], Any]


class ChannelError(Exception):
    """
    There is no answer; the text, one line, says why.
    """


@implementer(IFileDescriptorReceiver)
class Channel(LineOnlyReceiver):
    """
    One end.
    """

    delimiter = b"\n"
    # A configuration and all that it names, and what a page says of ten thousand connections.
    MAX_LENGTH = 256 * 1024 * 1024

    log = Logger()
    transport: Any

    def __init__(self, handle: Handler, lost: Callable[[], None]) -> None:
        """
        @param handle: called with each question: its name, what it is about and the file
            descriptors that came with it, which it has to close.  What it returns, or its
            Deferred fires with, is the answer; whatever it raises is an error on the other side.
        @param lost: called when the other side is gone.
        """
        self._handle = handle
        self._lost: Callable[[], None] | None = lost
        self._numbers = itertools.count(1)
        self._asked: dict[int, Deferred[Any]] = {}
        self._descriptors: list[int] = []
        self._open = False

    def connectionMade(self) -> None:
        """It can be spoken."""
        self._open = True

    def ask(self, what: str, about: Any = None, descriptors: Sequence[int] = ()) -> Deferred[Any]:
        """
        Ask the other side.

        @param about: what JSON has.
        @param descriptors: files that it is to have, too; they are to be kept open until there
            is an answer.
        @return: fires with the answer, or fails with L{ChannelError}.
        """
        if not self._open:
            return fail(ChannelError("the other process is gone"))
        number = next(self._numbers)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._asked[number] = answer
        for descriptor in descriptors:
            self.transport.sendFileDescriptor(descriptor)
        message = {"id": number, "ask": what, "with": about}
        if descriptors:
            message["files"] = len(descriptors)
        self._say(message)
        return answer

    def _forget(self, number: int) -> None:
        del self._asked[number]

    def _say(self, message: dict[str, Any]) -> None:
        if self._open:
            self.transport.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """It belongs to the next question that has any."""
        self._descriptors.append(descriptor)

    def lineReceived(self, line: bytes) -> None:
        """A question or an answer."""
        message = json.loads(line)
        number = message["id"]
        if "ask" in message:
            count = message.get("files", 0)
            descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            answer = maybeDeferred(self._handle, message["ask"], message["with"], descriptors)
            answer.addCallback(lambda value: self._say({"id": number, "answer": value}))
            answer.addErrback(self._failed, number)
            return
        asked = self._asked.pop(number, None)
        if asked is None:
            return  # Nobody waits for it any more.
        if "error" in message:
            asked.errback(ChannelError(message["error"]))
        else:
            asked.callback(message["answer"])

    def _failed(self, failure: Failure, number: int) -> None:
        if not failure.check(ChannelError):
            self.log.failure("a question could not be answered", failure)
        self._say({"id": number, "error": " ".join(failure.getErrorMessage().split())})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other side is gone: nobody will answer."""
        self._open = False
        while self._descriptors:
            os.close(self._descriptors.pop())
        asked, self._asked = self._asked, {}
        for deferred in asked.values():
            deferred.errback(ChannelError("the other process has ended"))
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()


class ChannelFactory(Factory):
    """
    For the one connection that there is.
    """

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: object) -> Channel:
        """See L{Factory.buildProtocol}."""
        return self._channel
