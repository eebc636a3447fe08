"""Data sets, each by the folder layout that its download has.

`DATA_SETS[name](root, part)` opens a part ("train", "val", for some also "test"): a sequence of images RGB (H, W, 3)
uint8 with their ids (H, W) uint8, where 255 is unlabelled. Its `labels` are the classes. `open_part` also makes those
that need no folder.
"""

from training.data_sets.files import Labelled, LabelledFiles, Sample
from training.data_sets.layouts import DATA_SETS, open_part

__all__ = ["DATA_SETS", "Labelled", "LabelledFiles", "Sample", "open_part"]
