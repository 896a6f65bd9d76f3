"""The part of the learning's report with minima and barriers, also from damaged files."""

import json

from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import stationary

ROW = {"name": "minimum-1", "energy_kcal_mol": 0.0, "reference_kcal_mol": 0.0}
ROWS = [
    {**ROW, "reference_force_kcal_mol_A": 0.5},
    {"name": "minimum-2", "energy_kcal_mol": 2.0, "reference_kcal_mol": 2.45},
    {"name": "minimum-3", "energy_kcal_mol": 3.0, "reference_kcal_mol": None},
    {"name": "", "energy_kcal_mol": 4.0},
    "damage",
]


def body_of(folder, **files):
    (folder / "results.json").write_text('{"command": "learn"}')
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    run = RunFolder(folder)
    return stationary.body(run), run


def test_rows_say_whether_they_hold_and_damaged_ones_are_left_out(tmp_path):
    saddle = {"name": "saddle-1", "start": "minimum-1", "end": "minimum-2"}
    saddle |= {"energy_kcal_mol": 5.0, "reference_kcal_mol": 5.2, "imaginary_frequency_cm": 310.0}
    page, run = body_of(tmp_path, minima=ROWS, barriers=[saddle])
    assert [page.count(word) for word in ("<td>yes<", ">NO<", "not checked")] == [2, 1, 1]
    assert "−0.45" in page
    assert any("2 of 5 rows" in line for line in run.problems)
    assert run.tables["minima"]["name"] == ["minimum-1", "minimum-2", "minimum-3"]
    assert run.tables["barriers"]["energy_kcal_mol"] == [5.0]


def test_without_checks_there_is_nothing(tmp_path):
    assert body_of(tmp_path)[0] == ""
