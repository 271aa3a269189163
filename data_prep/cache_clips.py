"""Resample every clip found below SOURCE into CACHE (section 3 of the paper).

Video to 456 x 256 pixels and 25 frames per second, sound to 16 kHz, mono. A
cached clip is an AVI file that any player opens. The command can be stopped at
any moment; the same command goes on where it was. Clips that cannot be read
are listed in CACHE/failures.csv (a part's in failures-I-of-N.csv), and the
status is then 1.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import errno
import os
import shutil
import tempfile
import threading
import time

from chainer_impression import command_line, media
from chainer_impression.datasets import clip_cache
from chainer_impression.errors import ImpressionError
from chainer_impression.files import (
    UNFINISHED_PREFIX, cannot_write, lock_alone, make_folder,
    replace_when_done)

#: What counts as a clip in SOURCE, by the end of its name.
VIDEO_EXTENSIONS = frozenset(
    '.mp4 .m4v .mov .avi .mkv .webm .flv .wmv .mpg .mpeg .ts .3gp'.split())

#: Clips whose duration is read to estimate what the cache will take.
N_SAMPLED = 12


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog='python -m data_prep.cache_clips', description=__doc__,
        formatter_class=command_line.HelpFormatter)
    parser.add_argument('source', metavar='SOURCE',
                        help='a folder of clips, nested as deep as you like')
    parser.add_argument('cache', metavar='CACHE',
                        help='a folder for the cached clips, about 6 MB for '
                             '15 s; it is made if it is not there')
    parser.add_argument(
        '--workers', '-j', type=command_line.at_least(1), metavar='N',
        default=n_cores(),
        help='clips that are resampled at the same time, one core each')
    parser.add_argument(
        '--shard', type=parse_shard, default='1/1', metavar='I/N',
        help='do only the I-th of N parts of the work, so that N machines can '
             'share it, all writing to one shared CACHE')
    parser.add_argument(
        '--ignore-free-space', action='store_true',
        help='start even if the cache will probably not fit on the disk')
    return parser.parse_args()


def n_cores():
    """Cores that this process may use, which a cluster can limit."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on a Mac
        return os.cpu_count()


def parse_shard(text):
    try:
        i, n = map(int, text.split('/'))
    except ValueError:
        i, n = 0, 0
    if not 1 <= i <= n:
        raise argparse.ArgumentTypeError(
            '{!r} is no part such as 2/4'.format(text))
    return i, n


def find_clips(source, cache):
    """All clips below a folder.

    Links are followed; each folder is entered, each clip listed, once.

    Args:
        source: the folder.
        cache: a folder that must not be met, not through a link either.

    Returns:
        list of str: paths, sorted.

    Raises:
        ImpressionError: there is no such folder, no clip in it, a folder
            below it that cannot be read, or the cache.
    """
    if not os.path.isdir(source):
        raise ImpressionError(
            '{}: is a file; give the folder that holds it'.format(source)
            if os.path.exists(source) else
            '{}: there is no such folder'.format(source))
    check_apart(source, cache)
    entered, clips = set(), []
    for folder, subfolders, names in os.walk(
            source, followlinks=True, onerror=_cannot_read):
        # Here and not where it is found: links beside it may lead to it.
        if os.path.realpath(folder) in entered:
            subfolders.clear()
            continue
        entered.add(os.path.realpath(folder))
        if os.path.realpath(folder) == os.path.realpath(cache):
            raise ImpressionError(
                '{}: leads to the cache, which would be cached in turn; '
                'remove this link or choose another folder for the cache'
                .format(folder))
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith('.'))
        clips += [os.path.join(folder, name) for name in names
                  if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS
                  and not name.startswith('.')]
    if not clips:
        raise ImpressionError('{}: holds no clip ({})'.format(
            source, ' '.join(sorted(VIDEO_EXTENSIONS))))
    # A link to a clip under the clip's own name is that clip once more.
    same = {(os.path.realpath(clip), os.path.basename(clip)): clip
            for clip in sorted(clips, reverse=True)}
    return sorted(same.values())


def _cannot_read(error):
    raise ImpressionError('{}: the folder cannot be read ({})'.format(
        error.filename, error.strerror)) from error


def check_apart(source, cache):
    """Refuse a cache inside its source, where it would be found as clips."""
    source, cache = os.path.realpath(source), os.path.realpath(cache)
    if os.path.commonpath((source, cache)) in (source, cache):
        raise ImpressionError(
            '{}: the cache and the source must not lie in one another; choose '
            'another folder for the cache'.format(cache))


def check_free_space(clips, cache, ignore):
    """Estimate what the cache of these clips takes, and say so.

    Raises:
        ImpressionError: it is more than is free, unless that is ignored.
    """
    sampled = clips[::max(1, len(clips) // N_SAMPLED)][:N_SAMPLED]
    # Longer ones are refused or damaged, and take nothing.
    durations = [d for d in map(stated_duration, sampled)
                 if d and d <= clip_cache.MAX_SECONDS]
    if not durations:
        return
    mean = sum(durations) / len(durations)
    needed = len(clips) * mean * clip_cache.BYTES_PER_SECOND
    free = shutil.disk_usage(cache).free
    sentence = '{} clips to cache, about {}; {} are free'.format(
        len(clips), in_words(needed), in_words(free))
    print(sentence, flush=True)
    if needed > free and not ignore:
        raise ImpressionError(
            '{}: {}: free some space, or pass --ignore-free-space'.format(
                cache, sentence))


def in_words(n_bytes):
    # A disk that is too small by a little has to look too small.
    return '{:.1f} GB'.format(n_bytes / 1e9) if n_bytes >= 1e9 else \
        '{:.1f} MB'.format(n_bytes / 1e6)


def stated_duration(clip):
    """Seconds that a clip's header states, None if it cannot be read."""
    try:
        with media.Decoder(clip, ['-t', '0', '-f', 'null']) as decoder:
            decoder.finish()
            return decoder.duration
    except media.MediaError:
        return None


@contextlib.contextmanager
def sole_use(cache, shard):
    """Keep a second run of the same part out, and clean up after a dead one.

    Yields:
        str: a folder for what is not finished yet.
    """
    suffix = '{}-of-{}'.format(*shard)
    with open_to_write(os.path.join(cache, '.lock-' + suffix)) as lock:
        try:
            # On a file system without locks each file is still whole.
            lock_alone(lock)
        except BlockingIOError as error:
            raise ImpressionError(
                '{}: another run is at work on this cache; wait for it, or '
                'divide the work with --shard'.format(cache)) from error
        remove_unfinished(cache, shard)
        try:
            # A name of its own: a dead run's ffmpeg may still be writing.
            unfinished = tempfile.mkdtemp(
                prefix=UNFINISHED_PREFIX + suffix + '-', dir=cache)
        except OSError as error:
            raise cannot_write(cache, error) from error
        try:
            yield unfinished
        finally:
            remove_unfinished(cache, shard)


def remove_unfinished(cache, shard):
    """Remove what this part's run left unfinished, now or when it died."""
    folder = UNFINISHED_PREFIX + '{}-of-{}-'.format(*shard)
    table = '-' + failures_name(shard)
    for name in os.listdir(cache):
        path = os.path.join(cache, name)
        if name.startswith(folder):
            shutil.rmtree(path, ignore_errors=True)
        elif name.startswith(UNFINISHED_PREFIX) and name.endswith(table):
            with contextlib.suppress(OSError):
                os.unlink(path)


def open_to_write(path):
    try:
        return open(path, 'w')
    except OSError as error:
        raise cannot_write(path, error) from error


def cache_clip(clip, destination, unfinished):
    """Cache one clip; it takes its name in the cache only when it is whole."""
    path = os.path.join(
        unfinished, str(threading.get_ident()) + clip_cache.EXTENSION)
    try:
        # A name that is too long shows here, before the work and not after.
        with contextlib.suppress(FileNotFoundError):
            os.lstat(destination)
        clip_cache.write(clip, path)
        os.replace(path, destination)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise media.MediaError(
                '{}: its name is too long to add {}; shorten it'.format(
                    clip, clip_cache.EXTENSION)) from error
        raise cannot_write(destination, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def failures_name(shard):
    return 'failures.csv' if shard == (1, 1) else \
        'failures-{}-of-{}.csv'.format(*shard)


def write_failures(cache, shard, failures):
    """Write the list of clips that could not be read, or remove an old one."""
    path = os.path.join(cache, failures_name(shard))
    if failures:
        with replace_when_done(path, newline='', encoding='utf-8',
                               errors='backslashreplace') as file:
            csv.writer(file).writerows([('clip', 'reason'), *failures])
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return path


def split_by_name(clips):
    """Set apart the clips that labels could not tell from one another.

    Returns:
        tuple: the clips whose name is theirs alone, and for the others a list
        of (clip, reason).
    """
    by_name = collections.defaultdict(list)
    for clip in clips:
        by_name[os.path.basename(clip)].append(clip)
    unique = [same[0] for same in by_name.values() if len(same) == 1]
    ambiguous = [
        (clip, '{}: has the same name as {}, and labels know a clip by its '
               'name; rename or remove one of them'.format(
                   clip, same[0] if clip != same[0] else same[1]))
        for same in by_name.values() if len(same) > 1 for clip in same]
    return unique, ambiguous


def main():
    args = parse_arguments()
    clips = find_clips(args.source, args.cache)
    make_folder(args.cache)
    i, n = args.shard
    clips, failures = (part[i - 1::n] for part in split_by_name(clips))
    n_ambiguous = len(failures)
    destinations = {clip: os.path.join(
        args.cache, os.path.basename(clip) + clip_cache.EXTENSION)
        for clip in clips}
    with sole_use(args.cache, args.shard) as unfinished:
        missing = [c for c in clips
                   if not clip_cache.is_current(c, destinations[c])]
        if len(missing) < len(clips):
            print('{} of {} clips are cached already'.format(
                len(clips) - len(missing), len(clips)))
        if missing:
            check_free_space(missing, args.cache, args.ignore_free_space)
        with command_line.Progress(
                len(missing), 'clips', 'caching') as progress:
            for _, reason in failures:
                progress.say(reason)
            for clip, error in run_all(
                    missing, args.workers,
                    lambda c: cache_clip(c, destinations[c], unfinished)):
                if error is not None:
                    progress.say(str(error))
                    failures.append((clip, str(error)))
                    write_failures(args.cache, args.shard, failures)
                progress.advance()
        path = write_failures(args.cache, args.shard, sorted(failures))
    print('{} clips are in {}'.format(
        len(clips) - (len(failures) - n_ambiguous), args.cache))
    if failures:
        raise ImpressionError(
            '{} clips could not be cached; {} names them with the reasons'
            .format(len(failures), path))


def run_all(clips, workers, work):
    """Do the work for each clip, in threads: it is ffmpeg's, not Python's.

    Yields:
        tuple: (clip, what was wrong with it or None), as they finish.

    Raises:
        ImpressionError: the cache cannot be written, said at once, for the
            other clips would fail as well.
    """
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        pending = {pool.submit(work, clip): clip for clip in clips}
        for future in concurrent.futures.as_completed(pending):
            try:
                future.result()
            except media.MediaError as error:
                yield pending[future], error
            else:
                yield pending[future], None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # Who stops this early, with Ctrl-C, does not wait for long clips. A
        # clip takes more than one ffmpeg, so there may be a next one.
        while not all(future.done() for future in pending):
            media.stop_all()
            time.sleep(0.05)


if __name__ == '__main__':
    command_line.run(main)
