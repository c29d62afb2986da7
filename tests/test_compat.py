"""physseg.compat against small made-up Detectron2 trees, old and new, and against the installed one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator

ROOT = Path(__file__).resolve().parents[1]
# compat stands alone: a made-up Detectron2 would not do for the rest of physseg.
RUN_COMPAT = f"import runpy; runpy.run_path({str(ROOT / 'physseg' / 'compat.py')!r})\n"

OLD = {
    "__init__.py": "",
    "data/__init__.py": "",
    "data/transforms/__init__.py": "from .transform import resize",
    "data/transforms/transform.py": "from PIL import Image\ndef resize(interp=Image.LINEAR): return interp",
    "evaluation/__init__.py": "",
    "evaluation/sem_seg_evaluation.py": (
        "import numpy as np\n"
        "def truncated(): return np.array([1.7, np.pi], dtype=np.int).tolist()\n"
        "def loaded(data): return np.array(data, copy=False), np.array(data)\n"
        "def kinds(): return np.float, np.str, np.bool\n"
    ),
}
NEW = {
    "__init__.py": "",
    "data/__init__.py": "raise RuntimeError('imported for nothing')",
    "data/transforms/transform.py": "from PIL import Image\ndef resize(interp=Image.BILINEAR): return interp",
    "evaluation/__init__.py": "raise RuntimeError('imported for nothing')",
    "evaluation/sem_seg_evaluation.py": "import numpy as np\ndef f(): return np.array([1.7], dtype=np.int64)",
}


def run_python(code, folder, files=()):
    """Run code in a fresh interpreter whose Detectron2 consists of the given files."""
    for name, text in dict(files).items():
        path = folder / "detectron2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_absent_detectron2_says_how_to_get_it(tmp_path):
    result = run_python("import sys; sys.modules['detectron2'] = None; import physseg.compat", tmp_path)
    assert result.returncode == 1
    assert "ImportError: physseg needs Detectron2" in result.stderr
    assert "python tools/install_detectron2.py" in result.stderr


def test_broken_detectron2_reports_its_own_error(tmp_path):
    result = run_python(RUN_COMPAT, tmp_path, {"__init__.py": "import absent_module"})
    assert "ModuleNotFoundError: No module named 'absent_module'" in result.stderr
    assert "physseg needs" not in result.stderr


def test_old_sources_run(tmp_path):
    code = """
import numpy, PIL.Image
from detectron2.data.transforms import resize
from detectron2.evaluation.sem_seg_evaluation import kinds, loaded, truncated
assert resize() == PIL.Image.BILINEAR
assert truncated() == [1, 3]
assert kinds()[:2] == (float, str) and kinds()[2](1) == True
assert loaded([1, 2])[0].tolist() == [1, 2]
array = numpy.zeros(2)
same, other = loaded(array)
assert same is array and other is not array
"""
    result = run_python(RUN_COMPAT + code, tmp_path, OLD)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("files", [OLD, NEW])
def test_pillow_and_numpy_stay_as_they_are(files, tmp_path):
    code = f"""
import numpy, PIL.Image
before = [dict(vars(numpy)), dict(vars(PIL.Image))]
{RUN_COMPAT}
old_names = ("LINEAR", "int", "float", "bool", "str", "object")
for module, names in zip((numpy, PIL.Image), before):
    assert all(vars(module).get(name) is names.get(name) for name in old_names)
"""
    result = run_python(code, tmp_path, files)
    assert result.returncode == 0, result.stderr


def test_new_sources_are_not_touched(tmp_path):
    result = run_python(RUN_COMPAT, tmp_path, NEW)
    assert result.returncode == 0, result.stderr


def test_warnings_about_detectron2_s_own_use_of_pytorch_are_left_out(tmp_path):
    code = """
import warnings, torch
import physseg.compat, fvcore.nn
warnings.warn("of the user's own", FutureWarning)
"""
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "torch.jit.script" not in result.stderr
    assert "of the user's own" in result.stderr


def test_installed_detectron2_evaluates(tmp_path):
    """Its own evaluator runs on this Pillow and NumPy: two classes, one pixel of four wrong."""
    image, label = str(tmp_path / "a.jpg"), str(tmp_path / "a.png")
    PIL.Image.fromarray(np.array([[0, 0], [1, 1]], dtype=np.uint8)).save(label)
    DatasetCatalog.register("compat_test", lambda: [{"file_name": image, "sem_seg_file_name": label}])
    MetadataCatalog.get("compat_test").set(stuff_classes=["a", "b"], ignore_label=255)
    try:
        evaluator = SemSegEvaluator("compat_test", distributed=False)
        evaluator.reset()
        scores = np.zeros((2, 2, 2), dtype=np.float32)
        scores[1, 1] = scores[1, 0, 1] = 1
        evaluator.process([{"file_name": image}], [{"sem_seg": torch.from_numpy(scores)}])
        result = evaluator.evaluate()["sem_seg"]
    finally:
        DatasetCatalog.remove("compat_test")
        MetadataCatalog.remove("compat_test")
    assert result["pACC"] == pytest.approx(75)
    # Class a: 1 of 2 right, union 2. Class b: 2 right, union 3.
    assert result["mIoU"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
