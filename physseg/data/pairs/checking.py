"""Are captions and images, in files or in tars, complete and sound?"""

import os
from collections.abc import Sequence

from physseg.data.checking import DAMAGED, INCOMPLETE, MISSING, DatasetReport
from physseg.data.images import BrokenFileError, read_image
from physseg.data.pairs.loading import read_records
from physseg.data.pairs.sources import TARS, PairSource
from physseg.data.pairs.tars import decode_record, expand_tars, read_tar
from physseg.data.raw_formats.common import few

_LISTED = 20


def check_pairs(source: PairSource, thorough: bool = True, decode_images: bool = False) -> DatasetReport:
    """Check one set. In its report ``labels`` counts captions, where a set of label maps counts those.

    Args:
        source: the set.
        thorough: read every tar (each sample of it, images decoded); of files, the captions are read in any case.
        decode_images: also decode every image that is a file.
    """
    report = DatasetReport(source.name, source.name, expected=source.num_captions, prepare=source.prepare)
    if source.kind == TARS:
        _check_tars(source, report, thorough)
    else:
        _check_files(source, report, decode_images)
    return report


def _check_files(source: PairSource, report: DatasetReport, decode_images: bool) -> None:
    try:
        records = read_records(source, skip_broken=True)
    except FileNotFoundError as error:
        report.worsen(MISSING, str(error))
        return
    except BrokenFileError as error:
        report.worsen(DAMAGED, str(error))
        return
    report.labels = sum(len(record.get("captions", ())) for record in records)
    there = [record["file_name"] for record in records if os.path.isfile(record["file_name"])]
    report.images = len(there)
    if len(there) < len(records):
        gone = sorted({record["file_name"] for record in records} - set(there))
        report.missing = [os.path.basename(name) for name in gone]
        report.worsen(INCOMPLETE, f"{len(gone)} of {len(records)} images are missing: {few(report.missing)}")
    for what, found, expected in (
        ("captions", report.labels, source.num_captions),
        ("images", len(records), source.num_images),
    ):
        if expected is not None and found != expected:
            report.worsen(
                INCOMPLETE, f"expected {expected} {what} in {source.captions or source.images}, found {found}"
            )
    if decode_images:
        _worsen_all(report, [error for name in there if (error := _decoding_error(name))])


def _check_tars(source: PairSource, report: DatasetReport, thorough: bool) -> None:
    try:
        tars = expand_tars(source.tars)
    except ValueError as error:
        report.worsen(MISSING, str(error))
        return
    local = [tar for tar in tars if "://" not in tar and not tar.startswith("pipe:")]
    gone = [tar for tar in local if not os.path.isfile(tar)]
    if gone:
        report.missing = gone
        report.worsen(INCOMPLETE, f"{len(gone)} of {len(tars)} tars are missing: {few(gone)}")
    if not thorough:
        return
    errors: list[str] = []
    mute = 0
    for tar in (tar for tar in tars if tar not in gone):
        for item in read_tar(tar):
            try:
                if isinstance(item, BrokenFileError):
                    raise item
                record = decode_record(item, tar, captions=_has_text(item))
            except BrokenFileError as error:
                errors.append(str(error))
                continue
            report.images += 1
            report.labels += len(record.get("captions", ()))
            mute += "captions" not in record
    if mute and report.labels:
        errors.append(f"{mute} of {report.images} images have no caption")
    _worsen_all(report, errors)


def _has_text(item: dict) -> bool:
    return any(suffix.rpartition(".")[2] in ("txt", "json") for suffix in item)


def _decoding_error(name: str) -> str:
    try:
        read_image(name)
    except BrokenFileError as error:
        return str(error)
    return ""


def _worsen_all(report: DatasetReport, errors: Sequence[str]) -> None:
    for error in errors[:_LISTED]:
        report.worsen(DAMAGED, error)
    if len(errors) > _LISTED:
        report.worsen(DAMAGED, f"and {len(errors) - _LISTED} more of such problems")
