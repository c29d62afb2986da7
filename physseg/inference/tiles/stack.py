"""A large picture's own bands with its labels as one more, in one file that copies nothing (a GDAL virtual raster)."""

from pathlib import Path
from xml.etree import ElementTree

from physseg.inference.tiles.raster import Raster


def write_stack(path: Path, raster: Raster, labels: Path, label_file: str) -> None:
    """Write a VRT that shows every band of the picture, as it is, and then the labels.

    A GeoTIFF has one type and one value for missing data in all its bands; a virtual raster has them per band, so that
    nothing is converted and the labels' 255 means nothing in the picture's bands.

    Args:
        path: of the VRT, in the folder where the labels will lie.
        raster: the picture.
        labels: a file that holds the labels now, for their type and value of missing data.
        label_file: its name in that folder.
    """
    import rasterio
    import rasterio.shutil

    rasterio.shutil.copy(raster.dataset, path, driver="VRT")
    document = ElementTree.parse(path)
    with rasterio.open(labels) as file:
        nodata, kind = int(file.nodata), {"uint8": "Byte", "uint16": "UInt16"}[file.dtypes[0]]
    band = ElementTree.SubElement(
        document.getroot(), "VRTRasterBand", dataType=kind, band=str(raster.dataset.count + 1)
    )
    ElementTree.SubElement(band, "Description").text = "label"
    ElementTree.SubElement(band, "NoDataValue").text = str(nodata)
    source = ElementTree.SubElement(band, "SimpleSource")
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1").text = label_file
    ElementTree.SubElement(source, "SourceBand").text = "1"
    document.write(path, encoding="utf-8")
