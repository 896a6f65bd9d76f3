"""A reference that labels nothing is found out before anything is built on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flexcalc import files
from flexcalc.commands.face import run_command
from flexcalc.commands.label import label
from flexcalc.config.label import Label
from flexcalc.errors import LabelError, MissingProgramError
from flexcalc.methods.sampling import AsIs, Displaced
from flexcalc.results.labels import Labels

START = str(Path(__file__).parents[2] / "inputs" / "ethanol.xyz")

CALCULATOR = '''
"""A reference that writes its calls down and works as files beside it say."""
from pathlib import Path
import subprocess
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator

HERE = Path(__file__).parent

class Spring(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        with open(HERE / "calls", "a") as stream:
            stream.write("called\\n")
        if (HERE / "absent").exists():
            subprocess.run(["no-such-aims.x"], check=True)
        if (HERE / "absent in the shell").exists():
            done = subprocess.run("no-such-orca", shell=True)
            raise CalculationFailed(f"orca failed with error code {done.returncode}")
        if (HERE / "broken").exists():
            raise CalculationFailed("the licence has ended")
        if (HERE / "picky").exists() and len((HERE / "calls").read_text().split()) > 1:
            raise CalculationFailed("too far from the start")
        self.results = {
            "energy": 0.5 * np.sum(atoms.positions**2), "forces": -atoms.positions,
        }
'''


@pytest.fixture
def reference(tmp_path) -> str:
    (tmp_path / "reference.py").write_text(CALCULATOR)
    return f"ase:{tmp_path / 'reference.py'}:Spring"


def job(reference: str, **changes) -> Label:
    options = {"starts": (START,), "samples": (Displaced(frames=6),), "sampler": reference}
    return Label(reference=reference, **(options | changes))


def run_label(config: Label, folder: Path) -> Labels:
    """As the command line does it."""
    found = run_command(label, config, folder, None)
    assert isinstance(found, Labels)
    return found


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().split())


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("absent", MissingProgramError, "cannot be started, No such file .*: 'no-such-aims.x' on"),
        ("absent in the shell", MissingProgramError, "the shell finds no such program"),
        ("broken", LabelError, "gives no label of the start geometries.*the licence has ended"),
    ],
)
def test_a_reference_that_does_not_work_is_named_before_the_sampling(
    tmp_path, reference, fault, error, words
):
    run = tmp_path / "run"
    (tmp_path / fault).touch()
    with pytest.raises(error, match=words):
        run_label(job(reference), run)
    assert not (run / "geometries.xyz").exists()
    assert not (run / "quarantine.xyz").exists()
    (tmp_path / fault).unlink()
    assert run_label(job(reference), run).frames == 6


def test_the_trial_is_made_once_and_its_label_is_kept(tmp_path, reference):
    run = tmp_path / "run"
    run_label(job(reference), run)
    assert calls(tmp_path) == 7  # one start, six geometries
    (run / "results.json").unlink()
    (run / "labels.xyz").unlink()
    run_label(job(reference), run)
    assert calls(tmp_path) == 13


def test_a_start_that_was_tried_is_not_labelled_twice(tmp_path, reference):
    run_label(job(reference, samples=(AsIs(), Displaced(frames=2))), tmp_path / "run")
    assert calls(tmp_path) == 3
    labels = files.read(tmp_path / "run" / "labels.xyz")
    assert len(labels) == 3
    np.testing.assert_allclose(labels.forces, -labels.positions, rtol=0, atol=1e-12)


def test_one_bad_start_of_several_does_not_stop_the_run(tmp_path, reference):
    start = files.read(START)
    files.write(tmp_path / "far.xyz", start[[0]])
    (tmp_path / "reference.py").write_text(
        CALCULATOR.replace('(HERE / "broken").exists()', "len((HERE / 'calls').read_text()) < 8")
    )
    assert run_label(job(reference, starts=(START, START)), tmp_path / "run").frames == 6


def test_frames_that_are_labelled_as_they_are_need_no_trial(tmp_path, reference):
    run_label(job(reference, samples=(AsIs(),)), tmp_path / "run")
    assert calls(tmp_path) == 1
    assert not (tmp_path / "run" / "trial.xyz").exists()


@pytest.mark.data
def test_quarantined_frames_are_tried_again_when_it_is_asked_for(tmp_path, reference):
    run = tmp_path / "run"
    (tmp_path / "picky").touch()
    with pytest.raises(LabelError, match="same command with --retry-quarantined"):
        run_label(job(reference), run)
    (tmp_path / "picky").unlink()
    with pytest.raises(LabelError, match="labelled no frame"):
        run_label(job(reference), run)
    assert calls(tmp_path) == 7
    again = job(reference, retry_quarantined=True)
    results = run_label(again, run)
    assert (results.frames, results.quarantined) == (6, 0)
    assert run_label(again, run).to_dict() == results.to_dict()
    assert calls(tmp_path) == 13
    assert len(files.read(run / "labels.xyz")) == 6


@pytest.mark.data
def test_a_finished_run_tries_its_quarantine_again_and_again(tmp_path, reference):
    run, start = tmp_path / "run", files.read(START).positions[0, 0, 0]
    text = CALCULATOR.replace('(HERE / "broken").exists()', f"atoms.positions[0, 0] > {start!r}")
    (tmp_path / "reference.py").write_text(text)
    first = run_label(job(reference), run)
    assert 0 < first.quarantined < 6
    again = job(reference, retry_quarantined=True)
    assert run_label(again, run).quarantined == first.quarantined
    assert calls(tmp_path) == 7 + first.quarantined
    (tmp_path / "reference.py").write_text(CALCULATOR)
    assert run_label(again, run).frames == 6
    assert not (run / "quarantine.xyz").exists()
