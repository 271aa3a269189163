"""When the fast NumPy path is used, and how its work is spread over the cores.

Chainer leaves most of a CPU training step to single-threaded NumPy calls that walk over whole mini-batches: arrays
far larger than the caches, copied several times. The functions of this package cut the same work into tiles that stay
in a core's cache, and give each core its own share of the tiles:

- gather, scatter, normalization and pooling are small Numba kernels that release Python's global lock;
- the products stay with the BLAS behind ``numpy.matmul``, limited to one thread because there is one tile per core.

Plain Python threads carry the work, not Numba's or OpenMP's. Numba's portable threading layer aborts the process when
two Python threads enter it at once, and none of the others is always installed or survives a fork.
"""
import concurrent.futures
import os
import threading

import chainer
import numpy as np

# Thread-local like every entry of chainer.config: `with chainer.using_config('impression_fast_cpu', False): ...`
chainer.global_config.impression_fast_cpu = os.environ.get('IMPRESSION_FAST_CPU', '1') != '0'


class _Engine:
    """The kernels, the BLAS and the worker threads; built on first use, once for each process.

    Importing Numba takes about a second, which a program that never runs a network on the CPU should not pay.
    """

    def __init__(self):
        # Both come with librosa. Where either is missing or broken, whatever way it breaks, Chainer's own path is used.
        try:
            import threadpoolctl

            from chainer_impression.functions import kernels
            kernels.self_test()
            self.kernels = kernels
            self.blas = threadpoolctl.ThreadpoolController().select(user_api='blas')
        except Exception:
            self.kernels = None
            return
        # As many threads as the BLAS would have used: it has read OMP_NUM_THREADS and its kin and the CPU affinity.
        self.n_threads = max((library.num_threads for library in self.blas.lib_controllers), default=os.cpu_count() or 1)
        self.workers = concurrent.futures.ThreadPoolExecutor(max(self.n_threads - 1, 1), 'impression')
        # The limit on BLAS threads belongs to the process, so one function runs at a time.
        self.lock = threading.Lock()


_engine = None
_engine_lock = threading.Lock()


def engine():
    """Returns the engine of this process."""
    global _engine
    if _engine is None:
        with _engine_lock:
            if _engine is None:
                _engine = _Engine()
    return _engine


def _forget():
    """A forked child inherits locks, perhaps held, but no worker threads: it starts afresh."""
    global _engine, _engine_lock
    _engine, _engine_lock = None, threading.Lock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)


def is_fast(*arrays):
    """Says whether the fast path takes these arrays; if not, Chainer's own path has to.

    Args:
        *arrays: Arrays or None.

    Returns:
        bool: True if the switch is on, the kernels work, and every array is a NumPy array of native float32.
    """
    return (chainer.config.impression_fast_cpu
            and all(array is None or type(array) is np.ndarray and array.dtype == np.float32 for array in arrays)
            and engine().kernels is not None)


def ready(array):
    """Returns ``array`` as the kernels take it: C-contiguous and writeable (they never write to it).

    A kernel compiled for writeable arrays refuses read-only ones; a copy of the rare read-only input costs less than
    compiling every kernel twice.
    """
    return np.require(array, requirements=('C', 'A', 'W'))


def refuse_empty(x):
    """Raises ValueError if ``x`` has no elements."""
    if x.size == 0:
        raise ValueError('The input is empty: its shape is {}.'.format(x.shape))


def share(count):
    """Cuts ``range(count)`` into one contiguous range for each thread, the same way every time.

    Args:
        count (int): Number of samples, channels or tiles.

    Returns:
        list of (int, int): Start and end of each range; none is empty.
    """
    parts = min(engine().n_threads, count)
    return [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def run(function, count):
    """Calls ``function(start, end)`` for each of ``share(count)``, each in a thread of its own.

    What a call computes must depend on nothing but its own range; then the result is the same bit for bit every time.

    Args:
        function (callable): Releases the global lock where its work is done.
        count (int): Number of samples, channels or tiles.

    Returns:
        list: What the calls returned, in the order of the ranges.
    """
    ranges = share(count)
    this = engine()
    with this.lock:
        if len(ranges) == 1:
            return [function(*ranges[0])]
        with this.blas.limit(limits=1):
            others = [this.workers.submit(function, *range_) for range_ in ranges[1:]]
            try:
                first = function(*ranges[0])
            finally:
                # The workers write to arrays of the caller, who must not go on, or fail, before they have finished.
                concurrent.futures.wait(others)
            return [first] + [other.result() for other in others]
