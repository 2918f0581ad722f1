"""
Numbers of things, as a sentence has them.
"""

from __future__ import annotations


def counted(number: int, noun: str, ending: str = "s") -> str:
    """
    @param ending: what the noun takes where it is not one.
    @return: C{"1 connection"}, C{"2 connections"}.
    """
    return f"{number} {noun}{ending * (number != 1)}"


def are(number: int, noun: str, of: str = "") -> str:
    """
    @param of: whose they are.
    @return: C{"1 connection is"}, C{"2 connections of 192.0.2.1 are"}.
    """
    whose = f" of {of}" if of else ""
    return f"{counted(number, noun)}{whose} {'is' if number == 1 else 'are'}"
