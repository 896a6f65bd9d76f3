"""Models of ethanol on the toy surface."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def model(ethanol):
    """An sGDML model of ethanol on the toy surface, of the form of the sgdml package."""
    from flexcalc.models.gdml import SGDML

    rng = np.random.default_rng(0)
    plain = SGDML(sigma=10.0, descriptor="distances", energies="labelled")
    return plain.fit(ethanol[:50], ethanol[50:], rng)


@pytest.fixture(scope="session")
def published(ethanol):
    """The same as in the sgdml package: of inverse distances and forces alone."""
    from flexcalc.models.gdml import SGDML

    family = SGDML(sigma=10.0, descriptor="distances", energies="training")
    return family.fit(ethanol[:50], ethanol[50:], np.random.default_rng(0))
