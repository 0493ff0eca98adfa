from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryokin.files import atomic_folder, write_text
from cryokin.report.pytom_files import PytomFiles, read_report
from cryokin.report.pytom_page import chimerax, figure_files
from cryokin.report.pytom_page import page as page_of


def pytom_report(
    *,
    run: str,
    options: Mapping[str, Any],
    files: PytomFiles,
    page: Path,
    surfaces: Path,
    figures: Path,
) -> None:
    """Make the report of a run for subtomograms, and surfaces for ChimeraX."""
    report = read_report(run, options, files)
    with atomic_folder(figures) as partial:
        for name, figure in figure_files(report).items():
            write_text(partial / f"{name}.svg", figure)
    write_text(surfaces, chimerax(report))
    write_text(page, page_of(report))
