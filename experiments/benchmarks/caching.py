"""Caching clips: how fast, with how many workers, and how good the result is.
"""

import os
import resource
import subprocess
import time

import numpy

from benchmarks.materials import duration
from benchmarks.measure import in_turns, format_seconds, ratios, row, timed
from chainer_impression import media
from chainer_impression.datasets import clip_cache
from data_prep.cache_clips import cache_clip, run_all


def decode(clip):
    """Let ffmpeg decode a clip, picture and sound, and nothing else.

    With one decoding thread, as the cache's writer has it.
    """
    subprocess.run(
        [media.ffmpeg_binary(), '-nostdin', '-v', 'error', '-threads', '1',
         '-i', 'file:' + clip, '-f', 'null', '-'], check=True)


def _wall_and_processor(function, processor):
    """As :func:`timed`, and appends the processor time to a list."""
    def call():
        def used():
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return usage.ru_utime + usage.ru_stime + time.process_time()
        before = used()
        seconds = timed(function)()
        processor.append(used() - before)
        return seconds
    return call


def speed(bench):
    """Caching against decoding; two workers against one.

    Returns:
        tuple: rows, growths; see :mod:`benchmarks.measure`.
    """
    rows, wall, processor = [], ([], []), ([], [])
    out = bench.materials.path('written.avi')
    for clip in bench.materials.clips:
        seconds = in_turns({
            'decode': _wall_and_processor(
                lambda: decode(clip), processor[1]),
            'write': _wall_and_processor(
                lambda: clip_cache.write(clip, out), processor[0]),
        }, bench.rounds)
        wall[0].extend(seconds['write'])
        wall[1].extend(seconds['decode'])
    note = '{} against {}; one decoding thread in both, other threads of ' \
        'ffmpeg as it likes'
    rows.append(row(
        'caching a clip against decoding it with the same ffmpeg',
        ratios(*wall), 'times as long', at_most=1.25,
        note=note.format(*map(_median, wall))))
    rows.append(row(
        'the same, in processor time of all cores', ratios(*processor),
        'times as much', note='{} against {}'.format(
            *map(_median, processor))))
    more_rows, growths = _workers(bench)
    return rows + more_rows, growths


def _median(seconds):
    return format_seconds(numpy.median(seconds))


def _workers(bench):
    clips = []
    n_clips = 2 if bench.quick else 4
    for i in range(n_clips):
        source = bench.materials.clips[i % len(bench.materials.clips)]
        path = bench.materials.path('source.{:03}.mp4'.format(i))
        os.symlink(source, path)
        clips.append(path)
    unfinished = bench.materials.path('unfinished')
    os.mkdir(unfinished)

    def cache_all(workers):
        def call():
            for _, error in run_all(clips, workers, lambda clip: cache_clip(
                    clip, clip + '.avi', unfinished)):
                if error is not None:
                    raise error
        return timed(call)

    def on_one_core(function):
        def call():
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(cores)})
            try:
                return function()
            finally:
                os.sched_setaffinity(0, cores)
        return call

    counts = sorted({1, 2, bench.threads})
    functions = {n: cache_all(n) for n in counts}
    if hasattr(os, 'sched_setaffinity'):  # not on a Mac
        functions['one core'] = on_one_core(cache_all(1))
    seconds = in_turns(functions, bench.rounds)
    note = '{} against {}; {} clips, {} cores'.format
    rows = [row(
        'caching with 2 workers against one', ratios(seconds[1], seconds[2]),
        'times as fast', at_least=1.7, note=note(
            _median(seconds[2]), _median(seconds[1]), n_clips, bench.threads)
        + '; threads of the one\'s ffmpeg use the other core as well')]
    if 'one core' in seconds:
        rows.append(row(
            'caching with 2 workers against one that is kept to one core',
            ratios(seconds['one core'], seconds[2]), 'times as fast',
            note=note(_median(seconds[2]), _median(seconds['one core']),
                      n_clips, bench.threads)))
    growths = [{
        'what': 'caching {} clips'.format(n_clips), 'axis': 'workers',
        'peers': {'cache_clips': [
            [n, float(numpy.median(seconds[n])), None] for n in counts]}}]
    return rows, growths


def quality(bench):
    """Size, picture and sound of cached clips.

    Returns:
        tuple: rows, growths.
    """
    megabytes, decibels, samples, correlations = [], [], [], []
    for clip, path in bench.materials.cached.items():
        cached = clip_cache.CachedClip(path)
        megabytes.append(
            os.path.getsize(path) / 1e6 * 15 / duration(clip))
        decibels.append(_psnr(media.read_frames(clip), cached.read_frames()))
        reference = _librosa_sound(bench, clip)
        sound = cached.read_audio()
        samples.append(abs(len(sound) - len(reference)))
        n = min(len(sound), len(reference))
        correlations.append(numpy.corrcoef(sound[:n], reference[:n])[0, 1])
    return [
        row('a cached clip of 15 s', megabytes, 'MB', at_most=8),
        row('picture against the same frames uncompressed', decibels,
            'dB PSNR', at_least=35, note='each figure is over all frames of '
            'a clip, RGB'),
        row('sound against librosa\'s resampling: difference in length',
            samples, 'samples', at_most=1),
        row('sound against librosa\'s resampling: correlation', correlations,
            '', at_least=0.999),
    ], []


def _psnr(reference, frames):
    """Peak signal-to-noise ratio over two streams of chunks, in dB."""
    squares, n = 0., 0
    for a, b in zip(reference, frames, strict=True):
        squares += numpy.square(
            a.astype(numpy.float32) - b).sum(dtype=numpy.float64)
        n += a.size
    return 10 * numpy.log10(255 ** 2 * n / max(squares, 1e-9))


def _librosa_sound(bench, clip):
    """The sound as librosa gives it from the decoded track."""
    import librosa

    from benchmarks.materials import run_ffmpeg
    track = bench.materials.path('track.wav')
    run_ffmpeg('-i', 'file:' + clip, '-map', '0:a:0', '-c:a', 'pcm_f32le',
               track)
    return librosa.load(track, sr=media.SAMPLE_RATE, mono=True)[0]
