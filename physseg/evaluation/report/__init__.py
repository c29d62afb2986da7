"""The report of an evaluation: one page, made of page.html.j2 and style.css."""

from physseg.evaluation.report.gallery import Run
from physseg.evaluation.report.page import read_curves, write_report

__all__ = ["Run", "read_curves", "write_report"]
