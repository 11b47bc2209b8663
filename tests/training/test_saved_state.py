"""tn.save and tn.load: nothing is lost, PyTorch reads the tensors, and nothing but tensors is loaded."""

import collections
import pickle
import zipfile

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim


def trained():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = optim.Adam(model.parameters())
    model(tn.ones(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_nested_state_comes_back(tmp_path):
    model, optimizer = trained()
    saved = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best": (0.5, None, "name", True),
        "extra": [tn.tensor([1, 2]), np.float32(2.5), float("inf")],
        "model.0.weight": tn.zeros(1),
    }
    tn.save(saved, tmp_path / "new" / "state.safetensors")
    loaded = tn.load(str(tmp_path / "new" / "state.safetensors"))
    assert list(loaded) == list(saved)
    assert (loaded["epoch"], loaded["best"], loaded["extra"][1:]) == (3, saved["best"], [2.5, float("inf")])
    assert loaded["extra"][0].dtype == tn.int64
    assert loaded["model.0.weight"].tolist() == [0]
    other, again = trained()
    other.load_state_dict(loaded["model"])
    again.load_state_dict(loaded["optimizer"])
    for name, value in model.state_dict().items():
        assert tn.equal(other.state_dict()[name], value)
    assert (
        again.state_dict()["state"][0]["exp_avg"].tolist()
        == saved["optimizer"]["state"][0]["exp_avg"].tolist()
    )


def test_pytorch_reads_a_state_dict_and_its_files_are_read(tmp_path, torch):
    safetensors = pytest.importorskip("safetensors.torch")
    model, _ = trained()
    model[0].weight.data = tn.ones(4, 3).T.contiguous().T + tn.arange(3.0)
    tn.save(model.state_dict(), tmp_path / "ours.safetensors")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    theirs.load_state_dict(safetensors.load_file(tmp_path / "ours.safetensors"))
    np.testing.assert_array_equal(theirs[0].weight.detach().numpy(), model[0].weight.numpy())
    safetensors.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    loaded = tn.load(tmp_path / "theirs.safetensors", map_location="cpu", weights_only=True)
    assert set(loaded) == set(model.state_dict())
    model.load_state_dict(loaded)


SINGLE = {
    "tensor": tn.ones(2),
    "list": [],
    "dict": {},
    "ordered": collections.OrderedDict(a=1),
    "number": 3,
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_values(name, tmp_path):
    tn.save(SINGLE[name], tmp_path / "x.safetensors")
    loaded = tn.load(tmp_path / "x.safetensors")
    assert (loaded.tolist() if name == "tensor" else loaded) == ([1, 1] if name == "tensor" else SINGLE[name])


def test_what_has_no_place_in_a_file_is_named_and_the_old_file_stays(tmp_path):
    path = tmp_path / "x.safetensors"
    tn.save({"a": tn.ones(2)}, path)
    for value, match in (
        ({"model": {"layer": nn.Linear(1, 1)}}, r"model.layer holds a Linear, .* save its state_dict\(\)"),
        ([{1, 2}], "0 holds a set"),
        ({1.5: tn.ones(1)}, "must be text or ints"),
    ):
        with pytest.raises(TypeError, match=match):
            tn.save(value, path)
    assert tn.load(path)["a"].tolist() == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_header_whose_length_begins_as_a_pickle_does_is_no_pickle(tmp_path):
    """640 bytes are written as 80 02 00 …, and protocol 2 of pickle begins with 80 02."""
    path, starts = tmp_path / "x.safetensors", set()
    for length in range(8, 520, 8):  # of a name: the header is padded to a multiple of 8
        name = "w" * length
        tn.save({name: tn.ones(1)}, path)
        starts.add(path.read_bytes()[:2])
        assert list(tn.load(path)) == [name]
    assert b"\x80\x02" in starts


def test_pickles_and_other_files_are_refused_in_words(tmp_path):
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": 1}))
    with zipfile.ZipFile(tmp_path / "new.pt", "w") as archive:
        archive.writestr("data.pkl", b"")
    for name in ("old.pt", "new.pt"):
        with pytest.raises(ValueError, match=r"is a pickle.*safetensors.torch.save_file"):
            tn.load(tmp_path / name)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        tn.load(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        tn.load(tmp_path / "absent.safetensors")
    with pytest.raises(TypeError, match="path of a file, got BytesIO"):
        tn.load(__import__("io").BytesIO())
