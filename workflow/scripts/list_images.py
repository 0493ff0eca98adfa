from pathlib import Path

from cryokin.files import portable, write_text
from cryokin.io.listed import files_behind


def list_images(*, particles: Path, images: Path) -> None:
    """List the files with the images of a table, as seen from the working folder."""
    found = map(portable, files_behind(particles))
    write_text(images, "".join(f"{name}\n" for name in found))
