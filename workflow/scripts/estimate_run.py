import traceback
from dataclasses import asdict
from pathlib import Path

from cryokin.checks import check_run, resolved
from cryokin.errors import InputError
from cryokin.estimate import estimate
from cryokin.files import write_json
from cryokin.io.counts import Counts
from cryokin.options import Options


def estimate_run(
    *,
    run: str,
    options: Options,
    particles: Path,
    other: Path | None = None,
    estimated: Path,
) -> None:
    """Estimate what a run will take, and write it to estimate.json."""
    try:
        told = check_run(options, str(particles), other)
        counts = Counts(told["n"], told["box"])
        made = asdict(estimate(run, resolved(options, told), counts))
        made["options"] = options.as_dict()
    except Exception as error:
        # An estimate ends no run: what cannot be used is for the import to say.
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, InputError):
            reason = f"the run cannot start: {reason}"
        else:
            traceback.print_exc()
        made = {"run": run, "options": options.as_dict(), "unknown": reason}
        print(f"no estimate: {reason}")
    write_json(estimated, made)
