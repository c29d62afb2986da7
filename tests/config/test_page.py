from pathlib import Path

from physseg.config.keys import AREAS, KEYS
from physseg.config.page import config_page


def test_the_committed_page_is_current():
    page = Path("docs/config.md").read_text(encoding="utf-8")
    assert page == config_page(), "run: python -m physseg.config --write docs/config.md"


def test_every_row_is_one_key_with_a_reason():
    assert sum(len(area.keys) for area in AREAS) == len(KEYS)
    assert all(key.why.endswith((".", ")")) and "|" not in key.why for key in KEYS.values())
