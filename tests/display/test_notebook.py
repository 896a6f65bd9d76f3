"""Notebooks: a result shows itself, a bar is one output, and an interrupt leaves nothing behind."""

import os
import re
import time
from contextlib import contextmanager
from queue import Empty

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
manager = pytest.importorskip("jupyter_client.manager")
psutil = pytest.importorskip("psutil")

WITHOUT_WIDGETS = "import sys; sys.modules['ipywidgets'] = None"
WATER = """
import flexcalc as fx
from ase.build import molecule
from ase.calculators.emt import EMT
run = fx.md(EMT(), molecule("H2O"), steps=40, replicas=2, keep_bonds=False)
run
"""
LONG = "import flexcalc as fx; fx.md('water.flex', 'start.xyz', steps=10**9, {})"
LONGEST_S = 120.0


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the cells of a notebook gave: one list a cell."""
    cells = (WITHOUT_WIDGETS, WATER, "run.plot(); None", "run.to_frame()")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_result_shows_itself_without_scripts(outputs):
    (shown,) = [one for one in outputs[1] if one.output_type == "execute_result"]
    page = shown.data["text/html"]
    assert "Trajectory of H₂O" in page
    assert re.search(r"Replicas</span><span[^>]*>2<", page)
    assert "<svg" in page
    assert "<script" not in page
    assert shown.data["text/plain"].startswith("Trajectory(2 replicas, 40 steps")


def test_the_bar_is_one_output_that_is_updated_to_its_end(outputs):
    (bar,) = [one for one in outputs[1] if one.output_type != "execute_result"]
    assert bar.output_type == "display_data"
    assert "<progress value='40' max='40'>" in bar.data["text/html"]


def test_a_plot_is_a_picture_and_a_table_a_table(outputs):
    (picture,) = outputs[2]
    assert "image/png" in picture.data
    (table,) = outputs[3]
    assert "temperature_K" in table.data["text/html"]


@contextmanager
def kernel(folder):
    """A kernel that works in a folder: its process, and what runs a cell."""
    # With one thread a batch would not be shared, whatever the machine has.
    own = {**os.environ, "OMP_NUM_THREADS": "2"}
    held, client = manager.start_new_kernel(cwd=str(folder), env=own)
    try:
        process = psutil.Process(held.provisioner.pid)
        yield held, client, process
    finally:
        client.stop_channels()
        held.shutdown_kernel(now=True)


def children(process):
    """What a process has started and that still runs, but for Python's own helper."""
    return [one for one in process.children(recursive=True) if at_work(one)]


def at_work(process):
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def seen_before(processes):
    time.sleep(0.5)
    return processes


def interrupted(held, client, process, code):
    """Run a cell, interrupt it once it has processes of its own; the name of its error."""
    # A cell that fails otherwise aborts the ones that come in the moment after it.
    message = client.execute(code, stop_on_error=False)
    end = time.monotonic() + LONGEST_S
    # A library asks short-lived programs about the machine; a worker is there half a second later.
    while not any(at_work(one) for one in seen_before(children(process))):
        assert process.is_running()
        assert (early := ended(client, message)) is None, early
        assert time.monotonic() < end, "no process was started"
    held.interrupt_kernel()
    while time.monotonic() < end:
        if (reply := ended(client, message, within_s=5)) is not None:
            return reply.get("ename")
        # Python drops an interrupt that comes while it frees an object; users press again.
        held.interrupt_kernel()
    raise TimeoutError("the cell did not end")


def ended(client, message, within_s=0.01):
    """What a cell ended with; None if it still runs."""
    reply = {"parent_header": {}}
    try:
        while reply["parent_header"].get("msg_id") != message:
            reply = client.get_shell_msg(timeout=within_s)
    except Empty:
        return None
    return reply["content"]


def left(process):
    """The children that are still there after a few seconds."""
    end = time.monotonic() + 10
    while children(process) and time.monotonic() < end:
        time.sleep(0.1)
    return [one.cmdline() for one in children(process)]


@pytest.mark.parametrize("where", ["", ", output='md'"])
def test_an_interrupted_run_leaves_no_process_and_can_be_run_again(here, where):
    with kernel(here) as (held, client, process):
        code = LONG.format(f"replicas=2000, keep_bonds=False{where}")
        for _ in range(2):
            assert interrupted(held, client, process, code) == "KeyboardInterrupt"
            assert left(process) == []


LABEL = """
import flexcalc as fx
fx.label(
    "xtb:GFN2-xTB", "start.xyz", samples=fx.Displaced(frames=20000), workers=2, output="labels"
)
"""


def test_interrupted_labelling_leaves_no_process(here):
    pytest.importorskip("tblite")
    with kernel(here) as (held, client, process):
        assert interrupted(held, client, process, LABEL) == "KeyboardInterrupt"
        assert left(process) == []
