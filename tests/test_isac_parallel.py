"""A team computes the same with any number of ranks, by threads and by real MPI."""

import subprocess
import sys
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from cryokin import parallel
from cryokin.parallel import Team, in_blocks
from ranks import on_ranks

SIZES = (1, 2, 3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("at_a_time", [1, 4, 1000])
def test_map_gives_every_rank_the_results_in_order(size, n, at_a_time, monkeypatch):
    monkeypatch.setattr(parallel, "AT_A_TIME", at_a_time)
    items = [f"item {i}" for i in range(n)]
    for results in on_ranks(size, lambda team: team.map(str.upper, items)):
        assert results == [item.upper() for item in items]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_each_item_is_done_once(size, n):
    done = []
    on_ranks(size, lambda team: team.map(done.append, range(n)))
    assert sorted(done) == list(range(n))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
def test_the_shares_follow_each_other_and_are_alike(size, n):
    shares = on_ranks(size, lambda team: list(team.mine(n)))
    assert [i for share in shares for i in share] == list(range(n))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_gather_joins_shares_of_any_length(size):
    def work(team: Team) -> list[int]:
        return team.gather(10 * team.rank + i for i in range(team.rank))

    expected = [10 * rank + i for rank in range(size) for i in range(rank)]
    assert on_ranks(size, work) == [expected] * size


@pytest.mark.parametrize("size", SIZES)
def test_only_the_leader_makes_what_all_get(size):
    made = []

    def work(team: Team) -> str:
        return team.from_leader(lambda: made.append(team.rank) or "value")

    assert on_ranks(size, work) == ["value"] * size
    assert made == [0]


@pytest.mark.parametrize("size", SIZES)
def test_one_rank_leads(size):
    assert on_ranks(size, lambda team: team.leads) == [True] + [False] * (size - 1)


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_only_the_leader_is_given_what_all_make(size):
    makers = []

    def work(team):
        def double(item):
            makers.append(team.rank)
            return 2 * item

        return list(team.to_leader(double, range(6)))

    leader, *others = on_ranks(size, work)
    assert leader == [(item, 2 * item) for item in range(6)]
    assert others == [[]] * (size - 1)
    assert sorted(makers) == sorted(item % size for item in range(6))


def test_only_the_leader_logs(capsys):
    on_ranks(3, lambda team: team.log("one line"))
    assert capsys.readouterr().out == "one line\n"


# ------------------------------------------------------------------ real MPI
PROGRAM = """
import sys
import numpy as np
from cryokin.parallel import world

team = world(int(sys.argv[1]))
for n in (0, 1, 5, 8):
    rows = team.map(lambda i: np.random.default_rng(i).normal(size=3), range(n))
    shares = team.gather(float(i) for i in team.mine(n))
    known = team.from_leader(lambda: n)
    total = sum(float(row.sum()) for row in rows)
    team.log(f"{n} {known} {total!r} {shares}")
    texts = team.gather([repr((total, shares, known))])
    assert len(set(texts)) == 1, texts
team.barrier()
"""


def launcher() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.is_file() else which("mpiexec")
    if found is None:
        pytest.skip("no mpiexec")
    return found


def run(
    ranks: int, expected: int, program: str = PROGRAM
) -> subprocess.CompletedProcess:
    python = [sys.executable, "-m", "mpi4py", "-c", program, str(expected)]
    return subprocess.run(
        [launcher(), "-n", str(ranks), *python],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def alone() -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("ranks", SIZES)
def test_ranks_of_mpi_say_the_same_as_one_process(ranks, alone):
    done = run(ranks, ranks)
    assert done.returncode == 0, done.stderr
    assert done.stdout == alone
    assert alone.count("\n") == 4


def test_a_wrong_number_of_ranks_is_refused():
    done = run(2, 3)
    assert done.returncode != 0
    assert "started with 2 MPI ranks, expected 3" in done.stderr


def test_the_failure_of_one_rank_ends_the_others():
    """As the rules start the programs; otherwise the others would wait for ever."""
    done = run(
        2,
        2,
        "from cryokin.errors import InputError, exit_on_input_error\n"
        "from cryokin.parallel import world\n"
        "def main():\n"
        "    team = world(2)\n"
        "    if not team.leads:\n"
        "        raise InputError('no such particle')\n"
        "    team.barrier()\n"
        "exit_on_input_error(main)\n",
    )
    assert done.returncode != 0
    assert "error: no such particle" in done.stderr


def test_a_single_process_needs_no_mpi():
    program = (
        "import sys; from cryokin.parallel import world; team = world(1);"
        "assert team.map(abs, [-1]) == [1]; assert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_arrays_travel_whole():
    arrays = [np.full((2, k), k, np.float32) for k in range(5)]
    for results in on_ranks(3, lambda team: team.map(np.copy, arrays)):
        for result, array in zip(results, arrays, strict=True):
            np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_a_total_does_not_depend_on_the_ranks(size, n):
    values = np.random.default_rng(0).normal(size=(n, 3))

    def work(team: Team) -> tuple:
        return team.total(lambda i: (values[i], np.ones(2, int)), range(n))

    for found, count in on_ranks(size, work):
        np.testing.assert_allclose(found, values.sum(axis=0), rtol=1e-12)
        assert count.tolist() == [n, n]
        assert found.tobytes() == work(Team())[0].tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("on_disk", [(False, False), (True, False), (True, True)])
def test_rows_made_in_blocks_are_those_of_one_block(tmp_path, size, n, on_disk):
    values = np.arange(3.0 * n).reshape(n, 3)
    paths = (tmp_path / "one.npy", tmp_path / "two.npy")
    files = [path if kept else None for path, kept in zip(paths, on_disk, strict=True)]

    def make(part: slice) -> tuple:
        return values[part] ** 2, np.arange(n)[part]

    for found in on_ranks(size, lambda team: in_blocks(make, n, 2, team, files)):
        for array, expected in zip(found, make(slice(0, n)), strict=True):
            np.testing.assert_array_equal(array, expected)
    assert [path.exists() for path in paths] == list(on_disk)


def test_a_file_can_be_made_from_the_one_that_it_replaces(tmp_path):
    file = tmp_path / "rows.npy"
    np.save(file, np.arange(10))

    def work(team: Team) -> np.ndarray:
        before = np.load(file, mmap_mode="r")
        team.barrier()
        (after,) = in_blocks(lambda p: (before[p] + 1,), 10, 3, team, [file])
        return after

    for found in on_ranks(2, work):
        assert found.tolist() == list(range(1, 11))
