"""Provenance of labels: which potential made them, and what follows for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import InputError
from flexcalc.fields import PotentialLike
from flexcalc.models.family import model_sha256
from flexcalc.potential import Potential
from flexcalc.registry import COMMITTEE, FOREIGN, is_reference, name_of
from flexcalc.store import Store


def labels_by(given: PotentialLike, potential: Potential) -> Provenance:
    """Provenance of the labels of a potential.

    Args:
        given: its address, or an object.
        potential: opened from that.
    """
    level, digest = name_of(given), model_sha256(potential)
    if digest and not level.startswith(COMMITTEE):
        level = Path(level).name  # wherever the folder lies, the labels are the same
    return Provenance(level=level, model_sha256=digest)


def check_same_level(data: Dataset, source: str, option: str, reference: PotentialLike) -> None:
    """Refuse labels of another level of theory than that of a reference, if their level is known.

    Args:
        data: with the labels.
        source: where they come from, for the error.
        option: name of the option with the reference.
        reference: its address, or an object.

    Raises:
        InputError: the levels differ, apart from options of the address.
    """
    level, wanted = data.provenance.level, name_of(reference).partition("?")[0]
    if level != "unknown" and level.partition("?")[0] != wanted:
        raise InputError(
            f"{source}: labelled by {level}, not by {option} = {wanted}; labels of two levels "
            "cannot be trained on together"
        )


def warn_of_model_labels(data: Dataset, store: Store, so: str) -> None:
    """Warn of labels that were made by a trained model, and not by a reference.

    Args:
        data: the labels.
        store: takes the warning.
        so: what follows from it.
    """
    if is_of_a_model(data):
        said = data.provenance
        store.warn(f"{said.source}: its labels were made by a model, {said.level}; {so}")


def is_of_a_model(data: Dataset) -> bool:
    """Whether labels were made by a trained model, and not by a reference.

    Files of earlier versions only have the address of what made them.
    """
    level = data.provenance.level.partition("?")[0]
    names_model = level.startswith(COMMITTEE) or Path(level).suffix in (".flex", *FOREIGN)
    return bool(data.provenance.model_sha256) or (names_model and not is_reference(level))


def check_not_its_own(
    data: Dataset, source: str, models: Sequence[PotentialLike], potentials: Sequence[Potential]
) -> None:
    """Refuse to compare a model with labels that it made itself.

    Args:
        data: with the labels.
        source: where they come from, for the error.
        models, potentials: addresses or objects, and what was opened from them.

    Raises:
        InputError: a model made the labels.
    """
    made_by = data.provenance.model_sha256
    for given, potential in zip(models, potentials, strict=True):
        if made_by and model_sha256(potential) == made_by:
            raise InputError(
                f"{source}: its labels were made by {name_of(given)} itself, so its errors there "
                "would be zero; label the frames with a reference first: flexcalc label REFERENCE "
                f"{source} --samples frames"
            )
