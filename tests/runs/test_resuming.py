"""Folders of runs of earlier versions, whose options were written in another way."""

from dataclasses import replace

import pytest

from flexcalc.config.learn import Learn
from flexcalc.errors import InputError
from flexcalc.runs.resuming import check_same

CONFIG = Learn(reference="xtb:GFN2-xTB", starts=("water.xyz",))


@pytest.mark.data
def test_an_option_that_now_takes_several_values_may_have_been_written_as_one(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('# flexcalc learn\nbaseline = "auto"\n')
    check_same(path, '# flexcalc learn\nbaseline = ["auto"]\n', CONFIG)
    other = replace(CONFIG, baseline=("auto", "xtb:GFN1-xTB"))
    with pytest.raises(InputError, match="baseline = 'auto', not"):
        check_same(path, '# flexcalc learn\nbaseline = ["auto", "xtb:GFN1-xTB"]\n', other)
