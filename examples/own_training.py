"""Train a model of one's own on data of one's own: Ctrl-C saves and stops, the next start goes on.

python examples/own_training.py
"""

import sys
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.training import Config, Interrupted, Run, load_run


def main(out: str = "runs/own", epochs: int = 20) -> float:
    """Train on the coordinates of points: is a point closer to 0 than 1? Return the test accuracy."""
    points = np.random.default_rng(0).normal(size=(2000, 2))
    inside = np.where((points**2).sum(1) < 1, "inside", "outside")
    dataset = tn.data.from_arrays(points, inside, name="points")
    tn.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.RMSNorm(32), nn.SiLU(), nn.Linear(32, 2))
    resume = Path(out, "checkpoint.safetensors").exists()
    run = Run(Config(epochs=epochs, lr=0.01), out, resume, dataset=dataset, model=model)
    try:
        run.train(on_epoch=lambda run: print(f"epoch {run.progress.epoch}: {run.progress.history[-1]}"))
    except Interrupted:
        sys.exit("stopped; start again to go on")
    accuracy = run.figures()["test"]["accuracy"]
    trained = load_run(out, model=model)
    print(f"test accuracy {accuracy:.1%}; (0.5, 0.5) is {trained.predict([[0.5, 0.5]])[0]}")
    return accuracy


if __name__ == "__main__":
    main()
