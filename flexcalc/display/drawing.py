"""A figure that can be drawn on any axes: those of a user, or those of a page as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Concatenate

from flexcalc.display.palette import LIGHT
from flexcalc.display.svg import (
    SMALL,
    column_size,
    house_style,
    inlined,
    is_small,
    lay_out,
    new_figure,
    saved,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure that is not drawn yet.

    Args:
        draw: draws it on axes.
        size: width and height in inches, where it has a figure of its own.
    """

    draw: Callable[[Axes], None]
    size: tuple[float, float] = SMALL

    def sized(self, size: tuple[float, float]) -> Drawing:
        """The same figure at another size."""
        return replace(self, size=size)

    def on(self, axes: Axes | None = None) -> Axes:
        """Draw it on axes; without any, on those of a new figure of matplotlib.pyplot.

        Returns:
            The axes, to be changed or saved (`axes.figure.savefig`).
        """
        with house_style():
            if axes is None:
                import matplotlib.pyplot as plt

                _, axes = plt.subplots(
                    figsize=self.size, layout="constrained", facecolor=LIGHT["card"]
                )
                axes.grid(visible=False, axis="x")
            self.draw(axes)
        return axes

    def files(self) -> dict[str, bytes]:
        """The figure for a column of a journal: content by suffix, svg and pdf."""
        return self._saved(column=True, suffixes=("svg", "pdf"))

    def svg(self, name: str, title: str) -> str:
        """The figure as SVG for a page, and as files where these are `collected`.

        A small figure is drawn once for both.

        Args:
            name: prefix of all ids, unique in the page.
            title: what a screen reader says.
        """
        files: Mapping[str, bytes] = {}
        collection = _COLLECTION.get()
        if collection is not None:
            files = collection[name] = self.files()
        small = is_small(self.size)
        file = files.get("svg") if small else None
        return inlined(file or self._saved(column=small)["svg"], name, title)

    def _saved(self, column: bool, suffixes: Sequence[str] = ("svg",)) -> dict[str, bytes]:
        """The figure in its size in a column, or on a page: content by suffix."""
        with house_style(column):
            figure, axes = new_figure(column_size(self.size) if column else self.size)
            self.draw(axes)
            lay_out(figure)
            return {suffix: saved(figure, suffix) for suffix in suffixes}


_COLLECTION: ContextVar[dict[str, Mapping[str, bytes]] | None] = ContextVar("files", default=None)


@contextmanager
def collected() -> Iterator[Mapping[str, Mapping[str, bytes]]]:
    """The `files` of the drawings that become SVG of a page within this block, by their names."""
    found: dict[str, Mapping[str, bytes]] = {}
    token = _COLLECTION.set(found)
    try:
        yield found
    finally:
        _COLLECTION.reset(token)


def drawing[**P](
    size: tuple[float, float] = SMALL,
) -> Callable[[Callable[Concatenate[Axes, P], None]], Callable[P, Drawing]]:
    """Make a function of data, which returns a `Drawing`, of one that draws them on axes."""

    def decorate(draw: Callable[Concatenate[Axes, P], None]) -> Callable[P, Drawing]:
        @wraps(draw)
        def make(*data: P.args, **options: P.kwargs) -> Drawing:
            return Drawing(partial(_draw, draw, data, options), size)

        return make

    return decorate


def _draw(draw: Callable[..., None], data: tuple, options: dict, axes: Axes) -> None:
    draw(axes, *data, **options)
