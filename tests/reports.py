"""Reports for tests: of made-up classes, and what is on their pages."""

import json
import math
import threading
from contextlib import contextmanager
from html.parser import HTMLParser

import mrcfile
import numpy as np
import pandas as pd
from scipy.cluster import hierarchy

from cryokin.estimate import Range, RuleEstimate, RuleUsage
from cryokin.files import write_json
from cryokin.io.eman_hdf import write_images
from cryokin.io.star import write_star
from cryokin.provenance import provenance
from cryokin.report.isac_page import ClassAverage, IsacReport, Pose
from cryokin.report.pytom_page import PytomReport, Start, SubtomogramClass, Tree
from cryokin.report.server import SelectionServer
from cryokin.selection import selection_path


@contextmanager
def serving(page, folder, classes, members=None):
    """The server of a page, whose selections go to a folder, while it is at work."""
    target = selection_path("demo")
    go_on = "cryokin run"
    server = SelectionServer("demo", page, folder, target, classes, go_on, 0, members)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


HOSTILE = """"><script>alert(1)</script>&amp;'</script><!--<img src=x onerror=a()>"""


ESTIMATED = RuleEstimate(
    "isac_sac", Range(1, 2, 3), Range(60, 120, 7200), True, 100.0, 450.0, Range(1, 2, 3)
)


def make_isac_report(n_classes=7, box=24, radius=9.0, **changes):
    """Report of classes with 10, 11, 12, ... members, the last one the largest."""
    rng = np.random.default_rng(5)
    sizes = 10 + np.arange(n_classes) % 50
    n = int(sizes.sum()) + 30
    ids = np.split(rng.permutation(n), np.cumsum(sizes))[:n_classes]
    poses = [
        Pose(angle.round(4), centre.round(4), mirrored)
        for angle, centre, mirrored in (
            (rng.uniform(-180, 180, k), rng.normal(0, 2, (k, 2)), rng.random(k) < 0.5)
            for k in sizes
        )
    ]
    frequency = np.arange(1, box // 2 + 1) / box
    classes = [
        ClassAverage(
            number=i + 1,
            members=np.sort(members),
            generation=1 + i % 2,
            pixel_error=0.1 + 0.01 * i,
            reproduction=0.9,
            resolution=math.nan if i == 2 else 20.0 + i,
            curve=np.linspace(1, 0, len(frequency)),
            pose=poses[i],
        )
        for i, members in enumerate(ids)
    ]
    generations = []
    left = n
    for g in (1, 2):
        found = sum(c.size for c in classes if c.generation == g)
        left -= found
        generations.append(
            {
                "generation": g,
                "accounted": found,
                "unaccounted": left,
                "classes": sum(c.generation == g for c in classes),
                "candidates": 9,
                "stop": g == 2,
            }
        )
    values = {
        "run": "demo",
        "options": {
            **{"method": "isac", "radius": 30, "img_per_grp": 50, "thld_grp": 10},
            **{"yr": 1, "xr": 1},
        },
        "imported": {
            "n": n,
            "box": 64,
            "pixel_size": 3.0,
            "has_ctf": False,
            "source": "particles.star",
            "sha256": "0" * 64,
            "excluded": [],
        },
        "generations": generations,
        "averages": rng.normal(size=(n_classes, box, box)).astype(np.float32),
        "classes": classes,
        "frequency": frequency,
        "pixel_size": 9.0,
        "radius": radius,
        "prealigned": rng.normal(size=(64, 64)).astype(np.float32),
        "prealigned_radius": 30.0,
        "shifts": rng.normal(0, 3, (n, 2)),
        "usage": [
            RuleUsage("isac_sac", 2, 150.0, 95.0, 90.0, 2048.0, 2, ESTIMATED),
            RuleUsage("isac_join", 1, math.nan, 5.0, 5.0, math.nan, 1, None),
        ],
        "provenance": provenance(3, []),
    }
    return IsacReport(**(values | changes))


def write_isac_run(folder, report):
    """Write the files of a run as its rules do."""
    imported = {**report.imported, "warnings": report.warnings}
    write_json(folder / "import.json", imported)
    write_json(
        folder / "working_stack.json",
        {
            "shrink_ratio": 0.3,
            "radius": report.prealigned_radius,
            "target_radius": report.radius,
            "box": report.box,
            "pixel_size": report.pixel_size,
        },
    )
    columns = {
        "rlnReferenceImage": [
            f"{c.number:06d}@class_averages.mrcs" for c in report.classes
        ],
        "rlnClassNumber": [c.number for c in report.classes],
        "cryokinMembers": [c.size for c in report.classes],
        "cryokinGeneration": [c.generation for c in report.classes],
        "cryokinPixelError": [c.pixel_error for c in report.classes],
        "cryokinReproduction": [c.reproduction for c in report.classes],
        "cryokinResolution": [c.resolution for c in report.classes],
    }
    write_star(folder / "classes.star", {"classes": pd.DataFrame(columns)})
    attributes = [{"members": c.members, "n_objects": c.size} for c in report.classes]
    write_images(folder / "class_averages.hdf", report.averages, attributes)
    if report.classes:
        mrcfile.write(folder / "class_averages.mrcs", report.averages)
    curves = [c.curve.tolist() for c in report.classes]
    write_json(
        folder / "frc.json", {"frequency": report.frequency.tolist(), "frc": curves}
    )
    for status in report.generations:
        name = f"generation_{status['generation']:04d}"
        write_json(folder / name / "status.json", status)
    rows = {i: f"{i + 1},-1,0.0,0.0,0.0,0" for i in range(report.particles)}
    for c in report.classes:
        for i, angle, (x, y), mirrored in zip(
            c.members, *vars(c.pose).values(), strict=True
        ):
            rows[i] = f"{i + 1},{c.number},{angle},{x},{y},{int(mirrored)}"
    header = "particle_id,class,psi,sx,sy,mirror"
    (folder / "classes.csv").write_text("\n".join([header, *rows.values()]) + "\n")
    write_images(folder / "aqfinal.hdf", report.prealigned[None], [{}])
    rows = np.insert(report.shifts, [0, 2], 0, axis=1)
    np.savetxt(folder / "initial2Dparams.txt", rows)


def directions(n, seed=0):
    d = np.random.default_rng(seed).normal(size=(n, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def bare_report(n_classes=4, n=60, box=12, **changes):
    """Report of classes alone; the first particle belongs to none."""
    rng = np.random.default_rng(3)
    labels = rng.integers(1, n_classes + 1, n) if n_classes else np.full(n, -1)
    labels[1 : n_classes + 1] = np.arange(1, n_classes + 1)
    labels[0] = -1
    classes = [
        SubtomogramClass(
            number=k,
            average=rng.normal(size=(box,) * 3).astype(np.float32),
            curve=np.linspace(1, 0, box // 2),
            resolution=math.nan if k == 2 else 30.0 + k,
        )
        for k in range(1, n_classes + 1)
    ]
    values = {
        "run": "demo",
        "method": "cpca",
        "options": {"method": "cpca", "nclass": n_classes},
        "labels": labels,
        "classes": classes,
        "frequency": np.arange(box // 2) / box,
        "pixel_size": 10.0,
    }
    return PytomReport(**(values | changes))


def full_report(n_classes=4, n=60, box=12, **changes):
    rng = np.random.default_rng(4)
    volumes = rng.normal(size=(2, box, box, box)).astype(np.float32)
    tree = hierarchy.linkage(rng.normal(size=(n_classes, 3)), "average")
    groups = [str(i) for i in hierarchy.fcluster(tree, 2, "maxclust")]
    course = [{"start": s, "objective": 0.1 * i, "changed": 0.5 / (i + 1)}
              for s in (0, 1) for i in range(5)]  # fmt: skip
    annealing = [
        {"temperature": 0.3 - 0.1 * i, "acceptance": 0.2, "objective": None}
        for i in range(3)
    ]
    values = {
        "radius": 4.0,
        "eigenvalues": np.linspace(9, 0.1, 8),
        "eigenvalues_before": np.linspace(12, 0.1, 8),
        "used": 5,
        "coefficients": rng.normal(size=(n, 5)),
        "eigenvolumes": list(volumes),
        "exmx": course,
        "annealing": annealing,
        "starts": [Start(0.4, 1.0), Start(0.3, 0.8)],
        "tree": Tree(tree, groups, 1.0, [str(c + 1) for c in range(n_classes)]),
        "directions": directions(n),
        "shifts": rng.normal(0, 1, (n, 3)),
        "usage": [RuleUsage("ccc_matrix", 1, 170.0, 90.0, 90.0, 2048.0, 2, None)],
        "provenance": provenance(3, []),
    }
    return bare_report(n_classes, n, box, **(values | changes))


class Elements(HTMLParser):
    """Start tags of a page with their attributes, and the text of each script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)

    def named(self, tag, kind=""):
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and kind in (attributes.get("class") or "")
        ]


def data_of(html):
    return json.loads(Elements(html).scripts[0])


def dead_links(page):
    """Return the files that a page leads to and that are not there."""
    names = [a.get("href", "#") for a in Elements(page.read_text("utf-8")).named("a")]
    files = [name for name in names if not name.startswith("#")]
    assert files
    return [name for name in files if not (page.parent / name).exists()]
