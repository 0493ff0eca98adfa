from pathlib import Path

from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.files import write_text
from cryokin.report.interim import interim_page, is_finished
from cryokin.script import run as run_script
from cryokin.yaml_files import read_yaml


def interim_report(
    *, run: str, directory: Path = Path(), configfile: Path | None = None
) -> None:
    """Make the report of a run that goes on, in a folder with results/; say where."""
    config = configfile or directory / "config/config.yaml"
    content = read_yaml(config)
    if not isinstance(content, dict):
        raise InputError(f"{config}: no mapping; give a configuration with runs.")
    runs = load_runs(content, str(config))
    if run not in runs:
        raise InputError(
            f"{config}: there is no run {run}, only {', '.join(runs)}; name one of"
            " them, or the configuration of the run by --configfile."
        )
    options, results = runs[run], directory / "results" / run
    page = results / "report/index.html"
    if not is_finished(results):
        page = page.with_name("interim.html")
        write_text(page, interim_page(run, options.as_dict(), results))
    print(page)


if __name__ == "__main__":
    run_script(interim_report, tell_usage=False)
