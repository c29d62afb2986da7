"""What docs/first_use.md and the README's first screen tell a user to type, typed."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import physseg_start

ROOT = Path(__file__).resolve().parents[1]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def physseg_command(monkeypatch, tmp_path):
    """Run a line in another folder than the project's, with no models fetched before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path / "home"))

    def run(line):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        return physseg_start.command()

    return run


@pytest.mark.parametrize(
    ("page", "end"), [("docs/first_use.md", ""), ("README.md", "\n## Two commands")], ids=["page", "first screen"]
)
def test_every_command_and_snippet(physseg_command, capsys, tmp_path, page, end):
    text = (ROOT / page).read_text()
    text = text[: text.index(end)] if end else text
    (tmp_path / "photo.jpg").write_bytes((ROOT / "docs" / "images" / "structures_photo.jpg").read_bytes())
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    assert lines
    for line in lines:
        status = physseg_command(line)
        said = capsys.readouterr()
        if line.startswith("physseg predict") and "--model toy" not in line:
            assert (status, "Cannot fetch https://" in said.err) == (1, True), said.err
        else:
            assert status == 0, said.err
        if line.startswith("physseg toy-scene"):
            shown = said.out.split("It shows: ")[1].strip()
            assert shown in text.replace("\n", " ")
    names = {}
    for block in blocks(text, "python"):
        exec(block, names)
    assert {"labels", "predictor"} <= names.keys()


def test_pictures_are_there():
    for page in (ROOT / "README.md", ROOT / "docs" / "first_use.md"):
        pictures = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())
        assert pictures
        assert all((page.parent / picture).is_file() for picture in pictures)
