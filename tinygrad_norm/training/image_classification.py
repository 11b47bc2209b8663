"""Image classification: predict the class of an image."""

import zlib
from collections.abc import Iterable, Mapping

from .. import data
from .config import Config
from .models import build_image_model
from .task import Batch, Cost, Figures, Task


class ImageTask(Task):
    """Classify the images of "digits" or "idx", scaled to 0 … 1.

    Raises:
        ValueError: if the data cannot be found, or the model does not fit it.
        RuntimeError: if a package is not installed; the message says what to install.
    """

    cost = Cost("loss", "cross entropy (nats)", 1.0)
    parts = ("train", "validation", "test")

    def __init__(self, config: Config) -> None:
        dataset = data.load(config.dataset, config.data_dir, seed=config.seed)
        self.dataset = dataset.scaled(data.ImageScaler(max_value=dataset.max_value or 255))
        training = self.dataset.train
        self.model = build_image_model(config, dataset.shape, dataset.outputs)
        drop_last = _drop_last(len(training), config.batch_size)
        self.loader = data.DataLoader(training, config.batch_size, True, drop_last, config.seed)

    def batches(self, part: str) -> Iterable[Batch]:
        return data.DataLoader(getattr(self.dataset, part), batch_size=512)

    def fingerprint(self) -> int:
        training = self.dataset.train
        return zlib.crc32(training.labels.tobytes(), zlib.crc32(training.images.tobytes()))

    def describe(self) -> str:
        train, validation, test = (len(getattr(self.dataset, part)) for part in self.parts)
        return f"{train} training images of {self.dataset.name} ({validation} validation, {test} test)"

    def conclude(self, figures: Mapping[str, Figures]) -> str:
        return f"test accuracy: {figures['test']['accuracy']:.2%}"


def _drop_last(samples: int, batch_size: int) -> bool:
    """Return whether the last batch would be a single sample, for which BatchNorm is undefined."""
    return samples > batch_size and samples % batch_size == 1
