"""The table of keys. A new key is one row in its area: name, default, what it may be, why."""

from physseg.config.key import Area, Key
from physseg.config.keys.clip_alone import CLIP_ALONE
from physseg.config.keys.data import DATASETS, INPUT, LOADER, PAIRS
from physseg.config.keys.groups import GROUPS, SEGCLIP, ZEROSEG
from physseg.config.keys.losses import LOSSES, STRUCTURE
from physseg.config.keys.model import AGGREGATION, APPEARANCE, CLIP, TEXT
from physseg.config.keys.pacl import PACL
from physseg.config.keys.test import EVALUATION, TEST
from physseg.config.keys.training import ENGINE, SOLVER

AREAS: tuple[Area, ...] = (
    *(CLIP, TEXT, CLIP_ALONE, PACL, GROUPS, SEGCLIP, ZEROSEG, APPEARANCE, AGGREGATION, LOSSES, STRUCTURE),
    *(INPUT, PAIRS, LOADER, DATASETS, SOLVER, ENGINE, TEST, EVALUATION),
)
KEYS: dict[str, Key] = {key.name: key for area in AREAS for key in area.keys}
