"""The examples of the statistics that today's models add: what they show."""

import pytest
from example_scripts import load


def test_revin_forecasts_a_series_in_other_units_as_well(capsys):
    found = load("shifted_series").main(["--steps", "40"])
    assert found["RevIN"][1] == pytest.approx(found["RevIN"][0], rel=1e-3)
    assert found["plain"][1] > 20 * found["plain"][0]
    assert "5y + 20" in capsys.readouterr().out
