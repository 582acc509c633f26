"""Images that a user brings, from any file, array or dataset: batches (sample, channel, row, column) in [-1, 1]."""

from .images import Images, ImageWarning, open_images

__all__ = ["ImageWarning", "Images", "open_images"]
