"""
From what is typed behind an option to a value.

Each function takes the text, and raises a C{ValueError} that says what would be right.  Which option
takes which is L{mxproxy.config.optiontable}.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace

from .. import socketoptions
from ..observe.format import NAMED, compileFormat
from ..observe.writer import STDOUT, checkWritable
from ..plugins import UnknownFilter, findFilter
from ..socketoptions import SocketOption
from ..tls.identity import AcceptedURI, parseAccepted
from .descriptions import checkClientEndpoint, checkServerEndpoint, parseFilter, split
from .errors import ConfigurationError, oneLine
from .plan import (
    AccessLogPlan,
    FilterSpec,
)

#: Where the admin interface listens unless somebody says otherwise.
LOOPBACK = {"tcp": "127.0.0.1", "tcp6": r"\:\:1"}

# An ALPN name's length is one byte on the wire (RFC 7301, section 3.1).
_ALPN_LIMIT = 255

# The prefix's length field has four bytes.
_PREFIX_LIMIT = 2**32 - 1

# Below the 240 s after which the most forgetful of the large clouds' load balancers forgets a
# connection that is silent; and a peer that has vanished is noticed in five minutes.
KEEPALIVE = "180:30:4"

OFF = "off"

#: The format of the access log that is mxproxy's own.
OWN_FORMAT = "json"

_WORKERS_LIMIT = 256


def seconds(text: str) -> float:
    """Seconds, above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError("that is no number of seconds above 0")
    return value


def keepalive(text: str) -> tuple[SocketOption, ...]:
    """C{TIME:INTERVAL:PROBES} as socket options; C{off}: none."""
    if text == OFF:
        return ()
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(":")]
    if len(numbers) != 3 or not all(numbers):
        raise ValueError(
            f"it has to be TIME:INTERVAL:PROBES, whole numbers as in {KEEPALIVE}, or {OFF}"
        )
    return socketoptions.keepalive(*numbers)


def userTimeout(text: str) -> tuple[SocketOption, ...]:
    """Seconds as a socket option; 0: none."""
    value = secondsOrZero(text)
    return socketoptions.userTimeout(value) if value else ()


def secondsOrZero(text: str) -> float:
    """Seconds; 0 has a meaning of its own."""
    try:
        return float(text) if float(text) == 0 else seconds(text)
    except ValueError:
        raise ValueError("that is no number of seconds, nor 0") from None


def limit(text: str) -> int | None:
    """How many there may be; 0: C{None}, any number."""
    if not text.isdecimal():
        raise ValueError("that is no whole number of connections, nor 0")
    return int(text) or None


def number(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise ValueError("that is no whole number above 0")
    return int(text)


def bytes(text: str) -> int:
    """How many bytes a prefix may have."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value <= _PREFIX_LIMIT:
        raise ValueError(f"that is no whole number of bytes from 1 to {_PREFIX_LIMIT}")
    return value


def workers(text: str) -> int:
    """How many processes."""
    if not text.isdecimal() or not 1 <= int(text) <= _WORKERS_LIMIT:
        raise ValueError(f"that is no whole number from 1 to {_WORKERS_LIMIT}")
    return int(text)


def oneOf(*choices: str) -> Callable[[str], str]:
    """@return: takes one of C{choices}, as it is."""

    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it has to be {' or '.join(choices)}")
        return text

    return check


def alpn(text: str) -> str:
    """An ALPN protocol's name."""
    if len(utf8(text).encode("utf-8")) > _ALPN_LIMIT:
        raise ValueError(f"an ALPN name has at most {_ALPN_LIMIT} bytes")
    return text


def utf8(text: str) -> str:
    """Any text."""
    # An argument of other bytes reaches Python with surrogates in it.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("that is no UTF-8 text") from None
    return text


def label(text: str) -> str:
    """A label's name."""
    if "," in text:
        raise ValueError("a label's name has no comma; give the option once for each label")
    return text


def serverEndpoint(text: str) -> str:
    """A Twisted server endpoint's description."""
    checkServerEndpoint(text)
    return text


def clientEndpoint(text: str) -> str:
    """A Twisted client endpoint's description."""
    checkClientEndpoint(text)
    return text


def identity(text: str) -> str:
    """A SPIFFE ID or another URI, a DNS name, an IP address."""
    parseAccepted(text)
    return text


def serverName(text: str) -> str:
    """A name to ask for: DNS, or an IP address."""
    if isinstance(parseAccepted(text), AcceptedURI):
        raise ValueError("it has to be a DNS name or an IP address; give a URI to --upstream-san")
    return text


def filter(text: str) -> FilterSpec:
    """C{NAME:key=value:...}, of a filter that takes these options."""
    spec = parseFilter(text)
    try:
        findFilter(spec.name).configure(spec.options)
    except UnknownFilter as error:
        raise ValueError(str(error)) from error
    return spec


def file(text: str) -> str:
    """A file's path, made absolute."""
    # twistd changes the directory (--rundir) before anything is opened again.
    return os.path.abspath(text)


def adminEndpoint(text: str) -> str:
    """A server endpoint that is on the loopback interface unless it says otherwise."""
    checkServerEndpoint(text)
    kind, values, named = split(text)
    if kind in LOOPBACK and "interface" not in named and len(values) < 2:
        return f"{text}:interface={LOOPBACK[kind]}"
    return text


def hostName(text: str) -> str:
    """A host's name, alone."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError("that is no host name; it has neither a scheme nor a port")
    return text


def secretFile(text: str) -> str:
    """A file for secrets."""
    path = file(text)
    try:
        checkWritable(path)
    except OSError as error:
        raise ConfigurationError(f"{path!r}: cannot write there: {error.strerror}") from error
    return path


def accessLogFormat(text: str) -> AccessLogPlan:
    """
    The format alone; the path is another option's.
    """
    plan = AccessLogPlan(STDOUT)
    if text.startswith("{"):
        try:
            plan = replace(plan, json_format=json.loads(text))
        except ValueError as error:
            raise ValueError(f"that is no JSON: {error}") from error
    elif text != OWN_FORMAT:
        # A shell's argument seldom has an end of line.
        plan = replace(plan, text_format=NAMED.get(text) or text.rstrip("\n") + "\n")
        if text not in NAMED and "%" not in text:
            known = ", ".join([OWN_FORMAT, *NAMED])
            raise ValueError(f"it is none of {known}, and has no %OPERATOR% in it")
    compileFormat(plan)
    return plan


def otel(text: str) -> tuple[str, ...]:
    """Signals of OpenTelemetry; C{off}: none."""
    if text == OFF:
        return ()
    signals = tuple(dict.fromkeys(text.split(",")))
    if not set(signals) <= {"traces", "metrics"}:
        raise ValueError(f"it has to be traces, metrics or traces,metrics, or {OFF}")
    try:
        from ..observe.otel.exporting import checkEnvironment
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"needs OpenTelemetry's packages ({error.name} is not installed): "
            "pip install 'mxproxy[otel]'"
        ) from None
    except ImportError as error:
        # xds-protos brings older files of the same names; who was installed last has won.
        raise ConfigurationError(
            f"finds files of another package in the place of OpenTelemetry's ({oneLine(str(error))}): "
            "pip install --force-reinstall --no-deps opentelemetry-proto"
        ) from None
    checkEnvironment()
    return signals


def logFile(text: str) -> str:
    """A file's path, made absolute, or C{-}."""
    return text if text == STDOUT else file(text)


#: What makes an absolute path of what is typed.
FILES = (file, logFile, secretFile)
