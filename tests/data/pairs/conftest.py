"""A few pictures with captions, on disk."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_pairs(tmp_path):
    """Function: captions of each image -> (captions file, folder of images); image k is k in red, 40x(30 + k)."""

    def write(captions, **more):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        images, annotations = [], []
        for number, texts in enumerate(captions, 1):
            name = f"{number:012d}.png"
            picture = np.full((30 + number, 40, 3), 128, np.uint8)
            picture[..., 0] = number
            Image.fromarray(picture).save(folder / name)
            images.append({"id": number, "file_name": name})
            annotations += [{"id": len(annotations) + i, "image_id": number, "caption": t} for i, t in enumerate(texts)]
        path = tmp_path / "captions.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations} | more))
        return path, folder

    return write
