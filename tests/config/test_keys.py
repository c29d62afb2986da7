"""Every key against wrong values of every kind, by file, by command line and in a config built by hand."""

from itertools import zip_longest

import pytest
from detectron2.config import get_cfg

from physseg.config import add_physseg_config, check_config, load_config
from physseg.config.check import value_of
from physseg.config.keys import KEYS
from tests.config.wrong_values import wrong_values

NONE_LEFT = object()
# The n-th wrong value of every key, for each n: all mistakes of a config are told at once.
ROUNDS = list(zip_longest(*(wrong_values(key.rule) for key in KEYS.values()), fillvalue=NONE_LEFT))


def mistakes(values):
    return {name: value for name, value in zip(KEYS, values, strict=True) if value is not NONE_LEFT}


def told(error, names):
    lines = str(error.value).splitlines()
    return [name for name in names if not any(f"{name} must be " in line for line in lines)]


def test_there_are_many():
    kinds = [len(mistakes(values)) for values in ROUNDS]
    assert sum(kinds) > 20 * len(KEYS)
    assert kinds[0] == len(KEYS)


@pytest.mark.parametrize("number", range(len(ROUNDS)))
def test_wrong_values_are_refused_by_name(number):
    wrong = mistakes(ROUNDS[number])
    with pytest.raises(ValueError, match=" must be ") as error:
        load_config(None, [word for pair in wrong.items() for word in pair])
    assert told(error, wrong) == []
    # A message for people, whatever the value.
    assert max(map(len, str(error.value).splitlines())) < 1000


@pytest.mark.parametrize("number", range(0, len(ROUNDS), 7))
def test_a_config_built_by_hand_meets_the_same_check(number):
    cfg = get_cfg()
    add_physseg_config(cfg)
    wrong = mistakes(ROUNDS[number])
    # Text is read as a literal in load_config only: here yacs has done so.
    for name, value in wrong.items():
        *sections, leaf = name.split(".")
        dict.__setitem__(value_of(cfg, ".".join(sections)) if sections else cfg, leaf, value)
    with pytest.raises(ValueError, match=" must be ") as error:
        check_config(cfg)
    assert told(error, wrong) == []


def test_defaults_are_right():
    cfg = get_cfg()
    add_physseg_config(cfg)
    check_config(cfg)
    for name, key in KEYS.items():
        assert key.rule.allows(key.rule.fit(key.default)), name
        assert type(value_of(cfg, name)) is type(key.default), name


def test_a_config_without_the_keys():
    with pytest.raises(ValueError, match=r"MODEL.CLIP.NAME is missing: call physseg.add_physseg_config\(cfg\)"):
        check_config(get_cfg())
