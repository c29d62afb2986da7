"""A few pictures with captions, on disk."""

import io
import itertools
import json
import tarfile

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


def write_tar(path, samples):
    """Write a webdataset shard; samples are (key, {suffix: bytes or text or array})."""
    with tarfile.open(path, "w") as tar:
        for key, members in samples:
            for suffix, value in members.items():
                if isinstance(value, np.ndarray):
                    stream = io.BytesIO()
                    Image.fromarray(value).save(stream, "PNG")
                    value = stream.getvalue()
                value = value.encode() if isinstance(value, str) else value
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return path


def picture(red):
    """A small picture whose red channel is the number."""
    array = np.full((20, 20, 3), 128, np.uint8)
    array[..., 0] = red
    return array


@pytest.fixture
def write_tars(tmp_path):
    """Function: samples of each shard -> their paths; sample n over all shards shows n, "number n"."""

    def write(counts):
        numbers = iter(range(sum(counts)))
        return [
            str(
                write_tar(
                    tmp_path / f"{shard:05d}.tar",
                    [(f"{n:06d}", {"png": picture(n), "txt": f"number {n}"}) for n in itertools.islice(numbers, count)],
                )
            )
            for shard, count in enumerate(counts)
        ]

    return write
