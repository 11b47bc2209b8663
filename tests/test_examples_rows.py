"""The examples of normalizations of rows: what they show."""

import pytest
from example_scripts import load


@pytest.mark.slow
def test_without_the_terms_of_its_gradient_layer_norm_does_not_train_a_deep_network(capsys):
    pytest.importorskip("sklearn")
    found = load("row_norms").main([])
    losses = {name: loss for name, (loss, _) in found.items()}
    whole = losses.pop("LayerNorm, no affine")
    assert min(loss for name, loss in losses.items() if "detached" in name) > 1.5 * whole
    assert max(losses["SeeDNorm"], losses["RMSNorm"], losses["pRMSNorm, p = 1/4"]) < whole
    assert len(capsys.readouterr().out.splitlines()) == 11
