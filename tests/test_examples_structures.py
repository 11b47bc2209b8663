"""The examples of graphs, streams and densities: what they print is what they say."""

import pytest
from example_scripts import load


@pytest.mark.slow
def test_norms_keep_the_nodes_of_a_deep_graph_network_apart(capsys):
    found = load("deep_graphs").main(["--steps", "40"])
    assert found[16, "none"][1] < 0.01
    assert min(found[16, norm][1] for norm in ("GraphNorm", "PairNorm")) > 0.5
    assert found[16, "none"][0] < 0.75 < found[16, "PairNorm"][0]
    assert found[2, "GraphNorm"][0] > 0.9
    assert "PairNorm" in capsys.readouterr().out


def test_sinkhorn_bounds_the_gain_of_mixings(capsys):
    found = load("mixed_streams").main([])
    assert found["free", 1][0] > 100
    assert found["softmax", 8][0] > 1.1
    assert max(max(found["Sinkhorn", scale][:2]) for scale in (1, 4, 8)) < 1.05
    assert 0.01 < found["layers"] < 0.2
    assert "Sinkhorn" in capsys.readouterr().out


@pytest.mark.slow
def test_gdn_makes_a_mixture_of_scales_gaussian(capsys):
    found = load("divisive_densities").main(["--steps", "100"])
    assert found["x"][1] > 10
    assert max(abs(found[kind][1] - 3) for kind in ("GDN, diagonal", "GDN", "GDN1")) < 0.3
    assert abs(found["GDN"][2]) < 0.1 < found["GDN, diagonal"][2]
    assert found["GDN"][0] < found["GDN, diagonal"][0] - 0.1 < found["scale"][0] - 0.2
    assert found["IGDN"] < 0.3
    assert "GDN1" in capsys.readouterr().out


def test_bad_arguments_are_reported(capsys):
    with pytest.raises(SystemExit):
        load("deep_graphs").main(["--steps", "0"])
    assert "--steps must be at least 1, got 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        load("mixed_streams").main(["--layers", "0"])
    assert "--layers must be at least 1, got 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        load("divisive_densities").main(["--steps", "0"])
    assert "--steps must be at least 1, got 0" in capsys.readouterr().err
