"""A webdataset shard, local or remote, as records: an image with its captions beside it, read from front to back."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from physseg.data.images import IMAGE_EXTENSIONS, BrokenFileError, decode_image

_END_OF_ARCHIVE = 512
_COMPRESSED = (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5")


def expand_tars(patterns: Sequence[str]) -> list[str]:
    """Every shard of paths and URLs with braces, ``{00000..00331}``, in their order.

    Raises:
        ImportError: the extra "pairs" is not installed.
        ValueError: one comes twice, or there is none.
    """
    from webdataset.shardlists import expand_urls

    tars = [tar for pattern in patterns for tar in expand_urls(pattern)]
    doubles = sorted({tar for tar in tars if tars.count(tar) > 1}) if len(set(tars)) < len(tars) else []
    if doubles or not tars:
        raise ValueError(f"tars: {f'{doubles[0]} comes twice' if doubles else 'no shard'} in {', '.join(patterns)}")
    return tars


def read_tar(tar: str) -> Iterator[dict[str, Any] | BrokenFileError]:
    """The samples of a shard as they are stored: suffix -> bytes, and ``__key__``.

    Where the shard ends too early, or cannot be opened, the error comes as the last item, after all that could be read.

    Args:
        tar: a path, or what webdataset opens: http(s)://, s3:// and gs:// by their command-line tools, hf://, or
            pipe:COMMAND, which runs a shell command.
    """
    from webdataset.gopen import gopen
    from webdataset.tariterators import group_by_keys, tar_file_expander

    problems: list[Exception] = []

    def note(error: Exception) -> bool:
        problems.append(error)
        return True

    try:
        stream = _Watched(gopen(tar))
    except Exception as error:  # of whichever tool opens it
        yield BrokenFileError(f"cannot open {tar}: {error}")
        return
    with stream:
        # By the handlers, what was read of a sample before the damage comes too.
        yield from group_by_keys(tar_file_expander([{"url": tar, "stream": stream}], handler=note), handler=note)
        try:
            stream.finish()
        except OSError as error:  # a download that failed says so at its end
            problems.append(error)
    if problems:
        yield BrokenFileError(
            f"{tar} is damaged or cut short: {problems[0].args[0] if problems[0].args else problems[0]}"
        )
    elif not stream.ended_well:
        yield BrokenFileError(f"{tar} is cut short: it does not end as a tar does; fetch it again")


def decode_record(sample: Mapping[str, Any], tar: str, captions: bool) -> dict[str, Any]:
    """A record for `PairMapper`, its image decoded.

    The captions are those of a member .txt (UTF-8), or of a .json's ``captions``, ``caption`` or ``text``; a .json may
    hold ``image_id``, which marks siblings, and ``nouns``.

    Args:
        sample: of `read_tar`.
        captions: whether there must be one.

    Raises:
        BrokenFileError: no image, one that cannot be decoded, no caption, an empty one, or one that is not UTF-8.
    """
    name = f"{tar}/{sample['__key__']}"
    members = {suffix.rpartition(".")[2]: value for suffix, value in sample.items() if not suffix.startswith("__")}
    suffix = next((suffix for suffix in members if f".{suffix}" in IMAGE_EXTENSIONS), None)
    if suffix is None:
        raise BrokenFileError(f"{name} has no image, only {', '.join(sorted(members)) or 'nothing'}")
    about = _json(members["json"], name) if "json" in members else {}
    record = {"file_name": f"{name}.{suffix}", "image_id": str(about.get("image_id", name))}
    if captions:
        record["captions"] = _captions(members, about, name)
        record["nouns"] = tuple(map(str, about.get("nouns") or ()))
    return record | {"array": decode_image(members[suffix], record["file_name"])}


def _captions(members: Mapping[str, bytes], about: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found: Any = _text(members["txt"], name) if "txt" in members else None
    if found is None:
        found = about.get("captions") or about.get("caption") or about.get("text")
    texts = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    kept = tuple(" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip())
    if not kept:
        raise BrokenFileError(f"{name} has no caption" if found is None else f"{name}: its caption is empty")
    return kept


def _json(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        content = json.loads(_text(data, name))
    except ValueError as error:
        raise BrokenFileError(f"{name}.json is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise BrokenFileError(f"{name}.json holds no mapping")
    return content


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{name}: its text is not UTF-8 (byte {error.start})") from None


class _Watched:
    """A stream that remembers its first and last bytes: Python takes a tar that ends between two members for whole."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._head = self._tail = b""

    def read(self, *size: int) -> bytes:
        data = self._stream.read(*size)
        self._head = self._head or data[:2]
        self._tail = (self._tail + data)[-_END_OF_ARCHIVE:]
        return data

    def finish(self) -> None:
        """Read what padding is left, and close."""
        while self.read(1 << 16):
            pass
        self._stream.close()

    @property
    def ended_well(self) -> bool:
        """Whether the last block is the zeros that end a tar; compressed ones carry their own check."""
        return self._head.startswith(_COMPRESSED) or self._tail == bytes(_END_OF_ARCHIVE)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_: object) -> None:
        # A download that is not wanted to its end breaks off with an error.
        with contextlib.suppress(OSError):
            self._stream.close()


def shuffled_blocks(samples: Iterator[Any], size: int, seed: Sequence[int]) -> Iterator[Any]:
    """The items in blocks of `size`, each in an order that the seed and the block's number decide.

    Unlike a shuffle buffer it has no memory of what went before: from where one stopped it can be taken up again.
    """
    block: list[Any] = []
    number = 0
    for sample in samples:
        block.append(sample)
        if len(block) == size:
            yield from _shuffled(block, [*seed, number])
            block, number = [], number + 1
    yield from _shuffled(block, [*seed, number])


def _shuffled(block: list[Any], seed: list[int]) -> Iterator[Any]:
    for index in np.random.default_rng(seed).permutation(len(block)):
        yield block[index]
