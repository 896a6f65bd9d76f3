"""A run that is interrupted between checkpoints does not ask its reference twice."""

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError
from flexcalc.store import FolderStore, Store
from flexcalc.tasks.remembered import remembered
from tests.tasks.test_assisted import ASKED, Expensive
from tests.tasks.test_path_and_saddle import ADDRESS, DOWN, UP

PLACES = np.array([UP.positions, DOWN.positions])


class Slow(Expensive):
    """Springs whose evaluations a run keeps."""

    expensive = True

    def __init__(self, interrupted_at=None):
        super().__init__(interrupted_at)
        self.answered = set()

    def evaluate(self, positions):
        found = super().evaluate(positions)
        self.answered |= {place.tobytes() for place in positions}
        return found


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ends")
    for name, atoms in (("up", UP), ("down", DOWN)):
        fx.write(f"{folder}/{name}.xyz", Dataset.from_atoms([atoms]))
    return folder / "up.xyz", folder / "down.xyz"


def numbers_of(found):
    return found.saddle.barrier_kcal_mol, found.barrier_kcal_mol, found.all_evaluations.total


# While an end is relaxed, in the band, and in the descent and its Hessians.
@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.95])
def test_an_interrupted_search_evaluates_no_geometry_twice(ends, tmp_path, share):
    whole = Slow()
    found = fx.path(whole, *ends, **ASKED, output=tmp_path / "whole")
    options = {**ASKED, "output": tmp_path / "out"}
    stopped = Slow(interrupted_at=round(share * len(whole.asked)))
    with pytest.raises(KeyboardInterrupt):
        fx.path(stopped, *ends, **options)
    rest = Slow()
    again = fx.path(rest, *ends, **options)
    assert numbers_of(again) == numbers_of(found)
    assert stopped.answered
    assert not stopped.answered & rest.answered
    assert stopped.answered | rest.answered == whole.answered
    assert not (tmp_path / "out/unfinished").exists()


def test_a_saddle_from_a_guess_and_a_network_keep_theirs_too(ends, tmp_path):
    band = fx.path(ADDRESS, *ends, **ASKED)
    guess = tmp_path / "guess.xyz"
    fx.write(guess, band.saddle.to_dataset())
    for run in (
        lambda model: fx.saddle(model, guess, output=tmp_path / "saddle", progress=False),
        lambda model: fx.network(model, [*ends], output=tmp_path / "network", progress=False),
    ):
        stopped, rest = Slow(interrupted_at=20), Slow()
        with pytest.raises(KeyboardInterrupt):
            run(stopped)
        run(rest)
        assert stopped.answered
        assert not stopped.answered & rest.answered


def test_quick_potentials_and_runs_in_memory_are_left_alone(tmp_path):
    quick, slow = Expensive(), Slow()
    assert remembered(quick, FolderStore(tmp_path)) is quick
    assert remembered(slow, Store()) is slow
    assert remembered(None, FolderStore(tmp_path)) is None


def test_what_was_kept_comes_back_to_the_bit_and_a_line_that_was_cut_off_is_evaluated(tmp_path):
    slow = Slow()
    with FolderStore(tmp_path) as store:
        before = remembered(slow, store)(PLACES)
    log = tmp_path / "unfinished/evaluations.log"
    log.write_bytes(log.read_bytes()[:-5])
    with FolderStore(tmp_path) as store:
        after = remembered(slow, store)(PLACES)
    assert len(slow.asked) == 3
    assert np.array_equal(after.energies, before.energies)
    assert np.array_equal(after.forces, before.forces)


@pytest.mark.parametrize("line", [b"no base64!\n", b"AAAA\n"])
def test_a_damaged_log_is_named(tmp_path, line):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/evaluations.log").write_bytes(line)
    with FolderStore(tmp_path) as store, pytest.raises(FileFormatError, match=r"evaluations\.log"):
        remembered(Slow(), store)
