"""Folders of runs of earlier versions, whose options were written in another way."""

from dataclasses import replace

import pytest

from flexcalc.config.learn import Learn
from flexcalc.errors import InputError
from flexcalc.models.gdml import SGDML
from flexcalc.runs.resuming import check_same, with_former_defaults

CONFIG = Learn(reference="xtb:GFN2-xTB", starts=("water.xyz",))


@pytest.mark.data
def test_an_option_that_now_takes_several_values_may_have_been_written_as_one(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('# flexcalc learn\nbaseline = "auto"\n')
    check_same(path, '# flexcalc learn\nbaseline = ["auto"]\n', CONFIG)
    other = replace(CONFIG, baseline=("auto", "xtb:GFN1-xTB"))
    with pytest.raises(InputError, match="baseline = 'auto', not"):
        check_same(path, '# flexcalc learn\nbaseline = ["auto", "xtb:GFN1-xTB"]\n', other)


@pytest.mark.data
@pytest.mark.parametrize(
    ("written", "asked", "expected"),
    [
        ('kind = "sgdml"', "auto", "molecule"),  # before there was a choice
        ('kind = "sgdml"\nkernel = "molecule"', "auto", "molecule"),
        ('kind = "sgdml"\nkernel = "auto"', "auto", "auto"),
        ('kind = "sgdml"\nkernel = "bonds"', "auto", "auto"),
        ('kind = "sgdml"', "bonds", "bonds"),
    ],
)
def test_a_run_of_an_earlier_version_goes_on_with_its_default(tmp_path, written, asked, expected):
    config = replace(CONFIG, family=(SGDML(kernel=asked),))
    assert with_former_defaults(tmp_path, config) == config
    (tmp_path / "run.toml").write_text(f"# flexcalc learn\n\n[[family]]\n{written}\n")
    assert with_former_defaults(tmp_path, config).family == (SGDML(kernel=expected),)
    (tmp_path / "run.toml").write_text("[[family")
    assert with_former_defaults(tmp_path, config) == config
