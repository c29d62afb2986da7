"""Writing files' and the command line's values into a config, with every mistake kept for one message."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode

from physseg.config.check import problem
from physseg.config.keys import KEYS
from physseg.config.rules import Like, Rule, shown


class Merge:
    """Merges into one config.

    Attributes:
        cfg: the config; a value that is not allowed leaves it as it was.
        sources: key -> where its value comes from.
        problems: lines of a message. broken: the keys they are about.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        self.broken: set[str] = set()
        self._defaults = cfg.clone()

    def mapping(self, content: dict[Any, Any], source: str) -> None:
        """Merge a file's nested mapping. A section with nothing in it ("SOLVER:") changes nothing."""
        pairs = list(_leaves(content, self._defaults))
        names = [name for name, _ in pairs]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.problems.append(f"{source}: {name} stands there twice.")
        self.pairs(pairs, source)

    def pairs(self, pairs: Iterable[tuple[str, Any]], source: str) -> None:
        """Merge values by full name; of one that comes twice, the last holds."""
        for name, value in pairs:
            rule = self._rule(name)
            if rule is None:
                self.problems.append(self._not_a_key(name, value, source))
                self.broken.add(name)
                continue
            fitted = rule.fit(value)
            if not rule.allows(fitted):
                self.problems.append(problem(name, rule, value, source))
                self.broken.add(name)
                continue
            *sections, leaf = name.split(".")
            node = self.cfg
            for section in sections:
                node = node[section]
            node[leaf] = tuple(fitted) if isinstance(node[leaf], tuple) else fitted
            self.sources[name] = source

    def _rule(self, name: str) -> Rule | None:
        if name in KEYS:
            return KEYS[name].rule
        default: Any = self._defaults
        for part in name.split("."):
            if not isinstance(default, CfgNode) or part not in default:
                return None
            default = default[part]
        return None if isinstance(default, CfgNode) else Like(default)

    def _not_a_key(self, name: str, value: Any, source: str) -> str:
        known = dict(all_keys(self._defaults))
        if isinstance(known.get(name), CfgNode):
            inside = ", ".join(known[name])
            return f"{source}: {name} is a section with keys of its own ({inside}); got {shown(value)}."
        if name.startswith("-"):
            return f"{source}: {shown(name)} is no key; options such as --num-gpus come before the first KEY VALUE."
        if "=" in name:
            return f"{source}: {shown(name)} is no key; write key and value as two words, {name.replace('=', ' ', 1)}."
        names = {key.upper(): key for key in known}
        near = difflib.get_close_matches(name.upper()[:100], names, n=3, cutoff=0.6)
        same_leaf = [key for key in names if key.rpartition(".")[2] == name.upper().rpartition(".")[2]]
        near = [names[key] for key in dict.fromkeys(near + same_leaf)][:4]
        advice = f"Did you mean {' or '.join(near)}?" if near else "All keys are in docs/config.md."
        plain = name if 0 < len(name) <= 80 and name.isprintable() else shown(name)
        return f"{source}: unknown config key {plain}. {advice}"


def read_pairs(opts: Sequence[Any]) -> list[tuple[str, Any]]:
    """``["SOLVER.BASE_LR", "1e-4", ...]`` as pairs.

    Raises:
        ValueError: the list has an odd length.
    """
    opts = list(opts)
    if opts and opts[0] == "--":
        opts = opts[1:]
    if len(opts) % 2:
        words = " ".join(map(str, opts))
        joined = [str(word) for word in opts[::2] if "=" in str(word)]
        advice = f" Write key and value as two words: {joined[0].replace('=', ' ', 1)}." if joined else ""
        raise ValueError(
            f"Overrides come in pairs, KEY VALUE; got {len(opts)} word{'s' * (len(opts) > 1)}: {words[:200]}.{advice}"
        )
    return [(str(key), value) for key, value in zip(opts[::2], opts[1::2], strict=True)]


def all_keys(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and value of every section and key."""
    for name, value in node.items():
        yield prefix + name, value
        if isinstance(value, CfgNode):
            yield from all_keys(value, f"{prefix}{name}.")


def _leaves(content: dict[Any, Any], defaults: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        below = defaults
        for part in str(key).split("."):
            below = below.get(part) if isinstance(below, CfgNode) else None
        if isinstance(value, dict) and value:
            yield from _leaves(value, below, f"{prefix}{key}.")
        elif not (isinstance(below, CfgNode) and value in (None, {})):
            yield f"{prefix}{key}", value
