"""The site of flexcalc: its pages, and `docs.building`, which makes it."""
