"""A run of i-PI with the model as its client."""

from __future__ import annotations

from flexcalc.display import html
from flexcalc.display.numbers import number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import md, path
from flexcalc.results.ipi import RING_TEMPERATURE, IpiRun

TITLE = "Served to i-PI"
FAILED = (
    "{lost} of {total} clients failed during the run. i-PI repeated their calculations by the "
    "others, so the trajectory is complete; log.txt and the files client-*.log say why they failed."
)
EXCHANGED = "replicas are in ensembles of different temperatures, which the table tells apart"
QUANTUM = (
    "Each nucleus is a ring polymer of {beads} beads. The kinetic energy of the nuclei is that of "
    "the centroid-virial estimator (kinetic_cv of i-PI), over the second half of the records. The "
    "temperature is that of the ring polymers: it shows whether the thermostat works, and is not "
    "the kinetic energy of the nuclei. Whether there are enough beads only a run with more tells."
)


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    scalars = md.read_scalars(folder)
    intro = (
        "i-PI ran with the model as its force provider, over a socket. The energies and forces "
        "that i-PI received are compared with direct evaluations of the model at the same "
        "geometries; they should agree to rounding."
    )
    result = facts.typed(IpiRun, folder)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    if result.clients_lost:
        parts.append(html.notes([FAILED.format(lost=result.clients_lost, total=result.clients)]))
    parts += [_nuclei(result), _ensembles(result)]
    images = folder.frames("path.xyz")
    if images is not None:
        parts.append(path.drawn(images))  # i-PI sought a path, which has no temperature
    elif scalars:
        several = len(result.ensembles_K or ()) > 1
        parts.append(md.pictures(scalars, "ipi", EXCHANGED if several else ""))
    else:
        parts.append(html.paragraph("i-PI has not written a step yet."))
    return "".join(parts)


def _nuclei(result: IpiRun) -> str:
    """Kinetic energy of quantum nuclei, and of classical ones; empty of a run without beads."""
    found = result.nuclei
    if found is None:
        return ""
    classical = "kinetic energy of classical nuclei, 3/2 N k T"
    rows = [
        ("quantum kinetic energy", number(found.quantum_kinetic_mean_eV, 5), "eV"),
        ("its standard error", number(found.quantum_kinetic_error_eV, 2), "eV"),
        (classical, number(found.classical_kinetic_eV, 5), "eV"),
        ("radius of gyration of the ring polymers", number(found.gyration_mean_A), "Å"),
        (RING_TEMPERATURE, number(result.temperature_mean_K, 4), "K"),
    ]
    caption = QUANTUM.format(beads=number(found.beads))
    return html.heading("Quantum nuclei") + html.table(("quantity", "value", "unit"), rows, caption)


def _ensembles(result: IpiRun) -> str:
    """Mean temperature by ensemble; empty of a run with one ensemble."""
    targets, means = result.ensembles_K or (), result.ensembles_mean_K or ()
    if len(targets) < 2 or len(means) != len(targets):
        return ""
    errors = result.ensembles_error_K
    if errors is None or len(errors) != len(targets):
        errors = tuple(float("nan") for _ in targets)  # of a run by an earlier version
    rows = [
        (number(target, 5), number(mean, 4), number(error, 2))
        for target, mean, error in zip(targets, means, errors, strict=True)
    ]
    caption = (
        "Records of all replicas while they were in the ensemble. Replicas exchange their "
        "ensembles, so the mean over all records, or of one replica, is no temperature."
    )
    head = ("ensemble, K", "mean temperature, K", "standard error, K")
    return html.heading("By ensemble") + html.table(head, rows, caption)
