"""Commands of the project, run by another and shown as a person types them."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys

from chainer_impression.files import replace_when_done

_PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>


def run_command(command, root, output=None):
    """Run a command of the project in a process of its own.

    It is printed first. On Linux it ends when this process does, however
    that ends, so that the same command can be started again at once.

    Args:
        command: arguments of Python, such as ``('-m', 'data_prep.…', …)``.
        root: the folder that the project's packages are in.
        output: a file that takes what the command prints; it is written only
            if the command succeeds. None is the terminal.

    Returns:
        int: the exit status.

    Raises:
        KeyboardInterrupt: the command was stopped by Ctrl-C.
    """
    line = '\n$ python ' + shlex.join(command)
    print(line + (' > ' + shlex.quote(str(output)) if output else ''),
          flush=True)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(
        [os.fspath(root), *filter(None, [os.environ.get('PYTHONPATH')])]))
    done = subprocess.run(
        [sys.executable, *command], env=environment,
        stdout=subprocess.PIPE if output else None,
        preexec_fn=_make_end_with_parent() if sys.platform == 'linux'
        else None)
    if done.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if output and done.returncode == 0:
        with replace_when_done(output, 'wb') as file:
            file.write(done.stdout)
    return done.returncode


def _make_end_with_parent():
    # Looked up before the fork: between fork and exec little is safe.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
