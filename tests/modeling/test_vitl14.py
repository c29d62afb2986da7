"""ViT-L/14@336 at full size (336 pixels, levels 7 and 15, width 1024) against the plain formulation."""

import open_clip
import torch

from physseg import PhysSeg, load_config
from physseg.modeling.catseg.names import to_catseg, to_physseg
from tests.reference import golden
from tests.reference.plain_catseg import VIT_L14, PlainCATSeg

NAMES = ["cat", "traffic light", "sea"]


@torch.no_grad()
def test_plain_inference_of_an_odd_sized_image(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(NAMES))
    opts = ["MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu", "MODEL.TEXT.VOCABULARY", str(words)]
    model = PhysSeg(load_config("configs/catseg_vitl14.yaml", [*opts, "TEST.SLIDING_WINDOW", False])).eval()
    assert (model.clip.levels, model.clip.width, model.clip.grid) == ((7, 15), 1024, 24)

    weights = golden.fill_state_dict(to_catseg(model.state_dict())[0])
    model.load_state_dict(to_physseg(weights)[0])
    plain = PlainCATSeg(VIT_L14)
    masks = {name: value for name, value in plain.state_dict().items() if name.endswith("attn_mask")}
    plain.load_state_dict(weights | masks, assign=True)

    image = golden.image(211, 333)
    prompts = [f"A photo of a {name} in the scene" for name in NAMES]
    tokens = open_clip.get_tokenizer("ViT-L-14-336-quickgelu")(prompts)[:, None]
    expected = plain.plain(image, plain.text_features(tokens), 211, 333)
    torch.testing.assert_close(model([{"image": image}])[0]["sem_seg"], expected, atol=1e-4, rtol=0)
