"""One module per raw format: raw files of a data set -> label maps with train ids.

Each module has three functions:

* ``plan(spec, root) -> list[Job]``: one job per image of the split. Raises MissingInputError.
* ``convert(job, spec, root)``: writes the job's label map (and image, where the format makes one).
* ``expected_names(spec, root, thorough) -> list[str] | None``: names the split should have, as the raw data
  tell; None if they do not tell, or only by reading a large file and ``thorough`` is False.
"""

from types import ModuleType

from physseg.data.raw_formats import ade150, ade_full, cityscapes, coco_stuff, context59, context459, voc

FORMATS: dict[str, ModuleType] = {
    "ade150": ade150,
    "ade_full": ade_full,
    "cityscapes": cityscapes,
    "coco_stuff": coco_stuff,
    "context59": context59,
    "context459": context459,
    "voc": voc,
}
"""By ``BenchmarkSpec.raw_format``."""
