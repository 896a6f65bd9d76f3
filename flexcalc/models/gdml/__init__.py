"""Kernel models of the force: sGDML."""

from flexcalc.models.gdml.family import SGDML
from flexcalc.models.gdml.potential import GDMLPotential

__all__ = ["SGDML", "GDMLPotential"]
