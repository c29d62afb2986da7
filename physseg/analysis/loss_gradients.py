"""How the loss terms' gradients stand to each other at given weights: means over batches, and a table."""

from collections.abc import Iterable, Sequence
from statistics import fmean

import torch
from torch import nn

from physseg.engine.gradients import ANCHOR, PARTS, SHARED, GradientMeter, TermGradients, short


def measure_gradients(model: nn.Module, batches: Iterable[Sequence[dict]]) -> list[TermGradients]:
    """Measure batch by batch; the weights stay as they are.

    Args:
        model: a PhysSeg; put in training mode, as the losses exist there alone.
        batches: lists of training samples.
    """
    model.train()
    meter, found = GradientMeter(model), []
    for batch in batches:
        with torch.enable_grad():
            meter.add(model(batch))
        found.append(meter.measure())
    return found


def mean_gradients(found: Sequence[TermGradients]) -> dict[str, dict[str, float]]:
    """Means over batches: term -> column -> value.

    Columns: norms on `PARTS`; for an addition the norm on what it shares with L_seg (``shared``), L_seg's there
    (``seg``), their quotient (``ratio``, the mean of quotients), and the cosine (``cosine``).
    """
    table = {}
    for term, norms in found[0].norms.items():
        row = {part: fmean(f.norms[term][part] for f in found) for part in norms}
        pairs = [f.shared[term] for f in found if term in f.shared]
        if pairs:
            row |= {"shared": fmean(own for _, own in pairs), "seg": fmean(seg for seg, _ in pairs)}
            row["ratio"] = fmean(own / seg if seg else float("inf") for seg, own in pairs)
            cosines = [f.cosines[term][SHARED] for f in found if SHARED in f.cosines[term]]
            row["cosine"] = fmean(cosines) if cosines else float("nan")
        table[term] = row
    return table


def markdown_table(means: dict[str, dict[str, float]]) -> str:
    """The table in Markdown."""
    columns = (*PARTS, "shared", "seg", "ratio", "cosine")
    titles = {"shared": "on shared weights", "seg": "L_seg there", "ratio": "quotient", "cosine": "cosine to L_seg"}
    lines = ["| gradient of | " + " | ".join(titles.get(c, c) for c in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for term, row in means.items():
        cells = [format(row[c], "+.2f" if c == "cosine" else ".3g") if c in row else "" for c in columns]
        lines.append("| " + " | ".join([short(term) + (" (L_seg)" if term == ANCHOR else ""), *cells]) + " |")
    return "\n".join(lines)
