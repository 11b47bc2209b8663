"""Dropout with masks drawn by a kernel: Philox's published words, every seed and draw, captured steps."""

import shutil
import signal

import fake_cupy
import numpy as np
import pytest
from safetensors.numpy import load_file

import tinygrad_norm as tn
from tinygrad_norm import data, nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.backends.philox import philox_blocks
from tinygrad_norm.backends.random import Draw, generator, mask_state, next_draw, set_mask_state
from tinygrad_norm.nn import dropout
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.dropout import random_dropout
from tinygrad_norm.training import Config, Interrupted, Run

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++: apt install g++"
)
SLOW = pytest.mark.slow


# Random123, kat_vectors, philox4x32 10
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_published_words(counter, key, words):
    c, k = ([int(word, 16) for word in text.split()] for text in (counter, key))
    block = np.array([c[0] | c[1] << 32], np.uint64)
    found = philox_blocks(block, c[2] | c[3] << 32, k[0] | k[1] << 32)
    assert [f"{word:08x}" for word in found[0]] == words.split()


def drop(x, draw, p, **schedule):
    with tn.use_backend("emulator"), emulator.schedule(**schedule):
        return to_numpy(random_dropout(emulator.asarray(x), draw, p))


@needs_compiler
@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (np.float32, 1028),
        (np.float32, 7),
        (np.float16, 64),
        pytest.param(np.float16, 1029, marks=SLOW),
        pytest.param(np.float64, 1030, marks=SLOW),
        pytest.param(np.float64, 33, marks=SLOW),
    ],
)
def test_the_kernel_draws_the_words_of_numpy(dtype, size, checked):
    x = np.random.default_rng(0).normal(size=size).astype(dtype)
    for draw in (Draw(0, 0), Draw(-(2**63) + 5, 2**40 + 3), Draw(2**62 + 9, 1)):
        for p in (0.3, 2**-33, 1.0):
            expected = random_dropout(x, draw, p)
            np.testing.assert_array_equal(drop(x, draw, p, checked=checked, seed=2), expected)


@needs_compiler
def test_a_part_of_the_array_draws_the_same_words():
    """Whether packs are loaded or single values."""
    x = np.ones(64, np.float32)
    whole = drop(x, Draw(3, 4), 0.5)
    with tn.use_backend("emulator"):
        single = to_numpy(random_dropout(emulator.asarray(np.ones(65, np.float32))[1:], Draw(3, 4), 0.5))
    np.testing.assert_array_equal(whole, single)


@needs_compiler
def test_infinity_and_nan_are_kept_or_become_nan():
    y = drop(np.full(200, np.inf, np.float32), Draw(0, 0), 0.5)
    assert np.isinf(y).sum() + np.isnan(y).sum() == 200
    assert 60 < np.isinf(y).sum() < 140
    assert np.isnan(drop(np.full(8, np.nan, np.float32), Draw(0, 0), 0.5)).all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_p_is_the_probability_of_zero(p):
    kept = random_dropout(np.ones(200_000, np.float32), Draw(1, 2), p) != 0
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / 200_000)
    assert abs(np.corrcoef(kept[1:], kept[:-1])[0, 1]) < 0.02


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_dropout_draws_on_the_device_and_again_in_backward(dtype):
    tn.manual_seed(7)
    with tn.use_backend("emulator"), emulator.record() as launches:
        x = Tensor(np.full((40, 50), 3.0, dtype), requires_grad=True)
        y, other = F.dropout(x, 0.25), F.dropout(x, 0.25)
        dx = to_numpy(grad(y, x, np.full((40, 50), 6.0, dtype))[0].array)
        values, others = to_numpy(y.array), to_numpy(other.array)
    assert [launch.name.partition("<")[0] for launch in launches] == ["random_dropout"] * 3
    assert set(np.unique(values)) == {0.0, 4.0}
    np.testing.assert_array_equal(dx, values * 2)
    assert not np.array_equal(values, others)
    tn.manual_seed(7)
    with tn.use_backend("emulator"):
        np.testing.assert_array_equal(to_numpy(F.dropout(x, 0.25).array), values)


def test_seeds_have_different_keys_and_the_stream_of_the_cpu_stays():
    draws = set()
    for seed in (0, 1, 2**70):
        tn.manual_seed(seed)
        before = generator().bit_generator.state
        draws.add(next_draw(np.ones(1)))
        assert generator().bit_generator.state == before
    assert len(draws) == 3
    assert all(-(2**63) <= draw.key < 2**63 for draw in draws)


def test_the_state_continues_where_it_was():
    tn.manual_seed(3)
    next_draw(np.ones(1))
    state = mask_state()
    expected = [next_draw(np.ones(1)) for _ in range(2)]
    tn.manual_seed(4)
    set_mask_state(state)
    assert [next_draw(np.ones(1)) for _ in range(2)] == expected


@needs_compiler
def test_replays_draw_the_masks_of_plain_steps(monkeypatch):
    """And those of a new seed after manual_seed."""
    fake_cupy.install(monkeypatch)
    with tn.use_backend("emulator"):
        x = tn.tensor(np.ones(60, np.float32), requires_grad=True)
        kept = {"y": tn.zeros(60), "z": tn.zeros(60), "dx": tn.zeros(60)}

        def step():
            x.grad = None
            y = F.dropout(x, 0.5)
            z = F.dropout(y, 0.5)
            (y + z).sum().backward()
            for name, value in (("y", y), ("z", z), ("dx", x.grad)):
                kept[name].copy_(value.detach())

        def seen(run):
            run()
            return [to_numpy(value.array).copy() for value in kept.values()]

        tn.manual_seed(5)
        expected = [seen(step) for _ in range(5)]
        tn.manual_seed(5)
        graph = Graph(step, warm_up=2)
        found = [seen(graph) for _ in range(2)]
        plain = seen(step)
        np.testing.assert_array_equal([*found, plain], expected[2:])
        assert not np.array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0][2], found[0][0] + found[0][1])
        tn.manual_seed(5)
        np.testing.assert_array_equal(seen(graph), expected[0])


@SLOW
@needs_compiler
def test_a_resumed_run_draws_the_masks_of_an_uninterrupted_one(tmp_path):
    rng = np.random.default_rng(0)
    parts = [data.Split(rng.normal(size=(n, 2)).astype(np.float32), np.arange(n) % 2) for n in (24, 4, 4)]
    points, config = data.Dataset("points", *parts, classes=("a", "b")), Config(epochs=3, batch_size=12)

    def run(folder, **options):
        tn.manual_seed(1)
        model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        return Run(config, tmp_path / folder, dataset=points, model=model, **options)

    def stop(run):
        if run.progress.epoch == 1:
            signal.raise_signal(signal.SIGINT)

    with tn.use_backend("emulator"):
        run("whole").train()
        with pytest.raises(Interrupted):
            run("parts").train(on_step=stop)
        run("parts", resume=True).train()
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for key, value in whole.items():
        np.testing.assert_array_equal(resumed[key], value)


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new"),
    [("k < 10", "k < 9"), ("0xCD9E8D57ull", "0xCD9E8D58ull"), ("(i + v) % 4", "i % 4")],
    ids=["nine rounds", "another factor", "another word"],
)
def test_planted_errors_change_the_mask(old, new, tmp_path, monkeypatch):
    source = CudaSource(dropout.__file__)
    text = source.path.read_text()
    assert text.count(old) == 1
    wrong = tmp_path / "dropout.cu"
    wrong.write_text(text.replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    monkeypatch.setattr(dropout, "_kernels", source)
    x = np.ones(1030)
    assert not np.array_equal(drop(x, Draw(0, 0), 0.5), random_dropout(x, Draw(0, 0), 0.5))
