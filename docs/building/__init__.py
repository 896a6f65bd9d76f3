"""The site of flexcalc: `python -m docs.building` executes its pages and builds it into site/."""
