"""The network against its peers: training, frames, whole clips, the paper."""

import contextlib
import statistics

import numpy

from benchmarks import networks
from benchmarks.measure import (
    Missing, Peer, comparisons, format_seconds, growth, ratios, row)
from chainer_impression.evaluations import paper_results

#: What traits of engines in single precision may differ by.
_AGREE = 1e-4


@contextlib.contextmanager
def peers_of(bench, kinds, function, **arguments):
    """The peers that this machine has, started; the others are noted.

    Yields:
        list of Peer
    """
    with contextlib.ExitStack() as stack:
        started, peers = [], []
        for kind in kinds:
            started.append(Peer(
                kind, 'networks', function, bench.threads, kind=kind,
                weights=bench.materials.weights, **arguments))
            stack.callback(started[-1].close)
        for peer in started:
            try:
                peers.append(peer.__enter__())
            except Missing as error:
                bench.note_missing(peer.name, error)
        yield peers
        for peer in peers:
            bench.note_pools(peer)


def training(bench):
    """A training step: stock Chainer, ours, PyTorch; growth with the batch.

    Returns:
        tuple: rows, growths.
    """
    sizes = [n for n in (4, 8, 16) if n < bench.batch] + [bench.batch]
    with peers_of(bench, networks.TRAINING, 'training_step',
                  examples=bench.materials.batch) as peers:
        measured = bench.grid(peers, sizes, lambda n: (n,))
    rows = comparisons(
        measured, networks.OURS, (networks.STOCK, networks.TORCH),
        'a training step at batch {}', {networks.STOCK: 3})
    rows += _memory(measured, 'training at batch {}')
    return rows, [growth('a training step', 'examples in the batch',
                         measured)]


def frames(bench):
    """Frames per second through the visual stream.

    Returns:
        tuple: rows, growths.
    """
    n = 2 if bench.quick else 32
    with peers_of(bench, networks.PREDICTING, 'visual_stream',
                  threads=bench.threads,
                  frames=bench.materials.frames) as peers:
        measured = bench.grid(peers, [n], lambda n: (n,))
    rows = [
        row('visual stream, 456x256: {}'.format(kind),
            [n / s for s in cells[n]['seconds']], 'frames/s',
            note='{} frames'.format(n))
        for kind, cells in measured.items() if cells]
    return rows + _compared(measured, 'visual stream, {} frames'), []


def _compared(measured, what):
    """Ours against the peers that one would take instead."""
    return (
        comparisons(measured, networks.OURS,
                    (networks.STOCK, networks.TORCH), what)
        + comparisons(measured, networks.OPENVINO, (
            networks.STOCK, networks.OURS, networks.TORCH,
            networks.ONNXRUNTIME), what)
        + comparisons(measured, networks.BFLOAT16, (networks.OPENVINO,),
                      what))


def clips(bench):
    """Whole clips from file to traits: growth with length, agreement, memory.

    Returns:
        tuple: rows, growths.
    """
    materials = bench.materials
    lengths = [0.2, 0.4] if bench.quick else [1., 4., 15., 60.]
    kinds = [kind for kind in networks.PREDICTING
             if kind != networks.ONNXRUNTIME]
    real = lengths[-2]  # what a clip of the challenge lasts

    def argument(seconds):
        # One of the length of the clips is one of the clips.
        return ([materials.clips[0] if seconds == real and not bench.quick
                 else materials.cut(seconds)],)

    with peers_of(bench, kinds, 'whole_clip', threads=bench.threads) as peers:
        measured = bench.grid(peers, lengths[:-1], argument)
        # Longer than the data set's clips: for the engines that are for it.
        fast = [peer for peer in peers if peer.name in (
            networks.OPENVINO, networks.BFLOAT16)]
        if fast:
            for name, cells in bench.grid(
                    fast, lengths[-1:], argument, rounds=1).items():
                measured[name].update(cells)
        throughput = [r for peer in fast[:1]
                      for r in _throughput(bench, peer)]
    rows = []
    for kind, goal in ((networks.OPENVINO, 2.7), (networks.BFLOAT16, 1.5)):
        if real in measured.get(kind, ()):
            rows.append(row(
                'a clip end to end, warm: {}'.format(kind),
                measured[kind][real]['seconds'], 's', at_most=goal,
                note='decoding and network together'))
    own = {kind: {size: cell for size, cell in cells.items()
                  if size <= real} for kind, cells in measured.items()}
    rows += _compared(own, 'a clip of {:g} s end to end')
    rows += _agreement(own)
    rows += _memory(own, 'a clip of {:g} s', {networks.OPENVINO: 600})
    return rows + throughput, [growth(
        'a clip end to end', 'seconds of the clip', measured)]


def _throughput(bench, peer):
    """Many clips against the slower of decoder and network."""
    paths = bench.materials.clips * 2
    if bench.quick:
        paths = [bench.materials.cut(0.2)]
    seconds = {'all': [], 'decode': [], 'network': []}
    peer.run(paths, 'network')  # decodes them, for later
    for _ in range(max(1, bench.rounds - 1)):
        for what in seconds:
            seconds[what].append(peer.run(paths, what)['seconds'])
    slower = [max(pair) for pair in zip(seconds['decode'],
                                        seconds['network'])]
    return [row(
        'clips one after the other, {}, against the slower of decoder and '
        'network'.format(peer.name), ratios(seconds['all'], slower),
        'times as long', note='{} clips, {} together; alone, on all cores '
        'each, the decoder {} and the network {}'.format(len(paths), *(
            format_seconds(statistics.median(seconds[what]))
            for what in ('all', 'decode', 'network'))))]


def _agreement(measured):
    """How far the traits are from those of the Chainer network."""
    rows = []
    reference = measured.get(networks.OURS, {})
    for kind, cells in measured.items():
        common = [size for size in cells if size in reference]
        if kind == networks.OURS or not common:
            continue
        differences = [numpy.abs(numpy.subtract(
            cells[size]['result'], reference[size]['result'])).max()
            for size in common]
        rows.append(row(
            'largest difference of a trait: {} from {}'.format(
                kind, networks.OURS), [max(differences)], '',
            at_most=None if kind == networks.BFLOAT16 else _AGREE))
    return rows


def _memory(measured, what, goals=None):
    """Peak memory of each peer at its largest size."""
    return [
        row('peak memory, {}: {}'.format(what.format(max(cells)), kind),
            [cells[max(cells)]['peak'] / 1e6], 'MB',
            at_most=(goals or {}).get(kind),
            note='its process; ffmpeg\'s is not counted')
        for kind, cells in measured.items() if cells]


def device(bench):
    """The paper's timing on the device at hand.

    Returns:
        tuple: rows, growths.
    """
    steps = 1 if bench.quick else 4
    batch = min(bench.batch, bench.materials.n_cached)
    with Peer('device', 'networks', 'on_device', bench.threads,
              device=bench.device, weights=bench.materials.weights,
              cache=bench.materials.cache, batch_size=batch) as peer:
        clip = bench.materials.cut(0.2) if bench.quick \
            else bench.materials.clips[0]
        peer.run('train', 1)
        engine = peer.run('clip', clip)['result']['engine']
        train, whole = [], []
        for _ in range(bench.rounds):
            train.append(peer.run('train', steps)['seconds'] / steps / batch)
            whole.append(peer.run('clip', clip)['seconds'])
        bench.note_pools(peer)
    name = 'device {}'.format(bench.device)
    return [
        row('a training example on {}'.format(name),
            [1000 * s for s in train], 'ms',
            note='batches of {}, loading included; the paper, one chip of a '
            'Tesla K80: {:.0f} ms'.format(
                batch, 1000 * paper_results.SECONDS_PER_TRAINING_EXAMPLE)),
        row('a whole clip on {}'.format(name), whole, 's',
            note='from file to traits, {}; the paper, one chip of a Tesla '
            'K80: {} s'.format(engine, paper_results.SECONDS_PER_CLIP)),
        row('a training example against the paper\'s K80',
            [s / paper_results.SECONDS_PER_TRAINING_EXAMPLE for s in train],
            'times as long', note='not measured in one run: the paper\'s '
            'figure'),
        row('a whole clip against the paper\'s K80',
            [s / paper_results.SECONDS_PER_CLIP for s in whole],
            'times as long', note='not measured in one run: the paper\'s '
            'figure'),
    ], []
