"""An image encoded once gives, for any words, what it gives when it is predicted whole."""

import pytest
import torch
from detectron2.modeling import build_model

from physseg.config import load_config
from tests.small_model import CONFIG, OPTS

WINDOWS = ("TEST.SLIDING_WINDOW", True, "TEST.WINDOW_SIZE", 96, "TEST.WINDOW_STRIDE", 64, "TEST.WINDOW_CANVAS", 160)


@pytest.mark.parametrize("opts", [(), ("TEST.CROP_PADDING", True), WINDOWS, (*WINDOWS, "TEST.KEEP_ASPECT", True)])
def test_an_encoded_image_is_predicted_for_any_words(opts):
    model = build_model(load_config(CONFIG, (*OPTS, "MODEL.TEXT.VOCABULARY", "pas20", *opts))).eval()
    x = {"image": torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8), "height": 35, "width": 44}
    encoded = model.encode_image(x)
    ran = []
    model.clip.register_forward_hook(lambda *_: ran.append(1))
    for names in (["cat", "dog"], ["cat", "dog", "grass"], None):
        words = {} if names is None else {"vocabulary": names}
        whole = model([x | words])[0]["sem_seg"]
        before = len(ran)
        assert torch.equal(model.predict_encoded(encoded, names)["sem_seg"], whole)
        labels = model.predict_encoded(encoded, names, "labels")
        assert len(ran) == before
        assert torch.equal(labels["labels"], whole.argmax(0))
        assert torch.equal(labels["scores"], whole.amax(0))
    assert ran
