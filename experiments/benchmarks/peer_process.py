"""The process in which a peer of a comparison lives.

It reads one JSON object a line: first which peer to make, then what to run.
It answers each with one. A process of its own gives each peer its own threads,
its own imports and a peak memory that nobody else added to.
"""

import importlib
import json
import os
import resource
import sys
import time
import warnings


def main():
    # Whatever libraries print goes to standard error, not between answers.
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)

    def answer(**content):
        print(json.dumps(content), file=answers, flush=True)

    # Here, so that a plain "import chainer" works in every peer.
    from chainer_impression.errors import ImpressionError
    request = json.loads(sys.stdin.readline())
    _use_cores(request['cores'])
    # The parent says what is missing; advice to users would come twice.
    warnings.simplefilter('ignore')
    try:
        module = importlib.import_module('benchmarks.' + request['module'])
        run = getattr(module, request['function'])(**request['arguments'])
    except ImpressionError as error:
        answer(missing=str(error))
        return
    answer(ready=True)
    for line in sys.stdin:
        arguments = json.loads(line)
        start, processor = time.perf_counter(), processor_seconds()
        result = run(*arguments)
        seconds = time.perf_counter() - start
        answer(seconds=seconds, processor=processor_seconds() - processor,
               result=result, peak=peak_memory(), threads=_thread_pools())


def _use_cores(n):
    """Give all libraries of this process the same n cores."""
    if hasattr(os, 'sched_setaffinity'):  # not on a Mac
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


def processor_seconds():
    """Seconds of processor time of this process and its ended children."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def peak_memory():
    """The most memory that this process has had, in bytes.

    Linux counts a process's ru_maxrss from before its exec, when it was a
    copy of its parent; the figure that /proc has begins with the exec.
    """
    try:
        with open('/proc/self/status') as file:
            for line in file:
                if line.startswith('VmHWM:'):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _thread_pools():
    """What computes here, and with how many threads."""
    pools = set()
    try:
        import threadpoolctl
    except ImportError:
        return []
    for pool in threadpoolctl.threadpool_info():
        if pool['user_api'] == 'blas':
            pools.add('{} {} ({} kernels), {} threads'.format(
                pool['internal_api'], pool['version'],
                pool.get('architecture', 'own'), pool['num_threads']))
    if 'torch' in sys.modules:
        pools.add('torch, {} threads'.format(
            sys.modules['torch'].get_num_threads()))
    return sorted(pools)


if __name__ == '__main__':
    main()
