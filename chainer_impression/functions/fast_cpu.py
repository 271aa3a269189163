"""When the fast NumPy path is used, and how the cores share its work.

Chainer leaves most of a training step on the CPU to single-threaded NumPy
calls that walk over whole mini-batches: arrays far larger than the caches,
copied several times. The functions of this package cut the same work into
tiles that stay in a core's cache, and give each core its share of them:

- gathering, scattering, normalisation and pooling are small Numba kernels
  that release Python's global lock;
- the products stay with the BLAS behind ``numpy.matmul``, limited to one
  thread, because each core multiplies a tile of its own.

Plain Python threads carry the work, not Numba's or OpenMP's. Numba's portable
threading layer aborts the process when two Python threads enter it at once;
its other layers are not always installed or do not survive a fork.
"""

import concurrent.futures
import os
import threading
import warnings

import chainer
import numpy as np

# Like every entry of chainer.config it can be set for one thread:
# with chainer.using_config('impression_fast_cpu', False): ...
chainer.global_config.impression_fast_cpu = (
    os.environ.get('IMPRESSION_FAST_CPU', '1') != '0')


class _Engine:
    """The kernels, the BLAS and the worker threads of one process.

    Built on first use: importing Numba takes about a second, which a program
    that runs no network on the CPU should not pay.

    Args:
        n_threads (int or None): number of threads; by default as many as the
            BLAS has: it has read OMP_NUM_THREADS and the CPU affinity.
    """

    def __init__(self, n_threads=None):
        try:
            # Both come with librosa.
            import threadpoolctl

            from chainer_impression.functions import kernels
            kernels.self_test()
            blas = threadpoolctl.ThreadpoolController().select(user_api='blas')
        except Exception as error:  # a broken Numba breaks in many ways
            warnings.warn(
                'The network runs at the speed of plain Chainer on the CPU, '
                'several times slower than it could: {}: {}'.format(
                    type(error).__name__, error), RuntimeWarning)
            self.kernels = None
            self.n_threads = n_threads
            return
        self.kernels = kernels
        self.blas = blas
        self.n_threads = n_threads or max(
            (library.num_threads for library in blas.lib_controllers),
            default=os.cpu_count() or 1)
        self.workers = concurrent.futures.ThreadPoolExecutor(
            max(self.n_threads - 1, 1), 'impression')
        # The number of BLAS threads belongs to the process, so only one
        # function at a time may change it.
        self.lock = threading.Lock()


_engine = None
_engine_lock = threading.Lock()
_n_threads = None


def engine():
    """Returns the engine of this process."""
    global _engine, _n_threads
    if _engine is None:
        with _engine_lock:
            if _engine is None:
                _engine = _Engine(_n_threads)
                _n_threads = _engine.n_threads
    return _engine


def _forget():
    """Makes a forked child start afresh.

    It inherits locks, perhaps held, and no worker threads. Only the number of
    threads stays: the parent may have limited the BLAS when it forked.
    """
    global _engine, _engine_lock
    _engine, _engine_lock = None, threading.Lock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)


def is_fast(*arrays):
    """Says whether the fast path takes these arrays.

    Args:
        *arrays: arrays or None.

    Returns:
        bool: True if the switch is on, every array is a NumPy array of native
        float32, and the kernels work.
    """
    return (chainer.config.impression_fast_cpu
            and all(array is None or (type(array) is np.ndarray
                                      and array.dtype == np.float32)
                    for array in arrays)
            and engine().kernels is not None)


def ready(array):
    """Returns ``array`` as the kernels take it: C-contiguous and writeable.

    No kernel writes to an input, but Numba compiles each kernel once more for
    read-only arrays. They are rare, and a copy costs less.
    """
    return np.require(array, requirements=('C', 'A', 'W'))


def refuse_empty(x):
    """Raises ValueError if ``x`` has no elements."""
    if x.size == 0:
        raise ValueError(
            'The input is empty: its shape is {}.'.format(x.shape))


def share(count):
    """Cuts ``range(count)`` into one contiguous range for each thread.

    Args:
        count (int): number of samples, channels or tiles.

    Returns:
        list of (int, int): start and end of each range, none of them empty;
        the same every time.
    """
    parts = min(engine().n_threads, count)
    return [(count * i // parts, count * (i + 1) // parts)
            for i in range(parts)]


def run(function, count):
    """Calls ``function(start, end)`` for each range of ``share(count)``.

    Each call runs in a thread of its own. What it computes may depend on
    nothing but its range; then the result is the same every time, bit for bit.

    Args:
        function (callable): releases the global lock while it works.
        count (int): number of samples, channels or tiles.

    Returns:
        list: what the calls returned, in the order of the ranges.
    """
    first, *others = share(count)
    this = engine()
    with this.lock:
        if not others:
            return [function(*first)]
        with this.blas.limit(limits=1):
            others = [this.workers.submit(function, *part) for part in others]
            try:
                results = [function(*first)]
            finally:
                # The workers write to arrays of the caller, who must neither
                # go on nor fail before they have finished.
                concurrent.futures.wait(others)
            return results + [other.result() for other in others]
