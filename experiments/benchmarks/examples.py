"""Training examples out of the cache: crop, flip, labels included."""

import os
import subprocess

import numpy

from benchmarks.measure import Peer, format_seconds, ratios, row
from chainer_impression import media
from chainer_impression.datasets.clip_cache import cached_clips
from chainer_impression.traits import TRAITS


def training_examples(cache):
    """The examples of a folder of cached clips, with labels drawn by chance.

    Args:
        cache: the folder.

    Returns:
        chainer_impression.datasets.clip_dataset.TrainingExamples
    """
    # Here, for it imports Chainer, which not everybody here needs.
    from chainer_impression.datasets.clip_dataset import TrainingExamples
    clips = cached_clips(cache)
    random = numpy.random.Generator(numpy.random.PCG64(0))
    return TrainingExamples(
        clips, {name: random.random(len(TRAITS)) for name in clips}, seed=0)


# --- in the peers' processes ------------------------------------------------

def from_cache(cache):
    """Reads examples, warm or cold.

    Args:
        cache: a folder of cached clips.

    Returns:
        a function of whether to read cold and of the number of examples; it
        returns ``seconds`` that reading them took, without the dropping of
        pages, and the share of ``cold`` ones among their files.
    """
    import time
    examples = training_examples(cache)
    paths = list(cached_clips(cache).values())
    next_index = 0

    def run(cold, n):
        nonlocal next_index
        seconds, n_cold = 0., 0
        for _ in range(n):
            index, next_index = next_index, next_index + 1
            if cold:
                n_cold += drop_from_page_cache(paths[index % len(paths)])
            start = time.perf_counter()
            examples[index]
            seconds += time.perf_counter() - start
        return {'seconds': seconds, 'cold': n_cold / n}
    return run


def drop_from_page_cache(path):
    """Ask the kernel to forget a file.

    Returns:
        bool: whether it did. Not every system and file system does.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            # Gives what is in memory, and fails where it would have to read.
            os.preadv(descriptor, [bytearray(1)],
                      os.fstat(descriptor).st_size // 2, os.RWF_NOWAIT)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return True
    except (AttributeError, OSError):
        pass
    return False


def from_clips(clips):
    """Reads the same kind of example straight from mp4 files, with ffmpeg.

    Args:
        clips (list): paths.

    Returns:
        a function of the number of examples; it returns their ``seconds``.
    """
    import time
    random = numpy.random.Generator(numpy.random.PCG64(0))

    def read(clip, *arguments):
        return subprocess.run(
            [media.ffmpeg_binary(), '-nostdin', '-v', 'error', '-threads',
             '1', *arguments[:2], '-i', 'file:' + clip, *arguments[2:], '-'],
            stdout=subprocess.PIPE, check=True).stdout

    def run(n):
        start = time.perf_counter()
        for i in range(n):
            clip = clips[i % len(clips)]
            at = '{:.2f}'.format(random.random() * 0.5)
            frame = numpy.frombuffer(read(
                clip, '-ss', at, '-frames:v', '1', '-vf', media.SCALED, '-f',
                'rawvideo', '-pix_fmt', 'rgb24'), numpy.uint8)
            frame.reshape(media.FRAME_HEIGHT, media.FRAME_WIDTH, 3)[
                :224, :224].transpose(2, 0, 1).astype(numpy.float32)
            numpy.frombuffer(read(
                clip, '-ss', at, '-t', '3.136', '-vn', '-ac', '1', '-ar',
                str(media.SAMPLE_RATE), '-f', 'f32le'), numpy.float32)
        return {'seconds': time.perf_counter() - start}
    return run


def loader(cache):
    """Reads examples with Chainer's iterator, as training does.

    Args:
        cache: a folder of cached clips.

    Returns:
        a function of the number of threads and of examples.
    """
    from chainer_impression import training
    examples = training_examples(cache)

    def run(n_threads, n):
        batch = min(32, len(examples))
        iterator = training.examples_iterator(examples, batch, 0, n_threads)
        for _ in range(-(-n // batch)):
            next(iterator)
        iterator.finalize()
        return -(-n // batch) * batch
    return run


# --- the part ---------------------------------------------------------------

def examples(bench):
    """Milliseconds an example, warm and cold, and how loading grows.

    Returns:
        tuple: rows, growths.
    """
    materials, n = bench.materials, 8 if bench.quick else 100
    size = sum(os.path.getsize(path)
               for path in cached_clips(materials.cache).values())
    with Peer('cache', 'examples', 'from_cache', 1,
              cache=materials.cache) as cache, \
            Peer('mp4', 'examples', 'from_clips', 1,
                 clips=materials.clips) as clips:
        cache.run(False, n)
        each = {'warm': [], 'cold': [], 'mp4': []}
        share, processor = [], []
        for _ in range(bench.rounds):
            warm = cache.run(False, n)
            each['warm'].append(warm['result']['seconds'] / n)
            processor.append(1000 * warm['processor'] / n)
            cold = cache.run(True, n)['result']
            each['cold'].append(cold['seconds'] / n)
            share.append(cold['cold'])
            few = 2
            each['mp4'].append(clips.run(few)['result']['seconds'] / few)
    ms = {name: [1000 * s for s in seconds]
          for name, seconds in each.items()}
    rows = [
        row('a training example out of the cache, files in memory',
            ms['warm'], 'ms', at_most=3, note='one core, {:.2f} ms of its '
            'time; {} cached clips, {:.0f} MB'.format(
                numpy.median(processor), materials.n_cached, size / 1e6)),
        row('the same, files not in memory', ms['cold'], 'ms', at_most=3,
            note='not a cache larger than memory: the kernel was told to '
            'forget each file before it was read, and had forgotten {:.0%} '
            'of them'.format(numpy.mean(share))),
        row('a training example out of the cache against out of the mp4, '
            'ffmpeg seeking', ratios(each['mp4'], each['warm']),
            'times as fast', note='{} against {}'.format(*(
                format_seconds(numpy.median(each[name]))
                for name in ('warm', 'mp4'))))]
    more_rows, growths = _loading(bench, n)
    return rows + more_rows, growths


def _loading(bench, n):
    counts = sorted({1, 2, bench.threads})
    seconds = {count: [] for count in counts}
    with Peer('loader', 'examples', 'loader', bench.threads,
              cache=bench.materials.cache) as peer:
        peer.run(1, n)
        for _ in range(bench.rounds):
            for count in counts:
                answer = peer.run(count, n)
                seconds[count].append(answer['seconds'] / answer['result'])
        peak = peer.peak
    return [row(
        'examples per second out of the cache, 2 loading threads',
        [1 / s for s in seconds[2]], 'examples/s',
        note='with one thread {:.0f}'.format(
            1 / numpy.median(seconds[1])))], [{
                'what': 'loading an example', 'axis': 'loading threads',
                'peers': {'MultithreadIterator': [
                    [count, float(numpy.median(seconds[count])), peak]
                    for count in counts]}}]
