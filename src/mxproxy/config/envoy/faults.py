"""
What is wrong with a configuration file: every fault, each with its place in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import ConfigurationError, oneLine


class Path(str):
    """
    A place in a file, as C{static_resources.listeners[0].name}.

    >>> (Path() / "listeners")[0] / "name"
    'listeners[0].name'
    """

    __slots__ = ()

    def __truediv__(self, name: str) -> Path:
        """
        What is in there by that name.
        """
        for part in name.split("/"):
            self = Path(f"{self}.{part}" if self else part)  # noqa: PLW0642
        return self

    def item(self, index: int) -> Path:
        """
        One of a list's items.
        """
        return Path(f"{self}[{index}]")

    def each(self, items: Iterable[object]) -> Iterator[Path]:
        """
        The places of a list's items.
        """
        return (self.item(index) for index, _ in enumerate(items))


@dataclass(frozen=True)
class Fault:
    """
    One thing that is wrong.

    @ivar path: where; empty for the file as a whole.
    @ivar text: what, in one line.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class RefusedFile(ConfigurationError):
    """
    The file cannot be used.

    @ivar faults: why, at least one.
    """

    def __init__(self, file: str, faults: Iterable[Fault]) -> None:
        self.file = file
        self.faults = tuple(faults)
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> list[str]:
        """
        A line for each fault.
        """
        return [oneLine(f"{self.file}: {fault}") for fault in self.faults]


class Faults:
    """
    Collects them, in the order in which they are found, each once.
    """

    def __init__(self) -> None:
        self._found: dict[Fault, None] = {}
        self._spelling: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._found)

    def __repr__(self) -> str:
        return f"<Faults {list(map(str, self))}>"

    def add(self, path: str, text: str) -> None:
        """
        Something is wrong at C{path}.
        """
        self._found[Fault(self._written(path), oneLine(text))] = None

    @contextmanager
    def at(self, path: str, *kinds: type[Exception]) -> Iterator[None]:
        """
        What is raised in here is a fault at C{path}.

        @param kinds: of these exceptions; C{ValueError} unless said.
        """
        expected = kinds or (ValueError,)
        try:
            yield
        except expected as error:
            self.add(path, str(error))

    # -- spelling: C{filterChains} is the same as C{filter_chains}, and what a TypedStruct
    # wraps the same as the message itself; people look for what they have written

    def spelt(self, canonical: str, written: str) -> None:
        """
        What messages call C{canonical} is C{written} in the file.
        """
        if canonical != written:
            self._spelling[canonical] = self._written(written)

    def _written(self, path: str) -> str:
        if not self._spelling:
            return path
        end = len(path)
        while end > 0:
            known = self._spelling.get(path[:end])
            if known is not None:
                return known + path[end:]
            end = max(path.rfind(".", 0, end), path.rfind("[", 0, end))
        return path
