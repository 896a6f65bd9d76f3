"""Learning of a force field by itself: explore, label where the model is unsure, train, repeat."""

from flexcalc.tasks.learn.loop import learn

__all__ = ["learn"]
