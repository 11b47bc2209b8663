"""A rank of a training that may be killed: `mpiexec -n 2 python trained_ranks.py FOLDER` trains or resumes.

Every rank prints its number and process first, and `left` and its process when it has taken leave: whoever
kills it then is told nothing. Pictures are written as text, which takes less time to draw.
"""

import atexit
import os
import sys
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.training import Config, Run, run

EPOCHS = 20


def say(words):
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main(folder):
    atexit.register(say, f"left {os.getpid()}")  # called after what init registers
    group = tn.distributed.init()
    say(f"{group.rank} {os.getpid()}")
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    points = tn.data.from_arrays(labels[:, None] + rng.standard_normal((200, 4)), labels)
    config = Config(
        model="mlp",
        norm="sync-batch",
        epochs=EPOCHS,
        batch_size=20,
        optimizer="sgd",
        lr=0.05,
        augment="noise",
    )
    run.save_curves = lambda path, *others: path.write_text("drawn", encoding="utf-8")
    Run(config, folder, resume=(folder / "config.json").exists(), dataset=points).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
