"""A damaged file is an error in words that names it, or it is read as what it says; nothing else happens.

Where a checksum protects a file, it is never read as anything else than what was written. By hand:
`python3 -m pytest -n 0 -m "" tests/reliability/test_damaged_files.py --times 5000`, for each file.
"""

import gzip
import json

import numpy as np
import pytest
from damage import damaged
from safetensors.numpy import load_file, save_file
from train_runs import invoke
from typer.testing import CliRunner

from tinygrad_norm import data
from tinygrad_norm.cli import app
from tinygrad_norm.learn.stats_file import read_stats, save_stats
from tinygrad_norm.training import Config, NormGrid, Run, load_run
from tinygrad_norm.training.checkpoint import CHECKSUM, load_arrays
from tinygrad_norm.training.run_record import read_record

rng = np.random.default_rng(0)
LABELS = np.arange(60) % 3
PIXELS = rng.integers(0, 256, (30, 8, 6), np.uint8)
CONFIG = Config("blobs", epochs=2, batch_size=16, norm="group:groups=4", lr=0.004, augment="noise")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The files of a run, by name."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run = Run(CONFIG, folder)
    run.train()
    run.figures()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- for each kind of file: what writes it, and what reads it; it returns what a checksum protects


def read_run(path):
    """Read the folder of a run in every way; return the settings, but where the data are, and the weights."""
    read_record(path.parent).best_validation()
    loaded = load_run(path.parent)
    Run(Config.load(path.parent / "config.json"), path.parent, resume=True)
    config = json.loads(loaded.config.to_json())
    weights = {name: value.array.tobytes() for name, value in loaded.model.state_dict().items()}
    return {name: config[name] for name in config if name not in ("dataset", "file", "data_dir")}, weights


def read_figures(path):
    read_record(path.parent).best_validation()


def read_without_checksum(path):
    """As a file of an older version."""
    arrays, metadata = load_arrays(path)
    save_file(arrays, path, metadata)
    load_run(path.parent)
    Run(CONFIG, path.parent, resume=True)


def make_grid(folder):
    NormGrid(CONFIG, ["batch"], 1, folder).train()


def read_grid(path):
    NormGrid(CONFIG, ["batch"], 1, path.parent).summary()
    NormGrid.load(path.parent)


def make_stats(folder):
    save_stats(folder / "stats.csv", [(step, "0.weight", "grad", 0.5) for step in range(9)])


def make_idx(folder, pack=bytes):
    for name, count in (("train", 20), ("t10k", 10)):
        for kind, array in (
            ("images-idx3", PIXELS[:count]),
            ("labels-idx1", LABELS[:count].astype(np.uint8)),
        ):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(pack(header + array.tobytes()))


def make_gzip(folder):
    make_idx(folder, gzip.compress)


def read_idx(path):
    return data.load_idx(path.parent).train.inputs.shape


def read_gzip(path):
    dataset = data.load_idx(path.parent)
    return dataset.train.inputs.tobytes(), dataset.train.targets.tobytes()


def make_npz(folder, save=np.savez):
    save(folder / "data.npz", inputs=np.arange(120.0).reshape(30, 4), labels=LABELS[:30], other=np.zeros(3))


def make_packed_npz(folder):
    make_npz(folder, np.savez_compressed)


def read_npz(path):
    dataset = data.load(path)
    return dataset.train.inputs.tobytes(), dataset.train.targets.tobytes()


def read_inputs(path):
    return data.load_inputs(path, (4,))[1].tobytes()


def make_csv(folder):
    rows = (f"{i / 7:.3f};{i % 5};{'red' if i % 2 else 'blue'}\n" for i in range(40))
    (folder / "table.csv").write_text("first;second;class\n" + "".join(rows))


def make_text(folder):
    (folder / "book.txt").write_text("Äpfel, naïve façades: the quick brown fox.\n" * 8, encoding="utf-8")


def image_maker(kind):
    def make(folder):
        image = pytest.importorskip("PIL.Image", reason="images are read with Pillow")
        image.fromarray(PIXELS[0].repeat(2, 0)).save(folder / f"image.{kind}")

    return make


RUN = None  # the folder of `trained`
IMAGES = "png", "jpg", "gif", "bmp", "webp"
FILES = {
    "config.json": (RUN, read_run),
    "model.safetensors": (RUN, read_run),
    "scaler.safetensors": (RUN, read_run),
    "checkpoint.safetensors": (RUN, read_run),
    "model.safetensors without checksum": (RUN, read_without_checksum),
    "scaler.safetensors without checksum": (RUN, read_without_checksum),
    "checkpoint.safetensors without checksum": (RUN, read_without_checksum),
    "metrics.csv": (RUN, read_figures),
    "results.json": (RUN, read_figures),
    "grid.json": (make_grid, read_grid),
    "stats.csv": (make_stats, read_stats),
    "train-images-idx3-ubyte": (make_idx, read_idx),
    "t10k-labels-idx1-ubyte": (make_idx, read_idx),
    "train-images-idx3-ubyte with gzip": (make_gzip, read_gzip),
    "data.npz": (make_npz, read_npz),
    "data.npz compressed": (make_packed_npz, read_npz),
    "data.npz as inputs": (make_npz, read_inputs),
    "table.csv": (make_csv, data.load),
    "book.txt": (make_text, data.load_text),
    **{f"image.{kind}": (image_maker(kind), lambda path: data.load_image(path).any()) for kind in IMAGES},
}
UNPROTECTED = {
    *(name for name in FILES if name.endswith("without checksum")),
    *(f"image.{kind}" for kind in IMAGES),
    "metrics.csv",
    "results.json",
    "grid.json",
    "stats.csv",
    "train-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
    "table.csv",
    "book.txt",
}
"""The files without a checksum, as docs/reliability.md says: what is read may differ."""


def prepare(name, folder, trained):
    """Make the files in `folder`; return the path of the one that is to be damaged."""
    make, _ = FILES[name]
    path = folder / name.split(" ")[0]
    if make is not RUN:
        make(folder)
    for other, content in trained.items() if make is RUN else ():
        (folder / other).write_bytes(content)
    if name.endswith("without checksum"):
        arrays, metadata = load_arrays(path)
        assert CHECKSUM not in metadata
        save_file(arrays, path, metadata)
    return path


def spoil(name, folder, trained, times):
    """Read the file after each of `times` damages; return what went wrong, by the number of the damage."""
    path, read = prepare(name, folder, trained), FILES[name][1]
    content, right, found = path.read_bytes(), read(path), {}
    assert name in UNPROTECTED or right is not None, "what the checksum protects is not compared"
    content = path.read_bytes() if name.endswith("without checksum") else content
    for number in range(times):
        path.write_bytes(damaged(content, number, times))
        try:
            if read(path) != right and name not in UNPROTECTED:
                found[number] = "it was read as something else"
        except ValueError as error:
            if str(folder) not in str(error):
                found[number] = f"the message names no file: {error}"
        except Exception as error:
            found[number] = f"{type(error).__name__}: {error}"
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_few_damages(name, tmp_path, trained):
    assert not spoil(name, tmp_path, trained, 14 if FILES[name][0] is RUN else 35)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_damages(name, tmp_path, trained, times, capsys):
    times = times or 140
    found = spoil(name, tmp_path, trained, times)
    assert not found, f"damaged(content, number, {times}) with these numbers: {found}"


def test_the_files_of_a_run_have_a_checksum(trained, tmp_path):
    for name in ("model.safetensors", "scaler.safetensors", "checkpoint.safetensors"):
        path = prepare(name, tmp_path, trained)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        load_file(path)  # no error of the format
        with pytest.raises(ValueError, match=f"{name} is damaged: its content differs from its checksum"):
            load_arrays(path)


def test_resume_writes_the_figures_again_from_the_checkpoint(tmp_path, trained):
    for name in ("metrics.csv", "results.json"):
        path = prepare(name, tmp_path, trained)
        path.write_bytes(trained[name].replace(b".", b".1"))
        read_record(tmp_path)  # no error of the format
    assert invoke("--resume", tmp_path).exit_code == 0
    assert {name: (tmp_path / name).read_bytes() for name in trained} == trained


COMMANDS = {
    "config.json": (["runs", ".."], ["evaluate", "."], ["train", "--resume", "."]),
    "model.safetensors": (["evaluate", "."], ["predict", ".", "model.safetensors"], ["export", "."]),
    "checkpoint.safetensors": (["train", "--resume", "."],),
    "metrics.csv": (["runs", ".."], ["compare", ".", "."]),
    "results.json": (["runs", ".."],),
    "grid.json": (["train", "--resume", "."],),
    "train-images-idx3-ubyte": (["train", "idx", "--data-dir", "."],),
    "train-images-idx3-ubyte with gzip": (["train", "./"],),
    "data.npz": (["train", "data.npz"],),
    "table.csv": (["train", "table.csv"],),
    "book.txt": (["train", "book.txt"],),
}


def stop(*arguments):
    """Instead of a training: what is to be tried has been read before."""
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_answers_in_words(name, tmp_path, monkeypatch, trained):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "a")
    monkeypatch.setattr("tinygrad_norm.cli.train.train_with_progress", stop)
    path = prepare(name, tmp_path / "runs" / "a", trained)
    content = path.read_bytes()
    for number in range(10):
        path.write_bytes(damaged(content, number, 10))
        for command in COMMANDS[name]:
            result = CliRunner().invoke(app, command)
            assert result.exit_code in (0, 2, 130), (number, command, result.output)
            assert isinstance(result.exception, SystemExit | None), (number, command, result.exception)
            assert "Traceback" not in result.output


def test_an_odd_file_is_status_2_and_is_not_changed(tmp_path, monkeypatch, trained):
    for name in ("config.json", "checkpoint.safetensors"):
        path = prepare(name, tmp_path, trained)
        path.write_bytes(path.read_bytes()[:60])
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        result = invoke("--resume", tmp_path)
        assert result.exit_code == 2
        assert str(path) in "".join(result.output.split())
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
