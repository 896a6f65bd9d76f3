"""MACE on the modules of mace-torch, trained from scratch, and mace-torch's own models.

`family` holds the hyperparameters, `network` evaluates the modules on a batch of one molecule,
`exchange` opens model files of MACE, MACE-OFF and MACE-MP, which `potential` evaluates.
"""

from flexcalc.models.mace.family import MACE

__all__ = ["MACE"]
