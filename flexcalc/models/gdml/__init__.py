"""Kernel models of the force: sGDML."""

from flexcalc.models.gdml.family import SGDML
from flexcalc.models.gdml.predictor import GDMLPotential

__all__ = ["SGDML", "GDMLPotential"]
