"""Where CLIP weights come from, and what is said when they cannot be had."""

import open_clip
import pytest
import torch

from physseg.modeling.clip.weights import create_clip


def test_no_network_says_how_to_give_a_file(monkeypatch):
    create_model = open_clip.create_model

    def offline(*args, pretrained=None, **options):
        if pretrained:
            raise OSError("no route to host")
        return create_model(*args, **options)

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(ConnectionError, match=r"set MODEL.CLIP.PRETRAINED to its path, or set MODEL.WEIGHTS"):
        create_clip("ViT-B-32-quickgelu", "openai")


def test_missing_file_and_unknown_tag_and_name_are_named():
    with pytest.raises(FileNotFoundError, match=r"MODEL.CLIP.PRETRAINED: no file .*nowhere.pt"):
        create_clip("physseg-toy", "nowhere.pt")
    with pytest.raises(ValueError, match=r"MODEL.CLIP.PRETRAINED: 'physseg-toy' has no weights 'laion400m'"):
        create_clip("physseg-toy", "laion400m")
    with pytest.raises(ValueError, match=r"MODEL.CLIP.NAME: open_clip has no model 'ViT-Z'"):
        create_clip("ViT-Z", "")
    with pytest.raises(ValueError, match=r"'RN50' is not a plain ViT"):
        create_clip("RN50", "")


def test_checkpoint_of_a_whole_model_is_sent_to_the_right_key(tmp_path):
    torch.save({"model": {"clip.weight": torch.zeros(1)}}, tmp_path / "model_final.pth")
    with pytest.raises(
        ValueError, match=r"is a checkpoint of a whole model, not of CLIP alone: set MODEL.WEIGHTS to it"
    ):
        create_clip("physseg-toy", str(tmp_path / "model_final.pth"))
