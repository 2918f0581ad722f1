"""
The files of one set of certificates, read together.

A set is whatever is only good as a whole: a certificate, its key, the CA certificates and
revocation lists beside it, and the SDS files that say where these are.  What is here says
whether one of them has changed, and reads all of them as they were at one moment; what is in
them is not looked at.

Files change in three ways, and none may be caught in the middle.  A rename, or the swap of
Kubernetes' C{..data} link, is one moment for a file, but not for two that are read one after
the other: so what a path leads to is compared before and after.  A file that is written anew
in its place has no such moment: it is taken when nothing has changed for a while
(L{mxproxy.tls.reload}).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mxproxy.tls.pem import read
from mxproxy.tls.settings import (
    PEM,
    PEMS,
    RENEWABLE,
    ClientTLS,
    TLSConfigurationError,
    TLSSettings,
)

#: What of a file changes when it does, or an error's number if it cannot be looked at.
Stamp = tuple[int, ...]

_WHAT = {"certificate": "certificate", "key": "key", "authorities": "CA certificate", "crl": "CRL"}

# A first reading is tried so often; a swap takes microseconds.
_ATTEMPTS = 5


class Unsettled(TLSConfigurationError):
    """
    Files have changed while they were read.
    """


def stampsOf(paths: Iterable[str]) -> dict[str, Stamp]:
    """
    What the paths lead to now, links followed.
    """
    return {path: _stampOf(path) for path in paths}


def _stampOf(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or -1,)
    except ValueError:
        return (-1,)
    # A file that is put into another's place may have its size and times, as rsync and tar
    # keep them, but not its number; one that is written in its place keeps its number.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def pathsOf(settings: TLSSettings) -> tuple[str, ...]:
    """
    The files that settings name, each once, without those of SDS.
    """
    sources = (getattr(settings, name) for name in PEMS)
    return tuple(dict.fromkeys(one.path for one in sources if one is not None and one.path))


@dataclass(frozen=True)
class Reading:
    """
    What was found when a set was read.

    @ivar stamps: the files that belong to it, as they were.
    @ivar values: the L{RENEWABLE} settings, with the texts of their files; empty if they
        could not be read.
    @ivar error: why not.
    """

    stamps: Mapping[str, Stamp]
    values: Mapping[str, object] = field(default_factory=dict, repr=False)
    error: TLSConfigurationError | None = None

    def sameAs(self, other: Reading) -> bool:
        """
        Whether it comes to the same, wherever the texts are from.
        """
        return _texts(self.values) == _texts(other.values)

    def applied(self, settings: TLSSettings) -> TLSSettings:
        """
        @return: the settings, of whichever side, with these values.
        """
        values = dict(self.values)
        if settings.discovered is not None:
            if isinstance(settings, ClientTLS):
                # Envoy believes whoever answers until it is told of a CA.
                values["verify"] = values["authorities"] is not None
        else:
            # The same files may be used by who accepts one identity and who accepts another.
            for name in RENEWABLE:
                if name not in PEMS:
                    values.pop(name, None)
        return replace(settings, **values)  # type: ignore[arg-type]


def _texts(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value.text if isinstance(value, PEM) else value for name, value in values.items()}


def takeReading(settings: TLSSettings, known: Iterable[str] = ()) -> Reading:
    """
    Read a set as it is now.  What is wrong with it is in the result, not raised.

    @param known: the files that belonged to it, in case that SDS does not say which do.
    """
    discovered = settings.discovered
    sources = stampsOf(discovered.paths if discovered is not None else ())
    found = settings
    error: TLSConfigurationError | None = None
    if discovered is not None:
        try:
            found = discovered.read()
        except TLSConfigurationError as caught:
            error = caught
    stamps = {**sources, **stampsOf(known if error else pathsOf(found))}
    values: dict[str, object] = {name: getattr(found, name) for name in RENEWABLE}
    if error is None:
        try:
            for name in PEMS:
                values[name] = _loaded(getattr(found, name), _WHAT[name])
        except TLSConfigurationError as caught:
            error = caught
    after = stampsOf(stamps)
    changed = [path for path in stamps if stamps[path] != after[path]]
    if changed:
        error = Unsettled(f"{changed[0]!r} changes while it is read: leave it alone")
    return Reading(stamps, {} if error else values, error)


def firstReading(settings: TLSSettings) -> Reading:
    """
    Read a set, and try again if it is just being changed.

    @raise TLSConfigurationError: it cannot be read.
    """
    for _ in range(_ATTEMPTS):
        reading = takeReading(settings)
        if not isinstance(reading.error, Unsettled):
            break
    if reading.error is not None:
        raise reading.error
    return reading


def _loaded(source: PEM | None, what: str) -> PEM | None:
    if source is None or source.path is None:
        return source
    return PEM(source.path, read(PEM(source.path), what))
