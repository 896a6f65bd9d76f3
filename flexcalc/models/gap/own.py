"""GAPs that are evaluated here, read from their files without QUIP.

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
from flexcalc.models.gap.pairs import PairEnergies, Pairs
from flexcalc.models.gap.soap import Soap
from flexcalc.models.gap.terms import Energies, Kernel, SoapEnergies
from flexcalc.models.gap.words import OddError, descriptor, number, whole
from flexcalc.models.gap.xml import MAIN

OLDEST = 1426512068
"""Version of gap_fit before which defaults were others."""
KNOWN = frozenset({"GAP_data", "gpSparse", "command_line", "XYZ_data"})
"""What may be within GAP_params; the last two are for the reader only."""
ARD_SE, DOT_PRODUCT = "1", "2"


@dataclass(frozen=True)
class Entry:
    """A descriptor with its sparse points.

    Args:
        descriptor: what it is of.
        centre: atomic number of the atoms it is about; 0 is any.
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
    """A model whose every word is known here, or None where it must be left to QUIP.

    Args:
        files: content by name; checked by `xml.check_files`.
        numbers: (atoms,) atomic numbers of the molecule.
        init_args: which potential of the file; only the first by default is known.
        where: the file or folder, for messages.

    Raises:
        FileFormatError: the sparse points are not what the main file says.
    """
    try:
        if init_args:
            raise OddError("init_args")
        data, sparse = _parts(parse_xml(files[MAIN], where))
        constants = {whole(one.get("Z")): number(one.get("value")) for one in data}
        constant = sum(constants.get(int(one), 0.0) for one in numbers)
        # All lines first: files of sparse points may be large.
        found = [
            (descriptor(" ".join((one.findtext("descriptor") or "").split())), one)
            for one in sparse
        ]
        for (told, _), one in found:
            _check_kernel(told, one)
        entries = [
            Entry(told, centre, one, *_points(told, one, files, where))
            for (told, centre), one in found
        ]
        return Energies(float(constant), _terms(entries, numbers))
    except OddError:
        return None


def _parts(root: Element) -> tuple[Element, list[Element]]:
    """The elements of the energies of atoms, and those of the descriptors."""
    potential, params = _only(root, "Potential"), _only(root, "GAP_params")
    if {child.tag for child in root} != {"Potential", "GAP_params"}:
        raise OddError("the main file")
    told = re.fullmatch(r"IP GAP(?: label=(\S+))?", potential.get("init_args", ""))
    if told is None or potential.get("label") != params.get("label"):
        raise OddError("the potential")
    if {child.tag for child in params} - KNOWN or _version(params) < OLDEST:
        raise OddError("the parameters")
    data, sparse = _only(params, "GAP_data"), _only(params, "gpSparse")
    labels = {told[1], params.get("label"), sparse.get("label")} - {None}
    if len(labels) > 1 or set(data.attrib) - {"do_core"} or data.get("do_core", "F") != "F":
        raise OddError("the data")
    entries = list(sparse)
    if whole(sparse.get("n_coordinate")) != len(entries) or sparse.get("fitted", "T") != "T":
        raise OddError("n_coordinate")
    if {one.tag for one in entries} != {"gpCoordinates"} or {one.tag for one in data} - {"e0"}:
        raise OddError("an element")
    return data, entries


def _version(params: Element) -> int:
    """Version of the gap_fit that wrote a file."""
    text = params.get("gap_version", "")
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise OddError("gap_version")
    return int(text)


def _only(element: Element, tag: str) -> Element:
    found = list(element.iter(tag))
    if len(found) != 1:
        raise OddError(f"{len(found)} {tag}")
    return found[0]


def _check_kernel(told: Soap | Pairs, entry: Element) -> None:
    """Leave to QUIP what is no kernel known here."""
    kind = DOT_PRODUCT if isinstance(told, Soap) else ARD_SE
    if entry.get("covariance_type") != kind or entry.get("sparsified") != "T":
        raise OddError("covariance_type")
    if entry.get("n_permutations") != "1" or entry.get("sparseX_filename") is None:
        raise OddError("permutations, or sparse points within the main file")
    inside = {child.tag for child in entry} - {"descriptor", "permutation", "sparseX"}
    if inside != ({"theta"} if kind == ARD_SE else set()):
        raise OddError("theta")


def _points(
    told: Soap | Pairs, entry: Element, files: Mapping[str, bytes], where: object
) -> tuple[np.ndarray, np.ndarray]:
    """Sparse points (points, components) and their weights (points,).

    Raises:
        FileFormatError: there are more or fewer of them than the main file says, or the
            components are not as many as the descriptor has.
    """
    name = entry.get("sparseX_filename", "")
    size = told.dimensions if isinstance(told, Soap) else 1
    count = whole(entry.get("n_sparseX"))
    rows = entry.findall("sparseX")
    if whole(entry.get("dimensions")) != size:
        raise FileFormatError(
            f"{where}: expected dimensions={size} of its descriptor, found "
            f"{entry.get('dimensions')}"
        )
    if not count:
        raise OddError("no sparse points")
    if [row.get("i") for row in rows] != [str(index + 1) for index in range(count)]:
        raise FileFormatError(f"{where}: expected sparseX 1 to {count}, found {len(rows)} of them")
    values = _numbers(files[name], count * size)
    if values is None:
        raise FileFormatError(f"{where}: {name}: expected {count} x {size} finite numbers")
    pairs = [number(row.get("alpha")) * number(row.get("sparseCutoff")) for row in rows]
    return values.reshape(count, size), np.array(pairs)


def _numbers(content: bytes, count: int) -> np.ndarray | None:
    """The numbers of a text, if they are so many, all of them finite."""
    if content.translate(None, b"0123456789+-.eE \t\r\n"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # where it ends before the text does
        try:
            values = np.fromstring(content, sep=" ")
        except ValueError:
            return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _terms(entries: list[Entry], numbers: np.ndarray) -> list[SoapEnergies | PairEnergies]:
    """Entries with the same power spectrum share it."""
    terms: list[SoapEnergies | PairEnergies] = []
    kernels: dict[Soap, list[Kernel]] = {}
    for one in entries:
        delta = number(one.xml.get("signal_variance"))  # so it is called, and is none
        if isinstance(one.descriptor, Soap):
            zeta = number(one.xml.get("zeta"))
            if one.centre in numbers or one.centre == 0:
                kernel = Kernel(one.centre, one.sparse, one.weights * delta**2, zeta)
                kernels.setdefault(one.descriptor, []).append(kernel)
        else:
            scales = {
                "delta": delta,
                "f0": number(one.xml.get("signal_mean")),
                "theta": number(one.xml.findtext("theta")),
            }
            terms.append(
                PairEnergies(one.descriptor, numbers, one.sparse[:, 0], one.weights, **scales)
            )
    return [*(SoapEnergies(soap, numbers, listed) for soap, listed in kernels.items()), *terms]
