"""What the value of a key may be. A rule judges a value, and says in words what it expects."""

import difflib
import itertools
import math
import os
from ast import literal_eval
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import yaml

# Larger numbers overflow somewhere: in NumPy's seeds, in a 32-bit index.
_MOST = 2**31 - 1
_INF = math.inf


class Rule:
    """One kind of value. ``str(rule)`` completes the sentence "KEY must be ..."."""

    def fit(self, value: Any) -> Any:
        """The value as the config holds it; what does not convert without loss comes back as it was.

        The command line gives text, and YAML 1.1 reads 2e-4 as text: it is read as a Python literal.
        """
        return literal(value)

    def allows(self, value: Any) -> bool:
        """Whether a value is of this kind; it has gone through `fit`."""
        raise NotImplementedError

    def hint(self, value: Any) -> str:
        """A sentence that helps with a wrong value, or nothing."""
        return ""


@dataclass(frozen=True)
class Bool(Rule):
    """True or False."""

    def allows(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class Int(Rule):
    """A whole number from ``least`` to ``most``."""

    least: int = 0
    most: int = _MOST

    def allows(self, value: Any) -> bool:
        return type(value) is int and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a whole number{_bounds(least=self.least, most=self.most)}"


@dataclass(frozen=True)
class Float(Rule):
    """A number within bounds, the ends belonging to them (``least``, ``most``) or not (``above``, ``below``)."""

    least: float = -_INF
    most: float = _INF
    above: float = -_INF
    below: float = _INF
    infinite: bool = False

    def fit(self, value: Any) -> Any:
        value = literal(value)
        if self.infinite and value in ("inf", ".inf"):
            return _INF
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
            return value
        return float(value)

    def allows(self, value: Any) -> bool:
        if not isinstance(value, float):
            return False
        if math.isinf(value):
            return self.infinite and value > 0
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = _bounds(self.least, self.most, self.above, self.below)
        return f"a number{bounds}{', or inf' if self.infinite else ''}"


class Words(Rule):
    """Text, taken as it is."""

    def fit(self, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def hint(self, value: Any) -> str:
        return "" if isinstance(value, str | list | tuple | dict) else "Put it in quotes."


@dataclass(frozen=True)
class Text(Words):
    """Text of one line; empty where ``empty``, else not."""

    empty: bool = False
    most: int = 4096

    def allows(self, value: Any) -> bool:
        if not isinstance(value, str) or len(value) > self.most or not value.isprintable():
            return False
        return bool(value.strip()) or (self.empty and not value)

    def __str__(self) -> str:
        return "text of one line, or empty" if self.empty else "text of one line"


class Choice(Words):
    """One of a few words."""

    def __init__(self, *words: str):
        self.words = words

    def allows(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.words

    def hint(self, value: Any) -> str:
        return did_you_mean(value, self.words) or super().hint(value)

    def __str__(self) -> str:
        return _or(f'"{word}"' for word in self.words)


@dataclass(frozen=True)
class Only(Rule):
    """One value: a key of Detectron2's that physseg has no other way for."""

    value: Any

    def fit(self, value: Any) -> Any:
        return value if isinstance(self.value, str) else literal(value)

    def allows(self, value: Any) -> bool:
        return type(value) is type(self.value) and value == self.value

    def __str__(self) -> str:
        return f'"{self.value}"' if isinstance(self.value, str) else f"{self.value}"


@dataclass(frozen=True)
class Known(Words):
    """A name that a library or a registry lists; ``names`` is asked when a value is judged."""

    what: str
    names: Callable[[], Iterable[str]]

    def allows(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names()

    def hint(self, value: Any) -> str:
        return did_you_mean(value, self.names()) or super().hint(value)

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class List(Rule):
    """A list of ``least`` to ``most`` values of one rule; ``distinct``: each once; ``rising``: each above the last."""

    of: Rule
    least: int = 0
    most: int = 10_000
    distinct: bool = False
    rising: bool = False

    def fit(self, value: Any) -> Any:
        value = literal(value)
        return [self.of.fit(item) for item in value] if isinstance(value, list | tuple) else value

    def allows(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or not self.least <= len(value) <= self.most:
            return False
        if not all(self.of.allows(self.of.fit(item)) for item in value):
            return False
        if self.rising and any(b <= a for a, b in itertools.pairwise(value)):
            return False
        return not self.distinct or len(set(map(repr, value))) == len(value)

    def hint(self, value: Any) -> str:
        if isinstance(value, str):
            return f"Write a list: {_meant(value)}."
        if not isinstance(value, list | tuple):
            return f"Write a list: [{shown(value)}]."
        wrong = [item for item in value if not self.of.allows(self.of.fit(item))]
        return self.of.hint(wrong[0]) if wrong else ""

    def __str__(self) -> str:
        if self.least == self.most:
            number = f"a list of {self.least}"
        elif self.most < 10_000:
            number = f"a list of {self.least} to {self.most}"
        else:
            number = f"a list of {self.least} or more" if self.least else "a list"
        extra = ", each once" if self.distinct else ", rising" if self.rising else ""
        return f"{number}, each {self.of}{extra}"


@dataclass(frozen=True)
class Either(Rule):
    """Of one kind or of another."""

    first: Rule
    second: Rule

    def fit(self, value: Any) -> Any:
        for rule in (self.first, self.second):
            if rule.allows(rule.fit(value)):
                return rule.fit(value)
        return self.first.fit(value)

    def allows(self, value: Any) -> bool:
        return self.first.allows(value) or self.second.allows(value)

    def hint(self, value: Any) -> str:
        return self.first.hint(value) or self.second.hint(value)

    def __str__(self) -> str:
        return f"{self.first}, or {self.second}"


@dataclass(frozen=True)
class Mapping(Rule):
    """A mapping with text for keys; whoever reads it says which."""

    def allows(self, value: Any) -> bool:
        return isinstance(value, dict) and bool(value) and all(isinstance(key, str) for key in value)

    def __str__(self) -> str:
        return "a mapping"


@dataclass(frozen=True)
class Like(Rule):
    """Of its default's type: all that is known of a key of Detectron2's that has no row."""

    default: Any

    def fit(self, value: Any) -> Any:
        value = value if isinstance(self.default, str) else literal(value)
        if isinstance(self.default, float) and type(value) is int and abs(value) < 1e300:
            return float(value)
        if isinstance(self.default, list | tuple) and isinstance(value, list | tuple):
            return type(self.default)(value)
        return value

    def allows(self, value: Any) -> bool:
        return self.default is None or type(value) is type(self.default)

    def __str__(self) -> str:
        return f"of type {type(self.default).__name__}, as its default {shown(self.default)}"


def literal(value: Any) -> Any:
    """Text read as a Python literal, where it is one; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def shown(value: Any) -> str:
    """A value as messages show it, cut short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; a list in itself
        return f"something of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:76]} ..."


def did_you_mean(value: Any, known: Iterable[str]) -> str:
    """ "Did you mean ...?" with up to three of the known words, or nothing."""
    if not isinstance(value, str) or len(value) > 100:
        return ""
    by_lower = {word.lower(): word for word in known}
    near = difflib.get_close_matches(value.lower(), by_lower, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(by_lower[word] for word in near)}?" if near else ""


def _bounds(least: float = -_INF, most: float = _INF, above: float = -_INF, below: float = _INF) -> str:
    most = _INF if most == _MOST else most
    if math.isfinite(least) and math.isfinite(most):
        return f" from {least:,} to {most:,}"
    parts = []
    if math.isfinite(least):
        parts.append(f"{least:,} or more")
    if math.isfinite(above):
        parts.append(f"above {above:,}")
    if math.isfinite(most):
        parts.append(f"at most {most:,}")
    if math.isfinite(below):
        parts.append(f"below {below:,}")
    return f", {' and '.join(parts)}" if parts else ""


def _or(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _meant(text: str) -> list:
    """The list that text without quotation marks stands for: "[[a, 1], [b, 2]]", "(a, b)" or "a, b"."""
    body = text.strip(" ()")
    for flow in (body, f"[{body.strip(' []')}]"):
        try:
            items = yaml.safe_load(flow)
        except (yaml.YAMLError, ValueError, RecursionError):
            continue
        if isinstance(items, list):
            return items
    return [text]
