"""Gaussian approximation potentials on SOAP: fitted by gap_fit, evaluated by quippy."""

from flexcalc.models.gap.family import GAP, StudyGAP
from flexcalc.models.gap.potential import GAPPotential

__all__ = ["GAP", "GAPPotential", "StudyGAP"]
