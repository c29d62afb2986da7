"""A row of the table of keys."""

from dataclasses import dataclass
from typing import Any

from physseg.config.rules import Rule


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: with all its sections, "MODEL.CLIP.NAME".
        default: what holds where no file says otherwise.
        rule: what it may be.
        why: what it does and why it is so, in a line or two.
        shown: how documents show a default that depends on the machine.
    """

    name: str
    default: Any
    rule: Rule
    why: str
    shown: str = ""


@dataclass(frozen=True)
class Area:
    """Keys that belong together, under a heading."""

    title: str
    about: str
    keys: tuple[Key, ...]
