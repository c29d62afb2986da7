"""What setup.py, constraints.txt and the Makefile promise."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import physseg

ROOT = Path(__file__).resolve().parents[1]
# Module to the name of the release that has it, where these differ.
RELEASES = {
    **{"PIL": "pillow", "cv2": "opencv-python-headless", "open_clip": "open-clip-torch", "skimage": "scikit-image"},
    "yaml": "pyyaml",
}


@pytest.fixture
def package(monkeypatch):
    """The arguments that setup.py gives to setuptools."""
    arguments = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


@pytest.fixture
def pins():
    """Name to requirement, of constraints.txt."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def test_every_requirement_is_pinned_within_its_range(package, pins):
    extras = package["extras_require"]
    wanted = package["install_requires"] + [
        line for extra in ("dev", "onnx", "superpoint", "kornia", "geo", "pairs", "web") for line in extras[extra]
    ]
    for requirement in map(Requirement, wanted):
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{pin} is not in {requirement}"


def imported_modules(*folders):
    """Top-level names of what the Python files in these folders import, wherever in the file."""
    modules = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module.split(".")[0])
    return modules


def test_requirements_are_what_the_package_imports(package):
    imported = imported_modules("physseg") - sys.stdlib_module_names - {"physseg", "physseg_start", "detectron2"}
    imported = {canonicalize_name(RELEASES.get(module, module)) for module in imported}
    required = {canonicalize_name(Requirement(line).name) for line in package["install_requires"]}
    optional = {
        canonicalize_name(Requirement(line).name) for lines in package["extras_require"].values() for line in lines
    }
    # Asked for by Detectron2, fvcore and Gradio in turn, and imported through them.
    assert imported - required - optional <= {"iopath", "yacs", "starlette"}
    # torchvision is imported by open_clip and Detectron2; it is named for its range, that of torch.
    assert required - {"torchvision"} <= imported


def test_requirements_leave_an_installed_torch_alone(package):
    (torch,) = (line for line in map(Requirement, package["install_requires"]) if line.name == "torch")
    for version in ("2.4.0", "2.4.0+cu121", "2.9.1+cpu", "2.14.1"):
        assert torch.specifier.contains(version)


def test_detectron2_is_left_to_its_installer(package):
    assert not any(line.startswith("detectron2") for line in package["install_requires"])


def test_every_data_file_is_packaged(package):
    patterns = package["package_data"]["physseg"]
    folder = ROOT / "physseg"
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    packaged = {path for pattern in patterns for path in folder.glob(pattern)}
    assert files <= packaged


def test_every_folder_with_code_is_a_package(package):
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "physseg").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} | {"physseg.configs"} == set(package["packages"])


def test_every_config_is_packaged(package):
    folder = ROOT / package["package_dir"]["physseg.configs"]
    packaged = {path for pattern in package["package_data"]["physseg.configs"] for path in folder.glob(pattern)}
    assert {path for path in folder.rglob("*") if path.is_file()} == packaged


def test_version_is_the_same_everywhere(package):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == package["version"] == physseg.__version__
    assert citation["license"] == package["license"]


@pytest.fixture
def make(tmp_path):
    """Runs make in a folder that has no .venv yet."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")

    def run(*arguments):
        return subprocess.run(
            ["make", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_make_alone_lists_the_targets(make):
    assert re.findall(r"^make (\S+)", make().stdout, re.MULTILINE) == [
        "demo",
        "demo-captions",
        "test",
        "lint",
        "setup",
    ]


def test_make_without_a_fitting_python_says_so(make):
    result = make("setup", "PYTHON=")
    assert result.returncode != 0
    assert "physseg needs Python 3.10 or newer" in result.stderr


def test_make_without_venv_module_says_so(make):
    result = make("setup", "PYTHON=false")
    assert result.returncode != 0
    assert "install the package python3-venv" in result.stderr


def test_environment_is_made_once(make, tmp_path):
    """With the stamp in place no set-up command is left to run."""
    stamp = tmp_path / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    assert "pip install" not in make("-n", "test").stdout
    (tmp_path / "constraints.txt").write_text("# changed\n")
    subprocess.run(["touch", "-d", "2000-01-01", stamp], check=True)
    assert "pip install" in make("-n", "test").stdout
