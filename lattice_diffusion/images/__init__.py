"""Images that a user brings: any file of them as batches (sample, channel, row, column) in [-1, 1]."""

from .images import Images, ImageWarning, open_images
from .source import ImageError

__all__ = ["ImageError", "ImageWarning", "Images", "open_images"]
