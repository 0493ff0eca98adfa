import traceback
from dataclasses import asdict
from pathlib import Path

from cryokin.errors import InputError
from cryokin.estimate import estimate
from cryokin.files import write_json
from cryokin.io.listed import count_particles
from cryokin.options import Options


def estimate_run(
    *, run: str, options: Options, particles: Path, estimated: Path
) -> None:
    """Estimate what a run will take, and write it to estimate.json."""
    try:
        made = asdict(estimate(run, options, count_particles(particles)))
    except Exception as error:
        # An estimate ends no run: what cannot be used is for the import to say.
        if not isinstance(error, InputError):
            traceback.print_exc()
        reason = " ".join(str(error).split()) or type(error).__name__
        made = {"run": run, "options": options.as_dict(), "unknown": reason}
        print(f"no estimate: {reason}")
    write_json(estimated, made)
