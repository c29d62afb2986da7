"""YAML that is no config, by kinds: each ends in one message that names the file, and soon."""

import os

import pytest

from physseg.config import load_config
from physseg.config.yaml_files import read_config_chain, read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))

NOT_YAML = {
    "a list": ("[1, 2]", r"expected a YAML mapping of config keys, got list"),
    "a word": ("SEED", r"expected a YAML mapping of config keys, got str"),
    "a number": ("3", r"got int"),
    "unclosed": ("SOLVER: {MAX_ITER", r"not valid YAML. Line 1, column 18: "),
    "a tab": ("SOLVER:\n\tMAX_ITER: 3\n", r"Line 2, column 1: .* Indent with spaces, not tabs"),
    "a key twice": ("SEED: 1\nSEED: 2\n", r"not valid YAML. Line 2, column 1: the key SEED stands there twice"),
    "a key twice below": ("SOLVER: {MAX_ITER: 1, MAX_ITER: 1}", r"the key MAX_ITER stands there twice"),
    "a key twice, dotted": ("SOLVER: {MAX_ITER: 1}\nSOLVER.MAX_ITER: 2", r"yaml: SOLVER.MAX_ITER stands there twice"),
    "an octal number": ("SEED: 0100", r"not valid YAML. Line 1, column 7: 0100 would be read as an octal number"),
    "a time": ("SOLVER: {MAX_ITER: 1:30}", r"1:30 would be read as"),
    "a time with a point": ("SOLVER: {BASE_LR: 1:30.5}", r"1:30.5 would be read as"),
    "two documents": ("SEED: 1\n---\nSEED: 2\n", r"not valid YAML"),
    "an unknown alias": ("SEED: *other", r"not valid YAML. .*undefined alias"),
    "Python objects": ("SEED: !!python/object/apply:os.system ['echo it ran']", r"only plain YAML is read"),
    "a tag of one's own": ("SEED: !number 3", r"only plain YAML is read"),
    "a bomb of aliases": (BOMB, r"unfolds to more than 100,000 values"),
    "a list in itself": ("SEED: &a [*a]", r"nested more than 40 deep"),
    "nested without end": ("SEED: " + "[" * 5000 + "]" * 5000, r"nested"),
    "nested mappings": ("".join(f"{' ' * i}a:\n" for i in range(300)), r"nested"),
    "a key that is a list": ("? [1]\n: 2", r"not valid YAML"),
    "a number as key": ("3: 4", r"unknown config key 3\."),
    "no key": ("~: 4", r"unknown config key None\."),
    "an empty key": ("'': 4", r"unknown config key ''\."),
    "a long key": ("? " + "A" * 5000 + "\n: 4", r"unknown config key 'AAA.* \.\.\.\."),
    "a section for a value": ("SOLVER: 3", r"SOLVER is a section with keys of its own"),
    "a value for a section": ("SOLVER: {MAX_ITER: {X: 3}}", r"unknown config key SOLVER.MAX_ITER.X"),
    "a date": ("SEED: 2020-01-01", r"SEED must be a whole number"),
    "bytes": ("SEED: !!binary aGFsbG8=", r"SEED must be a whole number"),
    "a zero byte": ("SEED: \0", r"not valid YAML"),
}  # fmt: skip

NO_BASE = ["3", "1.5", "True", "''", "' '", "~", "{a: b}", "[1]", "[[a.yaml]]", "[~]", "{}"]


def write(folder, text, name="config.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("text", "message"), NOT_YAML.values(), ids=NOT_YAML)
def test_what_is_no_config(text, message, tmp_path, capfd):
    with pytest.raises(ValueError, match=message) as error:
        load_config(write(tmp_path, text))
    assert "config.yaml" in str(error.value)
    assert len(str(error.value)) < 1000
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("SEED: 1".encode("utf-16"), r"not UTF-8 text \(byte 0\)"),
        ("SEED: 'é'".encode("latin-1"), r"not UTF-8 text \(byte 7\)"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"not UTF-8 text \(byte 0\)"),
        (b"SEED: 1\n" + b"#" * 11_000_000, r"11,000,008 bytes are too many for a config"),
    ],
)
def test_what_is_no_text(data, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, data))


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing\n", "---\n", "SOLVER:\n", "SOLVER: {}\n", "\ufeff# with a mark"]
)
def test_nothing_changes_nothing(text, tmp_path):
    assert load_config(write(tmp_path, text)).dump() == load_config(None).dump()


@pytest.mark.parametrize("base", NO_BASE)
def test_base_is_a_path_or_several(base, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_config(write(tmp_path, f"_BASE_: {base}"))
    assert "_BASE_" in str(error.value)
    assert "config.yaml" in str(error.value)


def test_no_base_at_all(tmp_path):
    assert load_config(write(tmp_path, "_BASE_: []\nSEED: 5")).SEED == 5


def test_bases_in_a_circle(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "sub/../a")):
        write(tmp_path, f"_BASE_: {base}.yaml", f"{name}.yaml")
    (tmp_path / "sub").mkdir()
    with pytest.raises(ValueError, match="inherits from itself by _BASE_"):
        load_config(tmp_path / "a.yaml")


def test_one_file_by_two_ways_is_no_circle(tmp_path):
    write(tmp_path, "SEED: 5", "root.yaml")
    write(tmp_path, "_BASE_: root.yaml", "a.yaml")
    write(tmp_path, "_BASE_: root.yaml", "b.yaml")
    assert load_config(write(tmp_path, "_BASE_: [a.yaml, b.yaml]")).SEED == 5


def test_files_that_multiply(tmp_path):
    write(tmp_path, "SEED: 5", "0.yaml")
    for number in range(1, 30):
        write(tmp_path, f"_BASE_: [{number - 1}.yaml, {number - 1}.yaml]", f"{number}.yaml")
    with pytest.raises(ValueError, match="more than 50 files by _BASE_"):
        load_config(tmp_path / "29.yaml")


@pytest.mark.parametrize(
    "name", ["gone.yaml", "", ".", "x" * 300, "a\0b", "~nobody_of_this_name/a.yaml", "deep/er/a.yaml"]
)
def test_files_that_are_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Config file (not found|is a folder): "):
        read_config_chain(name)
    with pytest.raises((FileNotFoundError, ValueError), match=r"config.yaml|Config file not found: ~nobody"):
        load_config(write(tmp_path, f'_BASE_: "{name}"'.replace("\0", "\\0")))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(FileNotFoundError, match="Config file not found"):
        load_config(tmp_path / "pipe.yaml")


def test_anchors_of_a_usual_size_are_read(tmp_path):
    text = "shared: &a {x: 1}\nfirst: {<<: *a, y: 2}\nsecond: [*a, *a]\n"
    content = {"shared": {"x": 1}, "first": {"x": 1, "y": 2}, "second": [{"x": 1}] * 2}
    assert read_yaml(write(tmp_path, text)) == content
