"""Run a command to its end, and print the CPU seconds and the peak memory of all its processes.

Usage: python benchmarks/watch.py COMMAND ...

Prints to standard output: exit code, CPU seconds, and the greatest resident memory of one process
in bytes; the command's own output goes to standard error. A process of its own, and a small one,
since Linux counts in the memory of a command what the process had that started it.
"""

import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36  # of prctl(2)


def main() -> None:
    """Run the command."""
    # What outlives the command, such as a server that forks its workers, is waited for here.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    command = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
    seconds, peak, code = 0.0, 0, 0
    try:
        while True:
            process, status, usage = os.wait3(0)
            seconds += usage.ru_utime + usage.ru_stime
            peak = max(peak, usage.ru_maxrss * 1024)
            if process == command.pid:
                code = command.returncode = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        print(code, seconds, peak)


if __name__ == "__main__":
    main()
