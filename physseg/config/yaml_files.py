"""Reading YAML config files safely.

Detectron2's own reader falls back to YAML that can run code. Here only plain YAML is read, of a size that a person
could have written, with each key once.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from physseg.shipped_configs import shipped_config, where_configs_are

_BASE_KEY = "_BASE_"
# A list of 10,000 class names is a tenth of either.
_MOST_BYTES, _MOST_VALUES = 10_000_000, 100_000
_MOST_FILES = 50
_MOST_DEPTH = 40


def read_config_chain(path: str | os.PathLike) -> list[tuple[Path, dict[str, Any]]]:
    """Contents of a config file and of the files it inherits from by ``_BASE_``, the most basic first.

    ``_BASE_`` is a path or a list of paths, relative to the file that names it. What is no file may be the name of a
    shipped config.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is no plain YAML mapping, ``_BASE_`` is no path, or a file inherits from itself.
    """
    chain: list[tuple[Path, dict[str, Any]]] = []
    _read_chain(_locate(_path(path), path), (), chain)
    return chain


def _read_chain(path: Path, children: tuple[Path, ...], chain: list[tuple[Path, dict[str, Any]]]) -> None:
    needed = f" (the {_BASE_KEY} of {children[-1]})" if children else ""
    if not os.path.isfile(path):  # pathlib's raises for a name that is too long
        what = "is a folder" if os.path.isdir(path) else "not found"
        raise FileNotFoundError(f"Config file {what}: {path}{needed}. {where_configs_are(path)}")
    resolved = path.resolve()
    if resolved in children:
        raise ValueError(f"{path}: this config inherits from itself by {_BASE_KEY}.")
    if len(chain) + len(children) >= _MOST_FILES:
        raise ValueError(f"{path}: more than {_MOST_FILES} files by {_BASE_KEY}{needed}.")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a YAML mapping of config keys, got {type(content).__name__}.")
    bases = content.pop(_BASE_KEY, [])
    bases = bases if isinstance(bases, list) else [bases]
    for base in bases:
        if not isinstance(base, str) or not base.strip():
            raise ValueError(f"{path}: {_BASE_KEY} must be the path of a config file, or a list of them; got {base!r}.")
        _read_chain(_locate(path.parent / _path(base), base), (*children, resolved), chain)
    chain.append((path, content))


def _path(text: str | os.PathLike) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~someone who has no home
        raise FileNotFoundError(f"Config file not found: {text} ({error}).") from None


def _locate(path: Path, name: str | os.PathLike) -> Path:
    """The file at ``path``, else the shipped config of that name; a path that is neither is left as it is."""
    return path if os.path.isfile(path) else shipped_config(name) or path


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a mapping holds each key once, and a number is what it looks like."""

    def construct_number(self, node):
        """A number; YAML 1.1 reads 0100 as 64 and 1:30 as 90."""
        if re.fullmatch(r"[-+]?(0[0-9_]+|.*:.*)", node.value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value} would be read as an octal number or a time; write a decimal number, or quotes",
                problem_mark=node.start_mark,
            )
        integer = node.tag.endswith("int")
        return self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)

    def construct_mapping(self, node, deep=False):
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value} stands there twice", problem_mark=key.start_mark
                    )
                seen.add(name)
        return super().construct_mapping(node, deep)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def read_yaml(path: str | os.PathLike) -> Any:
    """Content of a plain YAML file; an empty file is an empty mapping.

    Raises:
        ValueError: the file is no YAML, has a key twice or an octal number, asks for Python objects, which could run
            code, or unfolds to more than a config can be.
    """
    path = Path(path)
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes are too many for a config.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); is it a YAML file?") from None
    try:
        content = yaml.load(text, _Loader)
        _check_size(content)
    except yaml.constructor.ConstructorError as error:
        python = "could not determine a constructor" in str(error.problem)
        what = "only plain YAML is read, no Python objects" if python else "not valid YAML"
        raise ValueError(f"{path}: {what}. {_place(error)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not valid YAML. {_place(error)}") from error
    except RecursionError:
        raise ValueError(f"{path}: values are nested too deep.") from None
    return {} if content is None else content


def _place(error: Exception) -> str:
    """What a YAML error says, on one line."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or " ".join(str(error).split())
    hint = " Indent with spaces, not tabs." if "'\\t'" in said else ""
    where = f"Line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{said}.{hint}"


def _check_size(content: Any) -> None:
    """Aliases (&, *) can make a short file unfold without end: count values as if each were written out."""
    count, stack = 0, [(content, 0)]
    while stack:
        value, depth = stack.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"it unfolds to more than {_MOST_VALUES:,} values")
        if depth > _MOST_DEPTH:
            raise ValueError(f"values are nested more than {_MOST_DEPTH} deep")
        if isinstance(value, dict):
            stack += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple | set):
            stack += [(item, depth + 1) for item in value]
