"""The activations that are compiled for the processor, against NumPy's functions."""

import errno
import os

import numpy as np
import pytest

pytest.importorskip("numba")

from flexcalc.models.networks import compiled

BIAS = np.linspace(-1.0, 1.0, 8)
VALUES = np.concatenate([np.linspace(-40.0, 40.0, 1601)[:-1], [-800.0, 800.0, -1e-300, 1e-9] * 2])


def sigmoid(x):
    return np.where(x > 0, 1.0, np.exp(-abs(x))) / (1.0 + np.exp(-abs(x)))


EXACT = {
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1.0 + x * sigmoid(-x))),
    "tanh": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
    "softplus": (lambda x: np.logaddexp(x, 0.0) - 0.5, sigmoid),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-15), (np.float32, 4e-7)])
def test_an_activation_and_its_slope_are_those_of_numpy(name, dtype, rounding):
    x = VALUES.reshape(-1, len(BIAS)).astype(dtype)
    slope, bias = np.empty_like(x), BIAS.astype(dtype)
    moved = (x + bias).astype(float)
    getattr(compiled, name)(x, bias, slope, *([0.5] if name == "softplus" else []))
    exact, rising = (function(moved) for function in EXACT[name])
    assert x.dtype == slope.dtype == dtype
    assert (abs(x - exact) <= rounding * np.maximum(1.0, abs(exact))).all()
    assert (abs(slope - rising) <= 5 * rounding).all()


@pytest.mark.parametrize("name", EXACT)
def test_what_is_no_number_stays_none(name):
    x, slope = np.full((1, 8), np.nan), np.empty((1, 8))
    getattr(compiled, name)(x, BIAS, slope, *([0.5] if name == "softplus" else []))
    assert np.isnan(x).all()


def test_the_exponential_and_the_logarithm_keep_their_digits_where_they_are_small():
    x = -np.geomspace(1e-12, 700.0, 500)
    small = np.exp(x)
    assert (abs(np.array([compiled.decay(one) for one in x]) / small - 1) < 1e-15 * (1 - x)).all()
    logs = [compiled.log_of_one_and(one) for one in small]
    assert np.allclose(logs, np.log1p(small), rtol=2e-15, atol=0.0)


def half(x):
    return 0.5 * x


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder for what numba compiles, of a process that has not been told anything yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_warned", [])
    return tmp_path


@pytest.mark.guard
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_what_cannot_be_kept_is_compiled_all_the_same_with_one_word(kept, monkeypatch, code):
    def full(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(compiled.FunctionCache, "save_overload", full)
    function = compiled.compiled(half)
    with pytest.warns(RuntimeWarning, match=f"cannot be cached here .{os.strerror(code)}") as told:
        assert [function(3.0), function(3), compiled.compiled(half)(5.0)] == [1.5, 1.5, 2.5]
    assert len(told) == 1
    assert str(kept) in str(told[0].message)


@pytest.mark.guard
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_file_of_what_was_kept_is_of_no_use_but_fails_no_call(kept, suffix, content):
    assert compiled.compiled(half)(3.0) == 1.5
    (file,) = kept.rglob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[:-7] if content is None else content)
    with pytest.warns(RuntimeWarning, match="cannot be cached here"):
        assert compiled.compiled(half)(7.0) == 3.5
