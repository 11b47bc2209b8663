"""Data: sources, splits, scaling and batches.

    dataset = load("digits").scaled(StandardScaler())
    for images, labels in DataLoader(dataset.train, batch_size=64, shuffle=True): ...
    own = from_arrays(inputs, targets)      # or load("table.csv"), load("data.npz"), load("images/")

Scalers are fitted on the training part only. Every shuffle depends only on its seed.
"""

from .arrays import from_arrays
from .contrast import GlobalContrastScaler, LocalContrastScaler
from .dataset import PARTS, Dataset, Split
from .digits import load_digits
from .feature_scaling import MinMaxScaler, StandardScaler
from .idx import load_idx, read_idx
from .image_files import load_image
from .image_folder import load_images
from .image_scaling import IMAGENET_MEAN, IMAGENET_STD, ImageScaler
from .inputs import load_inputs
from .loader import DataLoader
from .npz import load_npz
from .sample_sets import ConcatDataset, Subset, TensorDataset, random_split
from .scaler import Scaler
from .shuffle import permutation, stratified_permutation
from .sources import SOURCES, is_path, load
from .table import load_csv
from .text import Text, TextLoader, load_text, overlapping_windows
from .toys import load_toy
