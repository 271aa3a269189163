"""How peers are measured: in turns, so that what slows one slows the others.

A claim is a ratio between two peers, measured one right after the other in
one run (A B A B ...): the median of the ratios of the pairs, with the lowest
and the highest. Times by themselves are shown for orientation.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

from chainer_impression.errors import ImpressionError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

#: Seconds for which idle threads of the former peer may still spin.
PAUSE = 0.1

_THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS',
            'NUMBA_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS')


class Missing(ImpressionError):
    """A peer that is not installed, or does not work, on this machine."""


class Peer:
    """A contestant in a process of its own. A context manager.

    The process starts at once, so that several get ready side by side;
    entering waits for it.

    Args:
        name (str): what the table calls it.
        module (str): a module of this folder.
        function (str): a function of it that makes what is timed.
        cores (int): cores that the process may use, and threads of each
            library in it.
        arguments: of the function, as JSON has them.

    Attributes:
        peak (int): bytes of memory that it has had at most so far.
        pools (list of str): what computes in it, as of the last run.

    Raises:
        Missing: on entering: the peer cannot run here, and why.
    """

    def __init__(self, name, module, function, cores, **arguments):
        self.name, self.peak, self.pools = name, 0, []
        path = [ROOT, os.path.join(ROOT, 'experiments'),
                *filter(None, [os.environ.get('PYTHONPATH')])]
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(path),
            **dict.fromkeys(_THREADS, str(cores)))
        # The switch is the peer's own affair.
        environment.pop('IMPRESSION_FAST_CPU', None)
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.peer_process'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
            encoding='utf-8')
        self._send({'module': module, 'function': function, 'cores': cores,
                    'arguments': arguments})

    def __enter__(self):
        try:
            answer = self._receive()
            if 'missing' in answer:
                raise Missing(answer['missing'])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, *arguments):
        """Run it once.

        Returns:
            dict: ``seconds``, ``processor`` (seconds on all cores together,
            ffmpeg's included), ``result``.
        """
        time.sleep(PAUSE)
        self._send(arguments)
        answer = self._receive()
        self.peak, self.pools = answer['peak'], answer['threads']
        return answer

    def _send(self, question):
        # One that has ended is noticed when its answer is missing.
        with contextlib.suppress(OSError):
            print(json.dumps(question), file=self._process.stdin, flush=True)

    def _receive(self):
        line = self._process.stdout.readline()
        if not line:
            raise ImpressionError(
                'the process of the peer {!r} ended with status {}; a status '
                'of -9 says that the memory was full'.format(
                    self.name, self._process.wait()))
        return json.loads(line)

    def close(self):
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def in_turns(functions, rounds):
    """Call functions in turns: A B A B ...

    Args:
        functions (dict): name to a function that returns seconds.
        rounds (int): how often each is called.

    Returns:
        dict: name to the list of seconds.
    """
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(function())
    return seconds


def timed(function):
    """A function that calls another and returns the seconds it took."""
    def call():
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    return call


def ratios(numerators, denominators):
    """The ratio of each pair that was measured in one round."""
    return [a / b for a, b in zip(numerators, denominators)]


def row(what, values, unit, at_most=None, at_least=None, note=''):
    """One line of the table.

    Args:
        what (str): what was measured.
        values: numbers; the median is the figure.
        unit (str): of the numbers; ``'times'`` for a ratio.
        at_most, at_least (float): the goal, if there is one.
        note (str): conditions, or the times behind a ratio.

    Returns:
        dict: as JSON has it; ``met`` is None where there is no goal.
    """
    values = [float(value) for value in values]
    median = statistics.median(values)
    goal, met = None, None
    if at_most is not None:
        goal, met = {'at most': at_most}, median <= at_most
    elif at_least is not None:
        goal, met = {'at least': at_least}, median >= at_least
    return {'what': what, 'value': median, 'unit': unit, 'low': min(values),
            'high': max(values), 'n': len(values), 'goal': goal, 'met': met,
            'note': note}


def grid(peers, sizes, argument, rounds, limit, warm_up=True):
    """Measure peers over growing sizes, in turns at each size.

    A peer sits out sizes at which, going by the size before, it would take
    longer than the limit, and is measured fewer times where all rounds
    together would.

    Args:
        peers (list of Peer): the contestants.
        sizes (list of float): ascending.
        argument: called with a size; gives the arguments of the peers.
        rounds (int): how often each is measured at each size.
        limit (float): seconds.
        warm_up (bool): run each once before it counts: libraries are loaded
            and kernels compiled then.

    Returns:
        dict: for each peer's name and each size it was measured at,
        ``seconds`` (a list), ``peak`` (bytes) and ``result``.
    """
    measured = {peer.name: {} for peer in peers}
    forecast = {}
    for peer in peers if warm_up else ():
        peer.run(*argument(sizes[0]))
    for size in sizes:
        for turn in range(rounds):
            for peer in peers:
                last = forecast.get(peer.name, (0, size))
                expected = last[0] * size / last[1]
                if expected * max(turn, 1) > limit:
                    continue
                if warm_up and turn == 0 and expected < limit / 10:
                    peer.run(*argument(size))
                answer = peer.run(*argument(size))
                cell = measured[peer.name].setdefault(
                    size, {'seconds': []})
                cell['seconds'].append(answer['seconds'])
                cell['result'] = answer['result']
                cell['peak'] = peer.peak
                forecast[peer.name] = answer['seconds'], size
    return measured


def growth(what, axis, measured):
    """What a grid says about growth, as JSON has it.

    Args:
        what (str): what was measured.
        axis (str): what the sizes are, with the unit.
        measured (dict): what :func:`grid` gives.

    Returns:
        dict: ``what``, ``axis`` and ``peers``: name to a list of
        ``[size, median seconds, peak bytes]``.
    """
    return {'what': what, 'axis': axis, 'peers': {
        name: [[size, statistics.median(cell['seconds']), cell['peak']]
               for size, cell in cells.items()]
        for name, cells in measured.items() if cells}}


def comparisons(measured, ours, others, what, goals=None):
    """Rows that compare one peer with others.

    Each at the largest size at which both were measured.

    Args:
        measured (dict): what :func:`grid` gives.
        ours (str): the peer whose speed is claimed.
        others: names of the others.
        what (str): a phrase with a place for the size, ``{}``.
        goals (dict): name of a peer to the ratio that is to be reached.

    Returns:
        list of dict: see :func:`row`. A ratio of 2 says that ours is twice
        as fast.
    """
    rows = []
    for name in others:
        common = [size for size in measured.get(name, ())
                  if size in measured.get(ours, ())]
        if not common:
            continue
        size = common[-1]
        theirs, mine = (measured[peer][size]['seconds']
                        for peer in (name, ours))
        rows.append(row(
            '{}: {} against {}'.format(what.format(size), ours, name),
            ratios(theirs, mine), 'times as fast',
            at_least=(goals or {}).get(name),
            note='{} against {}'.format(
                *(format_seconds(statistics.median(s))
                  for s in (mine, theirs)))))
    return rows


def format_seconds(seconds):
    """Three digits and the unit that fits."""
    if seconds < 0.0995:
        return '{:.3g} ms'.format(1000 * seconds)
    return '{:.3g} s'.format(seconds)
