"""Keys whose value depends on the data set."""

from physseg import load_config
from physseg.data.overrides import config_of_dataset, overridden_datasets

OVERRIDES = [
    ["voc21", "TEST.BACKGROUND_THRESHOLD", 0.1],
    ["voc21", "INPUT.MIN_SIZE_TEST", 336],
    ["my_own", "INPUT.MIN_SIZE_TEST", 560],
]


def test_a_data_set_by_key_or_registered_name():
    cfg = load_config(None, ["TEST.OVERRIDES", OVERRIDES])
    assert overridden_datasets(cfg) == ["voc_2012_test_21_sem_seg", "my_own"]
    voc = config_of_dataset(cfg, "voc_2012_test_21_sem_seg")
    assert (voc.TEST.BACKGROUND_THRESHOLD, voc.INPUT.MIN_SIZE_TEST) == (0.1, 336)
    assert config_of_dataset(cfg, "my_own").INPUT.MIN_SIZE_TEST == 560
    # The config itself stays, and serves where nothing is overridden.
    assert (cfg.TEST.BACKGROUND_THRESHOLD, cfg.INPUT.MIN_SIZE_TEST) == (0.0, 640)
    assert config_of_dataset(cfg, "voc_2012_test_sem_seg") is cfg
    cfg.freeze()
    assert config_of_dataset(cfg, "my_own").is_frozen()
