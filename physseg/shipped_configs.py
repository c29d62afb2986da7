"""The configs that come with physseg, found by name from any folder."""

import difflib
import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ENDING = ".yaml"


def config_folder() -> Path:
    """Folder of the shipped configs: in the installed package, or at the top of the source tree."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def shipped_config(name: str | os.PathLike, folder: str = "") -> Path | None:
    """A shipped config by its name ("catseg_vitb16") or its path in the source tree ("configs/catseg_vitb16.yaml").

    Args:
        folder: subfolder of the shipped configs to look in first ("sweeps").
    """
    top = config_folder()
    known = {path.relative_to(top).as_posix(): path for path in top.rglob(f"*{_ENDING}")}
    wanted = Path(name).as_posix().removeprefix("configs/").removesuffix(_ENDING) + _ENDING
    return known.get(f"{folder}/{wanted}") or known.get(wanted)


def shipped_config_names(folder: str = "") -> list[str]:
    """Names of the shipped configs, or of those in a subfolder ("sweeps")."""
    return sorted(path.stem for path in (config_folder() / folder).glob(f"*{_ENDING}"))


def where_configs_are(name: str | os.PathLike, folder: str = "") -> str:
    """End of an error message on a config that was not found: near misses of its name, else all names."""
    names = shipped_config_names(folder)
    near = difflib.get_close_matches(Path(name).stem, names, n=3, cutoff=0.6)
    place = Path("configs", folder).as_posix()
    return (
        f"Shipped {folder or 'configs'} are in {place}/, and known by name from any folder: {', '.join(near or names)}."
    )
