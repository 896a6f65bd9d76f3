"""PySCF executes this file, in which nothing is set, and not one of the working directory.

See `flexcalc.references`.
"""
