"""A machine with a wrong clock: `python -m tests.support.clock SECONDS PYTHON -m app …` runs the program with it."""

import runpy
import sys
import time


def main(seconds: int, module: str, *arguments: str) -> None:
    """Run a module of which all times are so many seconds ahead."""
    right = time.time, time.time_ns
    time.time = lambda: right[0]() + seconds
    time.time_ns = lambda: right[1]() + seconds * 10**9
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _, ahead, _python, _m, *rest = sys.argv
    main(int(ahead), *rest)
