"""Rules of single keys."""

from typing import Any

import torch

from physseg.config.rules import Rule, Words, did_you_mean

# physseg.text.prompts holds the templates themselves.
TEMPLATE_SETS = ("single", "imagenet_select", "imagenet")
# physseg.modeling.clip.dense_features holds the functions.
DENSE_METHODS = ("catseg", "maskclip", "clip", "sclip", "clearclip", "naclip", "sc_clip", "sfp", "proxyclip")
# What may differ between data sets: none of it changes the model's weights.
OVERRIDABLE = (
    *("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "TEST.SLIDING_WINDOW", "TEST.WINDOW_SIZE", "TEST.WINDOW_STRIDE"),
    *(
        "TEST.BACKGROUND_THRESHOLD",
        "TEST.AREA_THRESHOLD",
        "TEST.BACKGROUND_ENTROPY",
        "MODEL.DENSE.SCALE",
        "MODEL.DENSE.PAMR_STEPS",
    ),
    *("MODEL.GROUPS.TOP_CLASSES", "MODEL.GROUPS.BACKGROUND_THRESHOLD"),
)


class Device(Words):
    """A device that PyTorch can compute on; whether this machine has it is `check_device`'s question."""

    def allows(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        kind, colon, index = value.partition(":")
        custom = torch._C._get_privateuse1_backend_name()
        numbered = kind in ("cuda", "xpu", custom) and index.isdecimal() and len(index) < 4
        return value in ("cpu", "cuda", "mps", "xpu", custom) or (bool(colon) and numbered)

    def hint(self, value: Any) -> str:
        if isinstance(value, str) and value.lower().startswith(("gpu", "cuda")):
            number = "".join(filter(str.isdecimal, value))
            return f'A GPU is "cuda{":" + number if number else ""}".'
        return did_you_mean(value, ("cpu", "cuda", "mps")) or super().hint(value)

    def __str__(self) -> str:
        return '"cpu", "cuda", "cuda:N" (N a GPU\'s number), "mps" or "xpu"'


class Template(Words):
    """A prompt template, or the name of a set of them."""

    def allows(self, value: Any) -> bool:
        if not isinstance(value, str) or len(value) > 1000:
            return False
        one_name = value.count("{}") == 1 and not set(value.replace("{}", "")) & set("{}")
        return value in TEMPLATE_SETS or (value.isprintable() and one_name)

    def hint(self, value: Any) -> str:
        return did_you_mean(value, TEMPLATE_SETS) or super().hint(value)

    def __str__(self) -> str:
        return f"a sentence with one {{}}, or a set: {', '.join(TEMPLATE_SETS)}"


class Override(Rule):
    """[data set, key, value]: a value that holds on one data set."""

    def fit(self, value: Any) -> Any:
        if not self._known(value):
            return value
        return [value[0], value[1], _rule(value[1]).fit(value[2])]

    def allows(self, value: Any) -> bool:
        return self._known(value) and bool(value[0]) and _rule(value[1]).allows(_rule(value[1]).fit(value[2]))

    def hint(self, value: Any) -> str:
        if not isinstance(value, list | tuple) or len(value) != 3:
            return "Write it as [[voc21, TEST.BACKGROUND_THRESHOLD, 0.1]]."
        if value[1] in OVERRIDABLE:
            return f"{value[1]} must be {_rule(value[1])}."
        return did_you_mean(value[1], OVERRIDABLE)

    def __str__(self) -> str:
        return f"[data set, key, value], the key one of {', '.join(OVERRIDABLE)}"

    @staticmethod
    def _known(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) == 3
            and all(isinstance(word, str) for word in value[:2])
            and value[1] in OVERRIDABLE
        )


def _rule(name: str) -> Rule:
    from physseg.config.keys import KEYS  # the table is made of these rules

    return KEYS[name].rule


class ExpectedResult(Rule):
    """[task, metric, value, tolerance], as Detectron2 compares them."""

    def allows(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or len(value) != 4:
            return False
        words, numbers = value[:2], value[2:]
        return all(isinstance(w, str) for w in words) and all(
            type(n) in (int, float) and abs(n) < 1e300 for n in numbers
        )

    def __str__(self) -> str:
        return "[task, metric, value, tolerance]"
