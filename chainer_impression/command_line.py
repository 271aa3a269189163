"""What all commands share: how they fail, show progress and name devices."""

import argparse
import errno
import math
import os
import sys
import time
import warnings

from chainer_impression.errors import ImpressionError

#: A write that these end finds the disk, or one's share of it, full.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(main):
    """Run a command and end the process with its status.

    What the user can mend ends in one sentence and status 1, Ctrl-C in status
    130. A fault of the program keeps its traceback.

    Args:
        main: called without arguments; returns the exit status (None is 0).
    """
    command = os.path.basename(sys.argv[0])
    warnings.showwarning = _show_warning
    # As a command that is started with ">&-" has none.
    sys.stdout = sys.stdout or open(os.devnull, 'w')
    sys.stderr = sys.stderr or open(os.devnull, 'w')
    # Names of files need not be text; standard error shows them anyhow.
    sys.stdout.reconfigure(errors='backslashreplace')
    try:
        status = main()
        sys.stdout.flush()
    except ImpressionError as error:
        print('{}: {}'.format(command, error), file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print('{}: stopped'.format(command), file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # Whoever read our output has had enough, as with "| head".
        status = 1
    except OSError as error:
        if error.errno not in _FULL:
            raise
        print('{}: {}: the disk is full; what was complete before is whole: '
              'free some space and run this again'.format(
                  command, error.filename or 'writing failed'),
              file=sys.stderr)
        status = 1
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try once more at its end, and change the status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print('warning: {}'.format(message), file=file or sys.stderr)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter,
                    argparse.RawDescriptionHelpFormatter):
    """Shows every default, and the description as it was written."""

    def _get_help_string(self, action):
        # An argument that is left out, or has its default in words.
        if action.default in (None, False) or '(default:' in action.help:
            return action.help
        return super()._get_help_string(action)


class Progress:
    """A progress bar on a terminal, plain lines where there is none.

    Args:
        total (int): number of steps.
        unit (str): what a step is, in the plural.
        description (str): what is being done.
        interval (float): seconds between two plain lines.
        done (int): steps that were done before, by a run that was stopped.
    """

    def __init__(self, total, unit, description, interval=10, done=0):
        from tqdm import tqdm
        self._meter = tqdm.format_meter
        self.total, self.unit, self.description = total, unit, description
        self.done, self._done_before, self._interval = done, done, interval
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total, initial=done, unit=' ' + unit, desc=description,
                dynamic_ncols=True, smoothing=0.1)

    def advance(self, steps=1):
        """Say that some steps are done."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif (time.monotonic() - self._last >= self._interval
              or self.done == self.total):
            self._last = time.monotonic()
            self.say(self._meter(
                self.done, self.total, self._last - self._start,
                initial=self._done_before, ncols=0, prefix=self.description,
                unit=' ' + self.unit))

    def say(self, line, file=None):
        """Print a line without disturbing the bar.

        Args:
            line (str): one line, or several.
            file: where it goes; standard error by default.
        """
        file = file or sys.stderr
        if self._bar is not None:
            self._bar.write(line, file=file)
            file.flush()
        else:
            print(line, file=file, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Leave the bar as it is, on a line of its own."""
        if self._bar is not None:
            self._bar.close()


def at_least(minimum, of=int, at_most=math.inf):
    """An argparse type: a finite number, ``minimum`` to ``at_most``."""
    def parse(text):
        try:
            value = of(text)
        except ValueError:
            value = None
        if value is None or not minimum <= value <= at_most \
                or value == math.inf:
            raise argparse.ArgumentTypeError(
                '{!r} is no {} of at least {}{}'.format(
                    text, 'whole number' if of is int else 'number', minimum,
                    '' if at_most == math.inf
                    else ' and at most {}'.format(at_most)))
        return value
    return parse


def add_device_argument(parser):
    """Add ``--device``, named as Chainer names devices."""
    parser.add_argument(
        '--device', '-d', default='-1', metavar='D',
        help='-1 for the CPU (NumPy), 0 for the first GPU, or @cupy:0')


def add_engine_argument(parser):
    """Add ``--engine``, for commands that predict."""
    from chainer_impression.engines import ENGINES
    parser.add_argument(
        '--engine', choices=ENGINES, default='auto',
        help='what computes; ' + '; '.join(
            '{}: {}'.format(*item) for item in ENGINES.items()))


def open_device(name):
    """The device of that name, ready for use.

    Args:
        name (str): ``-1``, ``0``, ``@numpy``, ``@cupy:0``, …

    Returns:
        chainer.backend.Device

    Raises:
        ImpressionError: there is no such device.
    """
    import chainer
    from chainer.backends import cuda

    # Its advice for a missing cuDNN, to reinstall CuPy, is of 2018.
    cuda.check_cuda_available._already_warned = True
    try:
        device = chainer.get_device(name)
        device.use()
    except Exception as error:  # ValueError, RuntimeError, CUDARuntimeError, …
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ImpressionError(
            '--device {}: there is no such device ({}); -1 is the CPU'.format(
                name, reason)) from error
    if isinstance(device, cuda.GpuDevice) and not cuda.cudnn_enabled:
        warnings.warn(
            'CuPy has no cuDNN here, so the GPU works, but slower; CuPy 13 '
            'with the wheels of requirements-gpu.txt has it')
    return device
