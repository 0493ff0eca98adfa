"""The page of what was selected: the classes that are kept, the merged ones anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from cryokin.report.page import environment, style

#: What a selection of classes leaves beside its page.
LINKS_2D = {
    "particles_selected.star": "the particles, for RELION",
    "class_averages_selected.mrcs": "the averages; `class_averages_selected.hdf`, too",
    "classes_selected.star": "a row a class: members, quality, what it was merged from",
    "backup_selection.star": "a row a class of the run, as RELION's display saves it",
    "isacgroup": "ids of the members of each class",
    "../report/index.html": "the report of the run",
}
LINKS_3D = {
    "filtered_pl.star": "the particles, for RELION",
    "filtered_pl.xml": "the same for PyTom",
    "filteredIniRef.mrc": "the average of all of them",
    "selected.csv": "particles and classes as plain text",
    "backup_selection.star": "a row a class of the run, as RELION's display saves it",
    "../report/index.html": "the report of the run",
}


class Kept(NamedTuple):
    """A class that is kept.

    Attributes
    ----------
    title : str
        Its number or name; empty for all of them together.
    size : int
        Number of members.
    resolution : str
        With its unit.
    picture : str or None
        Its average, as an address of a PNG.
    note : str
        What became of it, or what it was made of.
    """

    title: str
    size: int
    resolution: str
    picture: str | None
    note: str = ""


def page(
    run: str,
    kept: Sequence[Kept],
    counts: tuple[int, int, int],
    links: Mapping[str, str],
    whole: Kept | None = None,
) -> str:
    """Return the page of a selection as HTML.

    Parameters
    ----------
    run : str
        Name of the run.
    kept : sequence of Kept
        In the order of their numbers.
    counts : tuple of int
        Particles that are kept, particles of the run, classes of the run.
    links : mapping
        Files beside the page, and what is in them.
    whole : Kept, optional
        The average of all that is kept, where it is of use: of volumes.
    """
    return (
        environment()
        .get_template("selected.html")
        .render(
            style=Markup(style()),
            run=run,
            kept=kept,
            counts=counts,
            links=links,
            whole=whole,
        )
    )
