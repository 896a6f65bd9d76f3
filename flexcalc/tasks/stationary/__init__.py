"""Stationary points of a model: its minima (`minima`), and the saddles between them (`search`)."""
