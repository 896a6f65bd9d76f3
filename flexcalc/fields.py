"""Types for the fields of methods, model families and configs.

The bounds are plain annotations: `config` enforces them on TOML and flags.
"""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[float, Gt(1e-20), Le(1e20)]
"""No quantity here is smaller or larger in its unit, and squares and ratios stay finite."""
NonNegative = Annotated[float, Ge(0), Le(1e20)]
Number = Annotated[float, Ge(-1e20), Le(1e20)]
Timestep = Annotated[float, Gt(1e-5), Le(1e3)]
"""In femtoseconds; no motion of atoms needs a shorter one, or bears a longer one."""
Femtoseconds = Annotated[float, Gt(1e-5), Le(1e9)]
"""A time of dynamics; a microsecond of it takes years."""
Picoseconds = Annotated[float, Gt(1e-8), Le(1e6)]
NonNegativeFemtoseconds = Annotated[float, Ge(0), Le(1e9)]
NonNegativeNanoseconds = Annotated[float, Ge(0), Le(1e3)]
NonNegativePicoseconds = Annotated[float, Ge(0), Le(1e6)]
Seconds = Annotated[float, Gt(0), Le(1e8)]
"""A wait, also one in minutes; a system does not wait for centuries."""
Fraction = Annotated[float, Gt(0), Le(1)]
Percentile = Annotated[float, Gt(0), Lt(100)]
Count = Annotated[int, Ge(1), Le(10**9)]
Natural = Annotated[int, Ge(0), Le(10**9)]
Batch = Annotated[int, Ge(1), Le(10**5)]
"""How many of a thing are held in memory at the same time."""
Width = Annotated[int, Ge(1), Le(2000)]
"""Features, channels or functions of a network or a descriptor; weights grow with the square."""
Depth = Annotated[int, Ge(1), Le(100)]
"""Layers of a network, or the largest order of a descriptor."""
Order = Annotated[int, Ge(0), Le(30)]
"""Largest order of spherical harmonics."""
Table = Annotated[int, Ge(0), Le(10**5)]
"""Entries of a table or filters of a network; 0 for none, or as many as usual."""
Bins = Annotated[int, Ge(1), Le(1000)]
"""Of a coordinate; maps of two coordinates have the square of it."""
Images = Annotated[int, Ge(3), Le(10**4)]
Workers = Annotated[int, Ge(1), Le(1000)]
Members = Annotated[int, Ge(1), Le(100)]
"""Models of a committee; 1 for a single model."""
Port = Annotated[int, Ge(1), Le(65535)]

FAMILY = "model family"
"""Marks a field that holds model families, looked up in the registry."""

INTERNAL = "internal"
"""Marks a field that no option sets, but the command that makes the config: what a file states."""

Masses = Annotated[tuple[float, ...], INTERNAL]
"""Masses of a molecule's atoms in amu; empty for standard ones."""

GEOMETRIES = "geometries"
"""Marks a field that holds geometries."""

GeometryLike = Annotated[Any, GEOMETRIES]
"""Geometries: a file, a Dataset, ase.Atoms, a list of them, or a result that has images."""

POTENTIAL = "potential"
"""Marks a field that holds a potential."""

PotentialLike = Annotated[Any, POTENTIAL]
"""A potential: its address, the object itself, or an ASE calculator."""

Address = str
"""One string that names any potential: a model folder, `xtb:GFN2-xTB`, `ase:module:Class`, ..."""
