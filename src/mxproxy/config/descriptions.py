"""
Texts of the form C{NAME:value:key=value}, as in Twisted's endpoint strings.

Here they are taken apart (filters), and tried (endpoints): whatever Twisted says of a
wrong endpoint string becomes one line that shows how to write it.  Nothing is listened on,
connected to or resolved, and no reactor is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IReactorPluggableNameResolver
from zope.interface import directlyProvides

from .errors import ConfigurationError
from .plan import FilterSpec

_SERVER_FORMS = {
    "tcp": "tcp:PORT[:interface=ADDRESS]",
    "tcp6": "tcp6:PORT[:interface=ADDRESS]",
    "unix": "unix:PATH[:mode=660]",
    "systemd": "systemd:domain=INET:name=NAME, for a socket that systemd has passed on (its unit's "
    "FileDescriptorName=); it has passed on no such socket",
}

_CLIENT_FORMS = {
    "tcp": "tcp:HOST:PORT",
    "unix": "unix:PATH",
}

# Layers of Twisted's own that an endpoint puts below ours: its TLS ends both directions when the
# peer ends one (twisted/twisted#5341), and none of them lets what is on top of it leave.
_INSTEAD = {
    "tls": "TLS is --downstream-tls and --upstream-tls; write it as tcp:...",
    "ssl": "TLS is --downstream-tls and --upstream-tls; write it as tcp:...",
    "haproxy": "no PROXY header is taken off here",
}

_MAX_PORT = 65535

#: How many connections may wait to be accepted: what Linux has for C{net.core.somaxconn}, and
#: Envoy's default with it; a system that has less takes less.  Twisted's own is 50.
BACKLOG = 4096

_WITH_BACKLOG = ("tcp", "tcp6", "unix")


def withBacklog(text: str) -> str:
    """
    @param text: a server endpoint that was checked.
    @return: the same, with L{BACKLOG} where it has one and says none.
    """
    name, _, named = split(text)
    if name not in _WITH_BACKLOG or "backlog" in named:
        return text
    return f"{text}:backlog={BACKLOG}"


def split(text: str) -> tuple[str, list[str], dict[str, str]]:
    r"""
    Take a description apart as Twisted does: colons separate, the first C{=} of a part
    separates its key from its value, and a backslash takes the next character as it is.

    >>> split(r"a:b=c=d:e\:f")
    ('a', ['e:f'], {'b': 'c=d'})

    @return: the name in front, the values without a key, and the others by their key.
    @raise ValueError: it cannot be taken apart.
    """
    first, *parts = _parts(text)
    if len(first) > 1 or not first[0]:
        raise ValueError("it does not begin with a name")
    values: list[str] = []
    named: dict[str, str] = {}
    for part in parts:
        if len(part) == 1:
            values.append(part[0])
            continue
        key, value = part
        if not key:
            raise ValueError(f"there is no key before '={value}'")
        if key in named:
            raise ValueError(f"{key!r} is given twice")
        named[key] = value
    return first[0], values, named


def _parts(text: str) -> list[list[str]]:
    parts = [[""]]
    characters = iter(text)
    for character in characters:
        if character == ":":
            parts.append([""])
        elif character == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        elif character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ValueError("it ends in a backslash, which escapes nothing")
            parts[-1][-1] += escaped
        else:
            parts[-1][-1] += character
    return parts


def parseFilter(text: str) -> FilterSpec:
    r"""
    Read C{NAME[:key=value:...]}; a colon in a value is written C{\:}.

    @raise ValueError: it is not of that form.
    """
    name, values, options = split(text)
    if values:
        raise ValueError(f"{values[0]!r} is not of the form key=value")
    return FilterSpec(name, options, where=f"--filter {text!r}")


class _NoReactor:
    """
    Stands where a reactor belongs while an endpoint is only described: before C{listen} and
    C{connect} Twisted asks it for nothing but a name resolver, and that only to keep it.
    """

    nameResolver = None


_NO_REACTOR = _NoReactor()
directlyProvides(_NO_REACTOR, IReactorPluggableNameResolver)


def checkServerEndpoint(text: str) -> None:
    """
    @raise ValueError: Twisted can make no server endpoint of it.
    @raise ConfigurationError: it names a file that cannot be read.
    """
    kind, values, named = _tryEndpoint(serverFromString, text, _SERVER_FORMS)
    if kind in ("tcp", "tcp6"):
        _checkPort(named.get("port") or values[0], 0)


def checkClientEndpoint(text: str) -> None:
    """
    @raise ValueError: Twisted can make no client endpoint of it.
    @raise ConfigurationError: it names a file that cannot be read.
    """
    kind, values, named = _tryEndpoint(clientFromString, text, _CLIENT_FORMS)
    if kind == "tcp":
        host, port = (named[key] if key in named else values.pop(0) for key in ("host", "port"))
        if not host:
            raise ValueError(f"there is no host in it; write it as {_CLIENT_FORMS['tcp']}")
        _checkPort(port, 1)


def _tryEndpoint(
    parse: Callable[[Any, str], object], text: str, forms: dict[str, str]
) -> tuple[str, list[str], dict[str, str]]:
    """
    @return: what it consists of: its kind in lower case, values, named values.
    """
    kind, values, named = split(text)
    try:
        parse(_NO_REACTOR, text)
    except OSError as error:
        raise ConfigurationError(
            f"{text!r}: cannot read {error.filename!r}: {error.strerror}"
        ) from error
    except Exception as error:  # whatever a kind of endpoint's plugin raises
        raise ValueError(_explainEndpoint(kind, forms, error)) from error
    instead = _INSTEAD.get(kind.lower())
    if instead is not None:
        raise ValueError(f"an endpoint of the kind {kind!r} cannot be used: {instead}")
    return kind.lower(), values, named


def _explainEndpoint(kind: str, forms: dict[str, str], error: Exception) -> str:
    form = forms.get(kind.lower())
    if form is not None:
        return f"that is no endpoint; write it as {form}"
    if f"unknown endpoint type: '{kind}'".lower() == str(error).lower():
        return f"there is no kind of endpoint {kind!r}; write it as {forms['tcp']}"
    return f"that is no endpoint of the kind {kind!r}: {type(error).__name__}: {error}"


def _checkPort(port: str, lowest: int) -> None:
    if not lowest <= int(port) <= _MAX_PORT:
        raise ValueError(f"the port {port} is not between {lowest} and {_MAX_PORT}")
