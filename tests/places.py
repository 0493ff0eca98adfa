"""Folders in which tests call Snakemake, and small sets that it classifies there."""

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import yaml

from cryokin.simulate.images import Recipe
from cryokin.simulate.volumes import VolumeRecipe

# Half of the images show a particle from few sides, which makes stable classes; the
# others show none, so that enough are left over for another round and generation.
IMAGES = Recipe(
    n_images=240,
    box=40,
    pixel_size=8.0,
    snr=3.0,
    n_views=4,
    view_share=1.0,
    view_spread=3.0,
    shift_sd=0.7,
    junk=0.5,
)
ISAC = {
    "method": "isac",
    "radius": 15,
    "target_radius": 12,
    "target_nx": 30,
    "img_per_grp": 20,
    "thld_err": 0.3,
    "maxit": 8,
    "init_iter": 2,
    "main_iter": 1,
    "max_round": 2,
    "match_second": 2,
    "stab_ali": 3,
    "indep_run": 2,
    "n_generations": 2,
    "rand_seed": 1,
}
VOLUMES = VolumeRecipe(n_particles=50, box=20, pixel_size=14.0, snr=1.0)
SUBTOMOGRAMS = {
    "particles": "../set/particles.star",
    "wedge": {"angles": [30, 30]},
    "mask": {"sphere": {"radius": 8, "edge": 1}},
    "lowpass": 7,
    "nclass": 2,
    "rand_seed": 3,
}


#: Snakemake, loaded once, of which every call is a child: half of what a dry run takes.
LOADED = """
import json, os, sys
import snakemake.cli
for line in sys.stdin:
    folder, told, words = json.loads(line)
    if not (child := os.fork()):
        os.chdir(folder)
        file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["snakemake", *words]
        sys.exit(snakemake.cli.main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def loaded():
    """Return the process of `LOADED`; it ends with that of the tests."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", LOADED], text=True, **pipes)
    atexit.register(process.communicate)
    return process


class Place:
    """A folder to work in, with configurations, from which Snakemake is called."""

    def __init__(self, root, folder, particles):
        self.root, self.folder, self.particles = root, folder, particles
        folder.mkdir(exist_ok=True)

    def configure(self, name="my.yaml", comment="", **changes):
        """Write a configuration of one run, named tiny; None takes an option out."""
        options = ISAC | {"particles": str(self.particles)} | changes
        options = {key: value for key, value in options.items() if value is not None}
        self.write(name, {"tiny": options}, comment)
        return name

    def write(self, name, runs, comment=""):
        text = yaml.safe_dump({"runs": runs}, sort_keys=False)
        (self.folder / name).write_text(comment + text)

    def command(self, *arguments, config="my.yaml", work="work"):
        return [
            str(Path(sys.executable).with_name("snakemake")),
            *arguments,
            *("--snakefile", str(self.root / "Snakefile")),
            *("--profile", str(self.root / "profiles/local")),
            *("--configfile", config),
            *("--directory", work),
        ]

    def snakemake(self, *arguments, **where):
        """Return the ended call, with all that it printed as ``text``."""
        done = subprocess.run(
            self.command(*arguments, **where),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        done.text = done.stdout
        return done

    def run(self, *arguments, **where):
        """Return what a call printed that must succeed."""
        done = self.snakemake(*arguments, **where)
        assert done.returncode == 0, done.text
        return done.text

    def planned(self, *arguments, **where):
        """Return the rules of the jobs that a call would run, with their numbers."""
        with tempfile.NamedTemporaryFile("r") as told:
            words = self.command(*arguments, "--dry-run", **where)[1:]
            process = loaded()
            print(json.dumps([str(self.folder), told.name, words]), file=process.stdin)
            process.stdin.flush()
            code, text = process.stdout.readline(), told.read()
        assert code == "0\n", text
        return jobs(text)

    def results(self, work="work", run="tiny"):
        return self.folder / work / "results" / run


class Checkout(Place):
    """A folder like a checkout, whose examples are smaller ones."""

    def __init__(self, root, folder, particles="resources/demo_2d/particles.star"):
        super().__init__(root, folder, folder / particles)
        for name in ("Snakefile", "workflow", "profiles", "src"):
            (folder / name).symlink_to(root / name)
        (folder / "config").mkdir()

    def command(self, *arguments, config="config/config.yaml", work="."):
        return super().command(*arguments, config=config, work=work)

    def results(self, work=".", run="demo"):
        return super().results(work, run)

    def copied(self, name):
        """Return a copy of the folder, to work in without harm."""
        shutil.rmtree(self.folder.parent / name, ignore_errors=True)
        shutil.copytree(self.folder, self.folder.parent / name, symlinks=True)
        return f"../{name}"

    def shell(self, command, check=True):
        """Run a command as a user types it."""
        beside = Path(sys.executable).parent
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
            env=os.environ
            | {
                "PATH": f"{beside}:{os.environ['PATH']}",
                "PYTHONPATH": str(self.root / "src"),
                "CRYOKIN": str(self.root),
            },
        )
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout[-3000:]}"
        return done


def jobs(text):
    """Return the numbers of jobs by rule from the table that Snakemake prints."""
    tables = re.findall(r"^job +count\n[- ]+\n(.*?)^total", text, re.M | re.S)
    rows = (line.split() for line in tables[0].splitlines()) if tables else ()
    return {rule: int(count) for rule, count in rows}


def kill_after(command, folder, reached, delay=0.0):
    """Start a command, and kill all of its processes a while [s] after a moment."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not reached():
            assert process.poll() is None, "the run ended before that moment"
            time.sleep(0.02)
        time.sleep(delay)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def contents(folder):
    """Return the bytes of all results.

    Logs, timings and the page that shows them tell of the machine; a name that begins
    with a dot is what a killed job was about to write.
    """
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not {"logs", "benchmarks"} & set(path.parts)
        and path.suffix not in (".html", ".svg")
        and not path.name.startswith(".")
    }


def assert_same_bytes(folder, other):
    first, second = contents(folder), contents(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def ranks_at_work(script, *signs):
    """Return the processes of ranks of a script that work in or for something.

    Parameters
    ----------
    script : str
    signs : str
        A variable in their environment, or the folder that they work in.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().split(b"\0")
            known = (path / "environ").read_bytes().split(b"\0")
            known.append(os.readlink(path / "cwd").encode())
            if (
                command[0].endswith(b"python")
                and {b"mpi4py", script.encode()} <= set(command)
                and any(sign.encode() in known for sign in signs)
            ):
                found.append(int(path.name))
    return found
