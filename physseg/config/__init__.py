"""Every configuration key of physseg, what it may be, and how a config is read and checked.

`keys` is the table: one row a key. `relations` says how keys fit together. docs/config.md is made of both.
"""

from physseg.config.check import check_config, check_device
from physseg.config.load import add_physseg_config, load_config

__all__ = ["add_physseg_config", "check_config", "check_device", "load_config"]
