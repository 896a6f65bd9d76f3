"""`import flexcalc`: the names it promises, and what it does not import."""

import subprocess
import sys

import flexcalc


def test_every_promised_name_is_there():
    for name in flexcalc.__all__:
        assert getattr(flexcalc, name) is not None
    assert set(flexcalc.__all__) <= set(dir(flexcalc))
    assert callable(flexcalc.train)


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, flexcalc, flexcalc.cli; flexcalc.cli.build(['--help']);"
        "heavy = {'numpy', 'ase', 'scipy', 'torch', 'pyscf', 'tblite', 'matplotlib', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() in ("[]", "['pydantic']")  # typer itself may bring pydantic


def test_opening_a_model_imports_no_reference_and_no_plots():
    code = (
        "import sys, flexcalc; flexcalc.load; flexcalc.Calculator; flexcalc.train;"
        "heavy = {'torch', 'pyscf', 'tblite', 'matplotlib', 'dask', 'rdkit', 'sgdml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_path_opens_a_model_as_its_name_does(water_shelf):
    path, name = water_shelf / "water.flex", str(water_shelf / "water.flex")
    start = flexcalc.read(water_shelf / "start.xyz").positions
    expected = flexcalc.load(name)(start).energies
    assert (flexcalc.load(path)(start).energies == expected).all()
    assert (flexcalc.Calculator(path).potential(start).energies == expected).all()
