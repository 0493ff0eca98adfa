from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryokin.files import atomic, atomic_folder, write_text
from cryokin.report.isac_files import IsacFiles, read_report
from cryokin.report.isac_page import contact_sheet, figure_files
from cryokin.report.isac_page import page as page_of


def isac_report(
    *,
    run: str,
    options: Mapping[str, Any],
    files: IsacFiles,
    page: Path,
    gallery: Path,
    figures: Path,
) -> None:
    """Make the report of an ISAC run: a page for a browser, a gallery as PNG."""
    report = read_report(run, options, files)
    with atomic(gallery) as partial:
        partial.write_bytes(contact_sheet(report))
    with atomic_folder(figures) as partial:
        for name, figure in figure_files(report).items():
            write_text(partial / f"{name}.svg", figure)
    write_text(page, page_of(report))
