"""Names and synonyms -> prompts."""

from collections.abc import Callable, Sequence

from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES
from torch import Tensor

# CAT-Seg's training and evaluation template.
SINGLE_TEMPLATE = "A photo of a {} in the scene"

# open_clip holds its templates as functions of the name; a call with "{}" gives the string back.
TEMPLATE_SETS = {
    "single": (SINGLE_TEMPLATE,),
    "imagenet_select": (*(t("{}") for t in SIMPLE_IMAGENET_TEMPLATES), SINGLE_TEMPLATE),
    "imagenet": tuple(t("{}") for t in OPENAI_IMAGENET_TEMPLATES),
}


def resolve_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Replace the names of template sets by their templates.

    Args:
        templates: each a string holding ``{}`` exactly once, or one of `TEMPLATE_SETS`.

    Returns:
        P templates in the order given.

    Raises:
        ValueError: none given, or one that is neither a set's name nor a template.
    """
    resolved = tuple(t for entry in templates for t in TEMPLATE_SETS.get(entry, (entry,)))
    for template in resolved:
        if template.count("{}") != 1:
            raise ValueError(
                f"MODEL.TEXT.TEMPLATES: expected a sentence with one {{}} or one of {sorted(TEMPLATE_SETS)}, "
                f"got {template!r}"
            )
    if not resolved:
        raise ValueError("MODEL.TEXT.TEMPLATES is empty: give at least one template, such as 'A photo of a {}'")
    return resolved


def cut_prompts(tokenizer: Callable[..., Tensor], prompts: Sequence[str], tokens: Tensor) -> list[str]:
    """The prompts that are longer than the text encoder's context, and so lose their end.

    Args:
        tokenizer: open_clip's: prompts and, if wanted, ``context_length`` -> ids, padded at the end.
        prompts: N of them.
        tokens: (N, L), what the tokenizer made of them.
    """
    length = tokens.shape[1]
    # Rare, so looked at in a second pass: those without padding at the end, in twice the length.
    padding = tokenizer(["a"])[0, -1]
    full = [prompts[index] for index in (tokens[:, -1] != padding).nonzero().flatten().tolist()]
    if not full:
        return []
    beyond = tokenizer(full, context_length=2 * length)[:, length:] != padding
    return [full[index] for index in beyond.any(dim=1).nonzero().flatten().tolist()]


def synonyms(name: str) -> tuple[str, ...]:
    """The synonyms of a name: ``"building, edifice"`` -> ``("building", "edifice")``."""
    return tuple(part for part in (part.strip() for part in name.split(",")) if part)
