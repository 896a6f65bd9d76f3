"""Reference methods: where labels come from. Each is a Potential opened by an address.

`xtb` is tight binding, `dft` is PySCF with `dispersion` of Tkatchenko and Scheffler, `external`
is any ASE calculator. The packages behind them are imported only when a reference is made.
"""
