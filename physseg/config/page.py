"""docs/config.md, made from the table of keys."""

from physseg.config.keys import AREAS
from physseg.config.relations import RELATIONS

_HEAD = """# Every key of a config

<!-- Written by `python -m physseg.config --write docs/config.md` from physseg/config/keys and relations.py. -->

A YAML file, or pairs of KEY VALUE at the end of a command, change these. All are checked before anything starts, and
everything that is wrong is told at once. Keys of Detectron2 that are not listed here are accepted, with a warning that
nothing in physseg reads them; a backbone of Detectron2's registry reads MODEL.RESNETS and MODEL.FPN.
"""


def config_page() -> str:
    """The page as Markdown: a table per area, then the relations."""
    parts = [_HEAD]
    for area in AREAS:
        parts.append(f"## {area.title}\n\n{area.about}\n\n| key | default | may be | |\n|---|---|---|---|")
        for key in area.keys:
            cells = (f"`{key.name}`", key.shown or _default(key.default), str(key.rule), key.why)
            parts.append(f"| {' | '.join(map(_cell, cells))} |")
        parts.append("")
    parts.append("## How keys fit together\n")
    parts += [f"- {relation.says[0].upper()}{relation.says[1:]}." for relation in RELATIONS]
    return "\n".join(parts) + "\n"


def _default(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_default, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
