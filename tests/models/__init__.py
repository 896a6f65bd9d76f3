"""A package, as mace-torch installs one of the name tests, which would hide this one."""
