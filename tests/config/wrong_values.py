"""Wrong values of every kind for a key, derived from its rule."""

import datetime
import math
from pathlib import Path

from physseg.config.rules import Bool, Choice, Either, Float, Int, Known, List, Mapping, Only, Text
from physseg.config.special_rules import Device, ExpectedResult, Override, Template

# No rule allows these, but for those that name one of their kind.
ODD = (None, {"a": 1}, {}, b"bytes", {1, 2}, datetime.date(2020, 1, 1), 1j, object, math.nan, -math.inf)
WORDS = ("", " ", "fast", "None", "nan", "-inf", "1e999", "1,5", "0x", "true", "[", "[[[[[", "{", "'", "a\nb", "\0")
NUMBERS = (-1, 3.5, 10**12, 10**400, -(10**400), 1e308, "7" * 5000, "é" * 5000)


def wrong_values(rule) -> list:
    """Values that the rule must refuse."""
    if isinstance(rule, Either):
        return [value for value in wrong_values(rule.first) if not _right(rule.second, value)]
    return [value for value in (*_of_kind(rule), *ODD) if not _right(rule, value)]


def _right(rule, value) -> bool:
    """What the generator would get wrong itself, in words independent of the rule's code."""
    if isinstance(rule, Either):
        return _right(rule.first, value) or _right(rule.second, value)
    if isinstance(rule, Mapping):
        return isinstance(value, dict) and bool(value)
    if isinstance(rule, Text):
        return value == "" and rule.empty
    if isinstance(rule, Float):
        return (value == "1e999" and rule.infinite) or (value == "1.0" and rule.most == 1)
    return isinstance(rule, Choice) and value in rule.words


def _of_kind(rule) -> list:
    if isinstance(rule, Bool):
        return [0, 1, "yes", "on", "true", [True], *WORDS, *NUMBERS]
    if isinstance(rule, Int):
        outside = [rule.least - 1, rule.most + 1, rule.least - 10**6]
        return [*outside, *map(str, outside), True, "True", [rule.least], 1.5, "1.0", *WORDS, *NUMBERS[1:]]
    if isinstance(rule, Float):
        ends = [(rule.least, -1, False), (rule.most, 1, False), (rule.above, -1, True), (rule.below, 1, True)]
        outside = [end + step for end, step, _ in ends if math.isfinite(end)]
        outside += [end for end, _, excluded in ends if excluded and math.isfinite(end)]
        infinite = [] if rule.infinite else [math.inf, "inf", ".inf"]
        return [*outside, *map(str, outside), *infinite, True, [0.5], "0.1.2", *WORDS, 10**400, -(10**400)]
    if isinstance(rule, Choice | Known | Device):
        return ["gpu0", "cuda:-1", "cuda:x", "CPU", "all", 7, True, ["all"], *[w for w in WORDS if w != "true"]]
    if isinstance(rule, Template):
        return ["no place", "{} {}", "{0}", "a {} {b}", "{", "a\n{}", "{}" * 600, 3, ["a {}"]]
    if isinstance(rule, Text):
        return [3, 1.5, True, ["a"], "a\nb", "a\tb", "\0", " ", "x" * 10**5, *([] if rule.empty else [""])]
    if isinstance(rule, Only):
        return [not rule.value, 3, "other", [rule.value]]
    if isinstance(rule, List):
        return _lists(rule)
    if isinstance(rule, Mapping):
        return [3, True, [], {1: 2}]
    if isinstance(rule, ExpectedResult):
        return [[], ["a", "b", 1], ["a", "b", "c", 1], [1, 2, 3, 4], "abcd", 3]
    if isinstance(rule, Override):
        unknown = [["voc21", "SOLVER.BASE_LR", 1.0], ["voc21", "SCALE", 1], [1, "MODEL.DENSE.SCALE", 1]]
        return [[], ["voc21", "MODEL.DENSE.SCALE"], ["", "MODEL.DENSE.SCALE", 1], *unknown, "abc", 3]
    raise TypeError(f"no wrong values are known for {type(rule).__name__}: add them")


def _lists(rule) -> list:
    items = [item for item in wrong_values(rule.of) if not isinstance(item, Path)]
    right = _right_item(rule.of)
    number = max(rule.least, 1)
    wrong = [[*[right] * (number - 1), item] for item in items]
    wrong += [[[right] * number], 3, 1.5, True, "words", "a, b", {"a": 1}]
    if rule.least:
        wrong += [[], [right] * (rule.least - 1), "[]", "()"]
    if rule.most < 100:
        wrong.append([right] * (rule.most + 1))
    if rule.distinct or rule.rising:
        wrong.append([right, right])
    return wrong


def _right_item(rule):
    if isinstance(rule, Int):
        return rule.least
    if isinstance(rule, Float):
        return min(max(rule.least, rule.above), 1e9) + 0.5
    if isinstance(rule, Choice):
        return rule.words[0]
    if isinstance(rule, Template):
        return "a {}"
    if isinstance(rule, Text):
        return "a"
    if isinstance(rule, Either):
        return _right_item(rule.first)
    return {"a": 1} if isinstance(rule, Mapping) else ["a", "b", 1, 1]
