"""The same seed gives the same dataset, whichever worker is first."""

from pathlib import Path

import numpy as np

from flexcalc import files
from flexcalc.commands.face import run_command
from flexcalc.commands.label import label
from flexcalc.config.label import Label
from flexcalc.methods.sampling import Displaced

START = Path(__file__).parents[2] / "inputs" / "glycine-Ip.xyz"


def test_labels_come_in_the_order_of_their_geometries(tmp_path):
    found = []
    for workers in (1, 2):
        config = Label(
            reference="xtb:GFN2-xTB",
            starts=(str(START),),
            samples=(Displaced(frames=30),),
            workers=workers,
        )
        run_command(label, config, tmp_path / str(workers), None)
        found.append((tmp_path / str(workers) / "labels.xyz").read_bytes())
        labels = files.read(tmp_path / str(workers) / "labels.xyz")
        geometries = files.read(tmp_path / str(workers) / "geometries.xyz")
        assert np.array_equal(labels.positions, geometries.positions)
        assert labels.provenance.level == "xtb:GFN2-xTB"
    assert found[0] == found[1]
