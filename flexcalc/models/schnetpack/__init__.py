"""SchNet, PaiNN and SO3net on the modules of SchNetPack 2.2.

`family` holds the hyperparameters, `dense` evaluates the modules on all pairs of a molecule,
`tabulated` is SchNet and PaiNN for the processor, on arithmetic that is compiled (`schnet`,
`painn` and their `pairs`), and `exchange` opens SchNetPack's own models, which `potential`
evaluates.
"""

from flexcalc.models.schnetpack.family import PaiNN, SchNet, SO3Net

__all__ = ["PaiNN", "SO3Net", "SchNet"]
