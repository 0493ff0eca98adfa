"""The user's mistakes, told in one sentence."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

INTERRUPTED = 130  # exit status after Ctrl-C, which is no defect and needs no traceback


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: file, what, value got, values allowed, what to do.
    """


def exit_on_input_error(main: Callable[[], None]) -> None:
    """Run ``main``; turn an `InputError` into its sentence and exit status 1.

    A full disk, a missing or an unreadable file is the user's to mend, too. Every
    other exception is a defect of the program and keeps its traceback; one of a library
    that does not say what the system refused has both.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (InputError, OSError) as error:
        if isinstance(error, OSError) and error.errno is None:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
