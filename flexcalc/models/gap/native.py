"""Native evaluation of GAPs: models read from their files, and evaluated without QUIP.

Source: QUIP 0.10.3, src/GAP/gp_predict.F90 and src/Potentials/IPModel_GAP.F90.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.files.xml import parse_xml
from flexcalc.models.gap.descriptor_parser import UnsupportedError, descriptor, number, whole
from flexcalc.models.gap.pairs import PairEnergies, Pairs, SquaredExponential
from flexcalc.models.gap.soap import Soap
from flexcalc.models.gap.terms import Energies, Kernel, SoapEnergies
from flexcalc.models.gap.xml import MAIN

OLDEST = 1426512068
"""First version of gap_fit with today's defaults."""
KNOWN = frozenset({"GAP_data", "gpSparse", "command_line", "XYZ_data"})
"""Supported elements in GAP_params; the last two are only comments."""
ARD_SE, DOT_PRODUCT = "1", "2"


@dataclass(frozen=True)
class Entry:
    """A descriptor with its sparse points.

    Args:
        descriptor: parameters of the descriptor.
        centre: atomic number of the central atoms; 0 for any.
        xml: its element in the main file.
        sparse: (points, components).
        weights: (points,) in 1/eV, with the cutoff functions of the points.
    """

    descriptor: Soap | Pairs
    centre: int
    xml: Element
    sparse: np.ndarray
    weights: np.ndarray


def energies(
    files: Mapping[str, bytes], numbers: np.ndarray, init_args: str, where: object
) -> Energies | None:
    """A model that is evaluated natively, or None if it needs QUIP.

    Args:
        files: content by name; checked by `xml.check_files`.
        numbers: (atoms,) atomic numbers of the molecule.
        init_args: selects a potential of the file; only the default, the first, is supported.
        where: the file or folder, for messages.

    Raises:
        FileFormatError: the sparse points differ from what the main file declares.
    """
    try:
        if init_args:
            raise UnsupportedError("init_args")
        data, sparse = _parts(parse_xml(files[MAIN], where))
        constants = {whole(one.get("Z")): number(one.get("value")) for one in data}
        constant = sum(constants.get(int(one), 0.0) for one in numbers)
        # Parse all descriptors first, because files of sparse points may be large.
        found = [
            (descriptor(" ".join((one.findtext("descriptor") or "").split())), one)
            for one in sparse
        ]
        for (parameters, _), entry in found:
            _check_kernel(parameters, entry)
        entries = [
            Entry(parameters, centre, entry, *_points(parameters, entry, files, where))
            for (parameters, centre), entry in found
        ]
        return Energies(float(constant), _terms(entries, numbers))
    except UnsupportedError:
        return None


def _parts(root: Element) -> tuple[Element, list[Element]]:
    """The elements of the energies of atoms, and those of the descriptors."""
    potential, params = _only(root, "Potential"), _only(root, "GAP_params")
    if {child.tag for child in root} != {"Potential", "GAP_params"}:
        raise UnsupportedError("the main file")
    matched = re.fullmatch(r"IP GAP(?: label=(\S+))?", potential.get("init_args", ""))
    if matched is None or potential.get("label") != params.get("label"):
        raise UnsupportedError("the potential")
    if {child.tag for child in params} - KNOWN or _version(params) < OLDEST:
        raise UnsupportedError("the parameters")
    data, sparse = _only(params, "GAP_data"), _only(params, "gpSparse")
    labels = {matched[1], params.get("label"), sparse.get("label")} - {None}
    if len(labels) > 1 or set(data.attrib) - {"do_core"} or data.get("do_core", "F") != "F":
        raise UnsupportedError("the data")
    entries = list(sparse)
    if whole(sparse.get("n_coordinate")) != len(entries) or sparse.get("fitted", "T") != "T":
        raise UnsupportedError("n_coordinate")
    if {one.tag for one in entries} != {"gpCoordinates"} or {one.tag for one in data} - {"e0"}:
        raise UnsupportedError("an element")
    return data, entries


def _version(params: Element) -> int:
    """Version of the gap_fit that wrote a file."""
    text = params.get("gap_version", "")
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise UnsupportedError("gap_version")
    return int(text)


def _only(element: Element, tag: str) -> Element:
    found = list(element.iter(tag))
    if len(found) != 1:
        raise UnsupportedError(f"{len(found)} {tag}")
    return found[0]


def _check_kernel(parameters: Soap | Pairs, entry: Element) -> None:
    """Refuse kernels that are not supported.

    Raises:
        UnsupportedError: names the feature.
    """
    kind = DOT_PRODUCT if isinstance(parameters, Soap) else ARD_SE
    if entry.get("covariance_type") != kind or entry.get("sparsified") != "T":
        raise UnsupportedError("covariance_type")
    if entry.get("n_permutations") != "1" or entry.get("sparseX_filename") is None:
        raise UnsupportedError("permutations, or sparse points within the main file")
    inside = {child.tag for child in entry} - {"descriptor", "permutation", "sparseX"}
    if inside != ({"theta"} if kind == ARD_SE else set()):
        raise UnsupportedError("theta")


def _points(
    parameters: Soap | Pairs, entry: Element, files: Mapping[str, bytes], where: object
) -> tuple[np.ndarray, np.ndarray]:
    """Sparse points (points, components) and their weights (points,).

    Raises:
        FileFormatError: the number of points differs from the main file, or the number of
            components from the descriptor.
    """
    name = entry.get("sparseX_filename", "")
    size = parameters.dimensions if isinstance(parameters, Soap) else 1
    count = whole(entry.get("n_sparseX"))
    rows = entry.findall("sparseX")
    if whole(entry.get("dimensions")) != size:
        raise FileFormatError(
            f"{where}: expected dimensions={size} of its descriptor, found "
            f"{entry.get('dimensions')}"
        )
    if not count:
        raise UnsupportedError("no sparse points")
    if [row.get("i") for row in rows] != [str(index + 1) for index in range(count)]:
        raise FileFormatError(f"{where}: expected sparseX 1 to {count}, found {len(rows)} of them")
    values = _numbers(files[name], count * size)
    if values is None:
        raise FileFormatError(f"{where}: {name}: expected {count} x {size} finite numbers")
    pairs = [number(row.get("alpha")) * number(row.get("sparseCutoff")) for row in rows]
    return values.reshape(count, size), np.array(pairs)


def _numbers(content: bytes, count: int) -> np.ndarray | None:
    """The numbers in a text, if there are `count` and all are finite; else None."""
    if content.translate(None, b"0123456789+-.eE \t\r\n"):
        return None
    with warnings.catch_warnings():
        # Where it stops before the end of the text:
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            values = np.fromstring(content, sep=" ")
        except ValueError:
            return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _terms(entries: list[Entry], numbers: np.ndarray) -> list[SoapEnergies | PairEnergies]:
    """Terms of the energy; entries with the same SOAP parameters share a power spectrum."""
    terms: list[SoapEnergies | PairEnergies] = []
    kernels: dict[Soap, list[Kernel]] = {}
    for one in entries:
        delta = number(one.xml.get("signal_variance"))  # in fact the standard deviation
        if isinstance(one.descriptor, Soap):
            zeta = number(one.xml.get("zeta"))
            if one.centre in numbers or one.centre == 0:
                kernel = Kernel(one.centre, one.sparse, one.weights * delta**2, zeta)
                kernels.setdefault(one.descriptor, []).append(kernel)
        else:
            pair_kernel = SquaredExponential(
                delta=delta,
                f0=number(one.xml.get("signal_mean")),
                theta=number(one.xml.findtext("theta")),
            )
            terms.append(
                PairEnergies(one.descriptor, numbers, one.sparse[:, 0], one.weights, pair_kernel)
            )
    return [*(SoapEnergies(soap, numbers, listed) for soap, listed in kernels.items()), *terms]
