"""A folder of images, opened one by one; of one size, grey or colour. Subfolders are labels."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .source import ImageError, Source

MODES = {"1": "L", "L": "L", "I;16": "I;16", "RGB": "RGB", "P": "RGB"}
REMEDY = "convert it to grey (L) or RGB"


def open_folder(folder: Path, key: str | None) -> Source:
    """Files whose names end as images do, sorted; labels are the subfolders where every image lies in one.

    Raises ImageError for an empty folder, mixed sizes, a file that is no image, or one with transparency.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImageError("a folder of images needs Pillow; pip install 'lattice-diffusion[images]'") from error
    if key is not None:
        raise ImageError(f"key must be left out for a folder, got {key!r}")
    endings = Image.registered_extensions()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
    if not paths:
        raise ImageError(f"the folder {folder} has no images (.png, .jpg, ...); give another folder")
    headers = []
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    headers.append((image.size, image.mode))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(
                f"{path.relative_to(folder)} has more than {Image.MAX_IMAGE_PIXELS} pixels; cut it into smaller images"
            ) from error
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ImageError(f"{path.relative_to(folder)} is not a readable image; repair or remove it") from error
        size, mode = headers[-1]
        if mode not in MODES:
            raise ImageError(f"{path.relative_to(folder)} has mode {mode}, not {', '.join(MODES)}; {REMEDY}")
        if size != headers[0][0]:
            raise ImageError(
                f"images must have one size, {paths[0].relative_to(folder)} has {_size(headers[0][0])} and "
                f"{path.relative_to(folder)} {_size(size)}; scale or crop them first"
            )
    modes = {MODES[mode] for _, mode in headers}
    if "I;16" in modes and len(modes) > 1:
        raise ImageError(f"images must have one depth, {folder} has 8 and 16 bit; {REMEDY}")
    common = "RGB" if "RGB" in modes else modes.pop()

    def read(index: int) -> NDArray:
        try:
            with Image.open(paths[index]) as image:
                return np.asarray(image if image.mode == common else image.convert(common))
        except (OSError, SyntaxError) as error:
            name = paths[index].relative_to(folder)
            raise ImageError(f"{name} is truncated or damaged; repair or remove it") from error

    columns, rows = headers[0][0]
    shape = (len(paths), rows, columns, *((3,) if common == "RGB" else ()))
    dtype = np.dtype(np.uint16 if common == "I;16" else np.uint8)
    classes = [path.relative_to(folder).parts[0] for path in paths]
    split = all(len(path.relative_to(folder).parts) > 1 for path in paths) and len(set(classes)) > 1
    return Source(
        folder.name,
        shape,
        dtype,
        lambda index: np.stack([read(int(i)) for i in index]),
        np.array(classes) if split else None,
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
