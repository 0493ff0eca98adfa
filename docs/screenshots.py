"""Take the pictures of docs/images from the reports of the demo, in a real Chromium.

make demo && make screenshots
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, browser  # noqa: E402

IMAGES = ROOT / "docs/images"
COLOURS = 80
TWO, THREE = (ROOT / f"results/{run}/report/index.html" for run in ("demo", "demo_3d"))
TO = "document.querySelector('{}').scrollIntoView({{behavior: 'instant'}});"
PICK = """
    document.querySelector("#s-limits").click();
    const slider = document.querySelector("#limit-d");
    slider.value = 31;
    slider.dispatchEvent(new Event("input"));
    const tiles = [...document.querySelectorAll(".tile[aria-selected=true]")];
    tiles[1].querySelector("img").click();
    document.querySelector("#s-merge").click();
    tiles[3].querySelector("img").click();
    document.querySelector("#s-merge").click();
    document.querySelector("#close").click();
    document.activeElement.blur();
"""

#: Name of the picture: page, width, height, colours, what is done before.
SHOTS = {
    "report": (TWO, 1200, 900, "light", TO.format("#classes") + PICK),
    "report_course": (TWO, 1200, 900, "light", TO.format("#course")),
    "report_3d": (THREE, 1200, 900, "dark", TO.format("#classes")),
    "report_components": (THREE, 1200, 900, "light", TO.format("#components")),
    "report_phone": (TWO, 390, 800, "dark", TO.format("#classes") + PICK),
}


def shoot(window: Browser, name: str) -> None:
    """Take one picture."""
    page, width, height, theme, script = SHOTS[name]
    window.open("about:blank")
    window.show_as(width, height, theme)
    window.open(page)
    window.run(script)
    picture = IMAGES / f"{name}.png"
    window.screenshot(picture)
    reduce_colours(picture)


def reduce_colours(picture: Path) -> None:
    """Keep as many colours as a page needs, and a file below 200 kB."""
    with Image.open(picture) as taken:
        few = taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as window:
        for name in SHOTS:
            shoot(window, name)
            print(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
