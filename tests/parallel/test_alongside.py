"""Work in a thread next to that of the main thread: both results, and an end of both."""

import threading
import time

import pytest

from flexcalc.parallel.alongside import alongside


def test_both_are_done_at_once_and_return_what_they_found():
    """Each waits for the other, which in turn they could not."""
    here, there = threading.Event(), threading.Event()

    def main():
        here.set()
        return there.wait(60), threading.current_thread() is threading.main_thread()

    def other(progress):
        progress(0, 1, "")
        there.set()
        return here.wait(60), threading.current_thread() is threading.main_thread()

    assert alongside(main, other) == ((True, True), (True, False))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_work_in_the_thread_ends_where_that_of_the_main_thread_fails(error):
    begun, ended = threading.Event(), threading.Event()

    def main():
        begun.wait(60)
        raise error

    def other(progress):
        begun.set()
        try:
            for step in range(60_000):
                progress(step, 60_000, "")
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(error):
        alongside(main, other)
    assert ended.is_set()


def test_a_failure_in_the_thread_is_raised():
    def other(progress):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        alongside(lambda: 1, other)
