"""Reading YAML config files safely, and merging them with an error that names key, file and near misses.

Detectron2's own ``merge_from_file`` falls back to YAML that can run code, stops at the first unknown key with a bare
assertion, and takes 1 for a wrong value of a float key. Here only plain YAML is read, and every value is held against
the default it replaces.
"""

import difflib
import os
from ast import literal_eval
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

_BASE_KEY = "_BASE_"


def read_config_chain(path: str | os.PathLike) -> list[tuple[Path, dict[str, Any]]]:
    """Contents of a config file and of the files it inherits from by ``_BASE_``, the most basic first.

    ``_BASE_`` is a path or a list of paths, relative to the file that names it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is no plain YAML mapping, or inherits from itself.
    """
    return _read_chain(Path(path).expanduser(), ())


def _read_chain(path: Path, children: tuple[Path, ...]) -> list[tuple[Path, dict[str, Any]]]:
    resolved = path.resolve()
    if not path.is_file():
        needed = f" (the {_BASE_KEY} of {children[-1]})" if children else ""
        raise FileNotFoundError(f"Config file not found: {path}{needed}. Shipped configs are in configs/.")
    if resolved in children:
        raise ValueError(f"{path}: this config inherits from itself by {_BASE_KEY}.")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a YAML mapping of config keys, got {type(content).__name__}.")
    bases = content.pop(_BASE_KEY, [])
    chain = []
    for base in [bases] if isinstance(bases, str) else bases:
        chain += _read_chain(path.parent / Path(base).expanduser(), (*children, resolved))
    return [*chain, (path, content)]


def read_yaml(path: str | os.PathLike) -> Any:
    """Content of a plain YAML file; an empty file is an empty mapping.

    Raises:
        ValueError: the file is no YAML, or asks for Python objects, which could run code.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{path}: only plain YAML is read, no Python objects. {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML. {error}") from error
    return {} if content is None else content


def merge_config(cfg: CfgNode, content: dict[str, Any], source: str, defaults: CfgNode) -> None:
    """Write the nested mapping ``content`` into ``cfg``, in place.

    Args:
        cfg: the config to change.
        content: what a file or the command line says.
        source: where ``content`` comes from, for error messages.
        defaults: the config with every key's default; a value must have its default's type.

    Raises:
        ValueError: a key is unknown or a value has the wrong type; names key, source and near misses.
    """
    for parts, value in _leaves(content, defaults):
        key = ".".join(parts)
        node, default = cfg, defaults
        for depth, part in enumerate(parts):
            if not isinstance(default, CfgNode) or part not in default:
                raise ValueError(_unknown_key(key, source, defaults))
            default = default[part]
            if depth < len(parts) - 1:
                node = node[part]
        node[parts[-1]] = _coerce(value, default, key, source)


def pairs_to_mapping(opts: Sequence[Any]) -> dict[str, Any]:
    """``["SOLVER.BASE_LR", "1e-4", ...]`` as a nested mapping.

    Raises:
        ValueError: the list has an odd length.
    """
    opts = list(opts)
    if opts and opts[0] == "--":
        opts = opts[1:]
    if len(opts) % 2:
        raise ValueError(f"Overrides come in pairs, KEY VALUE; got {len(opts)} words: {' '.join(map(str, opts))}")
    mapping: dict[str, Any] = {}
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        *parents, leaf = str(key).split(".")
        node = mapping
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    return mapping


def _leaves(content: dict[str, Any], defaults: Any, parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
    for key, value in content.items():
        parts = (*parents, str(key))
        below = defaults.get(str(key)) if isinstance(defaults, dict) else None
        if isinstance(value, dict) and value:
            yield from _leaves(value, below, parts)
        elif not (isinstance(below, CfgNode) and value in (None, {})):
            # A section with nothing in it ("SOLVER:") changes nothing.
            yield parts, value


def _coerce(value: Any, default: Any, key: str, source: str) -> Any:
    if isinstance(default, CfgNode):
        raise ValueError(f"{source}: {key} is a section with keys of its own ({', '.join(default)}); got {value!r}.")
    if isinstance(value, str) and not isinstance(default, str):
        try:  # the command line gives strings, and YAML 1.1 reads 2e-4 as one
            value = literal_eval(value)
        except (ValueError, SyntaxError):
            if default is None:
                return value
    if default is None or type(value) is type(default):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, tuple | list) and isinstance(value, tuple | list):
        return type(default)(value)
    hint = ""
    if isinstance(default, tuple | list):
        hint = f" Write a list: [{value}]."
    elif isinstance(default, str):
        hint = " Put it in quotes."
    shown = repr(default) if len(repr(default)) < 80 else f"{repr(default)[:76]} ..."
    raise ValueError(
        f"{source}: {key} must be of type {type(default).__name__} (default {shown}), "
        f"got {value!r} of type {type(value).__name__}.{hint}"
    )


def _unknown_key(key: str, source: str, defaults: CfgNode) -> str:
    known = list(_all_keys(defaults))
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    same_name = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = list(dict.fromkeys(near + same_name))[:4]
    did_you_mean = f" Did you mean {' or '.join(near)}?" if near else " All keys are in physseg/config.py."
    return f"{source}: unknown config key {key}.{did_you_mean}"


def _all_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield prefix + name
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{prefix}{name}.")
