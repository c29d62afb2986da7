"""The installer on a small made-up Detectron2 in a made-up carrier wheel: intact, and tampered with."""

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import install_detectron2 as installer
import pytest

INIT = "detectron2/__init__.py"
BUILD = "detectron2/data/build.py"
CHANGED = "detectron2/checkpoint/c2_model_loading.py"
SOURCES = {INIT: b'__version__ = "0.6"\n', BUILD: b"x = 1\n", CHANGED: b"# log()\n"}
# What the carriers hold beside Detectron2; none of it may be installed.
FOREIGN = {
    "utils/plots.py": b"raise SystemExit\n",
    "detectron2/utils/visualizer_new.py": b"import utils\n",
    "detectron2/layers/csrc/vision.cpp": b"int main() {}\n",
    "carrier-1.0.dist-info/METADATA": b"Name: carrier\n",
}


def write_wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    """Path of an intact carrier; the installer knows its hashes and those of its Detectron2."""
    wheel = write_wheel(tmp_path / "carrier-1.0-py3-none-any.whl", {**SOURCES, **FOREIGN})
    upstream = {**SOURCES, CHANGED: b"log()\n", "detectron2/projects/__init__.py": b"p\n"}
    lines = [f"{installer.blob_hash(content)}  {name}\n" for name, content in upstream.items()]
    hash_list = tmp_path / "hashes.sha1"
    hash_list.write_text("".join(lines))
    monkeypatch.setattr(installer, "HASH_LIST", hash_list)
    monkeypatch.setattr(installer, "ACCEPTED_CHANGES", {CHANGED: installer.blob_hash(SOURCES[CHANGED])})
    trust(monkeypatch, wheel)
    return wheel


def trust(monkeypatch, wheel):
    known = installer.Carrier("carrier==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(installer, "CARRIERS", (installer.Carrier("first==1.0", "0" * 64), known))


@pytest.fixture
def pip_calls(monkeypatch):
    """Arguments that pip would have been called with; the calls succeed and do nothing."""
    calls = []

    def record(*arguments):
        calls.append(arguments)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(installer, "run_pip", record)
    return calls


def test_blob_hash_is_gits():
    # `git hash-object` of an empty file and of "hello\n".
    assert installer.blob_hash(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert installer.blob_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_shipped_hash_list_is_whole():
    hashes = installer.read_hash_list()
    assert len(hashes) == 150
    assert all(len(digest) == 40 for digest in hashes.values())
    assert installer.MAY_BE_ABSENT | installer.ACCEPTED_CHANGES.keys() <= hashes.keys()
    assert not installer.LEFT_OUT & hashes.keys()


def test_built_wheel_holds_detectron2_alone(carrier, tmp_path, capsys):
    assert installer.main(["--wheel", str(carrier), "--output", str(tmp_path / "out")]) == 0
    assert "3 files agree" in capsys.readouterr().out
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.name == "detectron2-0.6+0ad20f1-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        code = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert code == SOURCES


def test_same_sources_give_the_same_wheel(carrier, tmp_path):
    first = installer.make_wheel(carrier, tmp_path / "a").read_bytes()
    assert installer.make_wheel(carrier, tmp_path / "b").read_bytes() == first


def test_pip_lists_the_wheel_and_its_requirements(carrier, tmp_path):
    wheel = installer.make_wheel(carrier, tmp_path / "out")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, timeout=120)
    (distribution,) = importlib.metadata.distributions(path=[str(target)])
    assert (distribution.name, distribution.version) == ("detectron2", "0.6+0ad20f1")
    assert {"torch>=1.8", "hydra-core>=1.1"} <= set(distribution.requires)
    # What `pip uninstall` removes: every file, each with the hash it was recorded with.
    installed = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {str(file) for file in distribution.files} == installed
    for file in distribution.files:
        if file.hash:
            assert installer.record_hash(file.locate().read_bytes()) == f"sha256={file.hash.value}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({BUILD: b"x = 2\n"}, f"{BUILD}: content differs"),
        ({CHANGED: b"log(1)\n"}, f"{CHANGED}: content differs"),
        ({"detectron2/extra.py": b""}, "detectron2/extra.py: not a file of Detectron2"),
        ({"detectron2/../evil.py": b""}, "detectron2/../evil.py: not a file of Detectron2"),
        ({BUILD: None}, f"{BUILD}: missing"),
    ],
)
def test_wrong_content_is_named_and_nothing_installed(
    change, message, carrier, tmp_path, monkeypatch, capsys, pip_calls
):
    files = {name: content for name, content in {**SOURCES, **FOREIGN, **change}.items() if content is not None}
    write_wheel(carrier, files)
    trust(monkeypatch, carrier)
    monkeypatch.setattr(installer, "describe_installed", lambda: None)
    assert installer.main(["--wheel", str(carrier)]) == 1
    assert installer.main(["--wheel", str(carrier), "--output", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert pip_calls == []
    assert not (tmp_path / "out").exists()


def test_a_file_listed_twice_is_refused(carrier):
    with zipfile.ZipFile(carrier, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(BUILD, SOURCES[BUILD])
    with pytest.raises(installer.InstallError, match=r"build\.py: listed twice"):
        installer.read_verified_sources(carrier, installer.read_hash_list())


def test_unknown_carrier_is_refused_by_its_sha256(carrier, tmp_path, capsys, pip_calls):
    other = tmp_path / "other.whl"
    other.write_bytes(carrier.read_bytes() + b" ")
    assert installer.main(["--wheel", str(other), "--output", str(tmp_path / "out")]) == 1
    assert "other.whl: its sha256 is" in capsys.readouterr().err
    assert installer.main(["--wheel", str(tmp_path / "absent.whl"), "--output", str(tmp_path / "out")]) == 1
    assert "there is no such file" in capsys.readouterr().err
    assert pip_calls == []
    assert not (tmp_path / "out").exists()


def test_not_a_wheel(tmp_path):
    path = tmp_path / "broken.whl"
    path.write_bytes(b"PK")
    with pytest.raises(installer.InstallError, match=r"broken.whl: not a readable wheel"):
        installer.read_verified_sources(path, {})


def test_second_carrier_is_tried(carrier, tmp_path, monkeypatch, capsys):
    tried = []

    def only_the_second(*arguments):
        tried.append(arguments[-1])
        if arguments[-1] == "first==1.0":
            return SimpleNamespace(returncode=1)
        destination = arguments[arguments.index("--dest") + 1]
        (installer.Path(destination) / carrier.name).write_bytes(carrier.read_bytes())
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(installer, "run_pip", only_the_second)
    assert installer.main(["--output", str(tmp_path / "out")]) == 0
    assert tried == ["first==1.0", "carrier==1.0"]
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_checked_wheel_is_handed_to_pip(carrier, monkeypatch, pip_calls, capsys):
    found = iter([None, "0.6+0ad20f1 in /site/detectron2"])
    monkeypatch.setattr(installer, "describe_installed", lambda: next(found))
    assert installer.main(["--wheel", str(carrier)]) == 0
    ((command, wheel),) = pip_calls
    assert command == "install"
    assert wheel.endswith("detectron2-0.6+0ad20f1-py3-none-any.whl")
    assert "Installed Detectron2 0.6+0ad20f1 in /site/detectron2" in capsys.readouterr().out


def run_script(*arguments, **environment):
    command = [sys.executable, installer.__file__, *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_no_index_says_what_to_do(tmp_path):
    result = run_script("--output", str(tmp_path / "out"), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert result.returncode == 1
    assert "python -m pip download --no-deps roof-mask-Yv8==0.5.9" in result.stderr
    assert "--wheel FILE" in result.stderr
    assert not (tmp_path / "out").exists()


def test_installed_detectron2_is_kept_and_reported(tmp_path):
    package = tmp_path / "detectron2"
    package.mkdir()
    # Even one that cannot be imported right now: it is the user's.
    (package / "__init__.py").write_text('import absent_module\n\n__version__ = "9.9"\n')
    result = run_script(PYTHONPATH=str(tmp_path))
    assert result.returncode == 0
    assert result.stdout == f"Keeping Detectron2 9.9 in {package}\n"
