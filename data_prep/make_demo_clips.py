"""Draw a small data set that stands in for ChaLearn First Impressions.

Drawn people who speak, in real mp4 files with labels in both formats of the
challenge, so that everything from the cache to Table 1 runs where the real
data is not at hand. What gives a trait away is the table ``CUES`` of
:mod:`data_prep.demo_cues`::

    extraversion       picture, sound   light; loudness of the voice
    agreeableness      picture          warmth of the light; smile
    openness           picture          pattern of wall and jumper
    conscientiousness  sound            breath in the voice
    neuroticism        sound            pitch and sharpness of the voice (a
                                        high value means stable: deep, dark)

Everything else (hair, skin, glasses, colours, the kind of pattern, the thing
in the background, place in the picture, pace and melody of the speech) is
drawn by chance for each video and means nothing. What lies where::

    OUT/demo_clips.json                       settings; the mark of a demo set
    OUT/train/training80_01/VIDEOID.NNN.mp4   nested as the archives unpack
    OUT/train/training80_02/VIDEOID.NNN.mp4
    OUT/validation/validation80_01/VIDEOID.NNN.mp4
    OUT/test/test80_01/VIDEOID.NNN.mp4
    OUT/labels/training_gt.csv                the first round's format
    OUT/labels/annotation_training.pkl        the second round's format
    OUT/labels/…                              the same for the other splits
"""

import argparse
import concurrent.futures
import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
import wave
from collections import Counter
from pathlib import Path

import numpy as np

from chainer_impression.command_line import (
    HelpFormatter, Progress, at_least, run)
from chainer_impression.datasets.labels import write_csv, write_pickle
from chainer_impression.errors import ImpressionError
from chainer_impression.files import (
    UNFINISHED_PREFIX, cannot_write, lock_alone, make_folder,
    replace_when_done)
from data_prep import demo_cues, demo_plan
from data_prep.drawn_people import (
    FRAME_RATE, HEIGHT, WIDTH, draw_person, frames)
from data_prep.drawn_voices import SAMPLE_RATE, draw_speaker, utter, voice

MARKER = 'demo_clips.json'
VERSION = 1   # goes up when the same settings draw something else
BYTES_PER_SECOND = 120_000   # of a clip, roughly; measured 75,000
# One thread, no dates, no versions: the same clip gives the same bytes.
BIT_EXACT = (
    '-fflags +bitexact -flags:v +bitexact -flags:a +bitexact '
    '-map_metadata -1 -f mp4').split()


def paths_of(clips, out):
    """Where clips lie below OUT, nested as the data set's archives unpack.

    Args:
        clips (list of data_prep.demo_plan.Clip): all clips of the set.
        out (pathlib.Path): the folder of the set.

    Returns:
        list of pathlib.Path: one for each clip.
    """
    n_training = sum(clip.split == 'training' for clip in clips)
    paths, place = [], 0
    for clip in clips:
        if clip.split == 'training':
            archive = f'training80_{1 + 2 * place // n_training:02d}'
            paths.append(out / 'train' / archive / clip.name)
            place += 1
        else:
            archive = f'{clip.split}80_01'
            paths.append(out / clip.split / archive / clip.name)
    return paths


def compose(clip, seconds, seed):
    """The picture and the sound of a clip, before any file is written.

    Args:
        clip (data_prep.demo_plan.Clip): the clip.
        seconds (float): its length, in seconds.
        seed (int): the chance.

    Returns:
        tuple: ``(frames, sound)``: an iterator of uint8 ``(360, 640, 3)``
        RGB, 30 per second, and float32 ``(n_samples, 2)`` in (-1, 1) at
        44,100 Hz.
    """
    def stream(purpose, *what):
        return demo_plan.random_stream(seed, purpose, clip.video, *what)

    person = draw_person(stream(demo_plan.PERSON))
    speaker = draw_speaker(stream(demo_plan.SPEAKER))
    utterance = utter(speaker, seconds, stream(demo_plan.SPEECH, clip.number))

    chance = stream(demo_plan.PICTURE, clip.number)
    cues = demo_cues.cue_values(clip.traits, 'picture', chance)
    picture = frames(person, utterance, cues, seconds, chance)

    chance = stream(demo_plan.SOUND, clip.number)
    cues = demo_cues.cue_values(clip.traits, 'sound', chance)
    return picture, voice(speaker, utterance, cues, seconds, chance)


def write_clip(path, clip, seconds, seed):
    """Write one clip, under a temporary name until it is whole.

    Args:
        path (pathlib.Path): where to; its folder exists.
        clip (data_prep.demo_plan.Clip): the clip.
        seconds (float): its length, in seconds.
        seed (int): the chance.

    Raises:
        ImpressionError: if it cannot be written.
    """
    # Here, because it takes long and --help does not need it.
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    picture, sound = compose(clip, seconds, seed)
    # No .mp4 at the end, lest anything take it for a clip.
    part = path.with_name(UNFINISHED_PREFIX + path.stem)
    sound_part = path.with_name(UNFINISHED_PREFIX + path.stem + '.wav')
    try:
        _write_wave(sound_part, sound)
        with FFMPEG_VideoWriter(
                str(part), (WIDTH, HEIGHT), FRAME_RATE, codec='libx264',
                preset='ultrafast', audiofile=str(sound_part),
                audio_codec='aac', threads=1,
                ffmpeg_params=BIT_EXACT) as writer:
            process = writer.proc
            for frame in picture:
                writer.write_frame(frame)
            # moviepy does not look at how ffmpeg ended, which is where a
            # full disk shows.
            complaint = process.communicate()[1].decode(errors='replace')
        if process.returncode != 0:
            raise OSError(
                f'{complaint} ffmpeg ended with status {process.returncode}')
        os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, _known(error)) from error
    finally:
        part.unlink(missing_ok=True)
        sound_part.unlink(missing_ok=True)


def _known(error):
    """An error that ffmpeg told in words, with the number it has."""
    if error.errno is not None:
        return error
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number))
    return OSError(' '.join(str(error).split())[-160:])


def _write_wave(path, sound):
    """Write float32 (n_samples, 2) in (-1, 1) as 16-bit PCM."""
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.rint(sound * 32767).astype('<i2').tobytes())


def make_demo_clips(out, n_clips=48, seconds=4.0, seed=0, workers=1):
    """Make the whole demo set, or what is missing of it.

    Args:
        out (pathlib.Path): a new or empty folder, or one of the same settings.
        n_clips (int): clips in all, at least 6.
        seconds (float): length of a clip, in seconds.
        seed (int): the same seed and settings give the same set.
        workers (int): processes that draw.

    Returns:
        list of data_prep.demo_plan.Clip: what lies there now.

    Raises:
        ImpressionError: if OUT holds something else or cannot be written.
    """
    clips = demo_plan.plan(n_clips, seed)
    make_folder(out)
    try:
        with _claim(out, {'clips': n_clips, 'seconds': seconds, 'seed': seed,
                          'version': VERSION}):
            tasks = [(path, clip, seconds, seed)
                     for path, clip in zip(paths_of(clips, out), clips)
                     if not path.exists()]
            _check_space(out, len(tasks) * seconds)
            for folder in {path.parent for path, *_ in tasks}:
                make_folder(folder)
            _write_all(tasks, workers)
            _write_labels(out / 'labels', clips)
    except OSError as error:
        raise cannot_write(out, error) from error
    return clips


def _claim(out, settings):
    """Make OUT this run's own, or raise. Returns a file that holds the lock.
    """
    marker = out / MARKER
    if not marker.exists():
        if any(not entry.name.startswith(UNFINISHED_PREFIX)
               for entry in out.iterdir()):
            raise ImpressionError(
                f'{out}: holds something else than demo clips (no {MARKER}); '
                'name a new or an empty folder')
        with replace_when_done(marker) as file:
            file.write(json.dumps(settings) + '\n')
    try:
        found = json.loads(marker.read_text())
    except ValueError:
        found = None
    if found != settings:
        raise ImpressionError(
            f'{out}: holds demo clips of other settings '
            f'({json.dumps(found)}); name another folder, or delete that one '
            'first')
    lock = marker.open()
    try:
        lock_alone(lock)
    except BlockingIOError:
        lock.close()
        raise ImpressionError(
            f'{out}: another run is writing there; wait for it to end'
        ) from None
    return lock


def _check_space(out, seconds):
    needed, free = seconds * BYTES_PER_SECOND, shutil.disk_usage(out).free
    if free < needed:
        raise ImpressionError(
            f'{out}: {free / 1e6:.0f} MB are free and the clips take about '
            f'{needed / 1e6:.0f} MB; make room, or name another folder')


def _write_all(tasks, workers):
    """Write clips in ``workers`` processes and say how far it is."""
    if not tasks:
        return
    with Progress(len(tasks), 'clips', 'drawing') as progress:
        if workers == 1:
            for task in tasks:
                write_clip(*task)
                progress.advance()
            return
        # Fresh processes, not forks: a fork would inherit the lock.
        pool = concurrent.futures.ProcessPoolExecutor(
            min(workers, len(tasks)),
            multiprocessing.get_context('spawn'), _start_worker)
        try:
            jobs = [pool.submit(write_clip, *task) for task in tasks]
            for job in concurrent.futures.as_completed(jobs):
                job.result()
                progress.advance()
        except concurrent.futures.process.BrokenProcessPool:
            raise ImpressionError(
                'a process that draws was ended from outside; run the same '
                'command again, with fewer --workers if memory is short'
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker():
    """Leave Ctrl-C to the parent; end when it does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow():
        multiprocessing.parent_process().join()
        os._exit(1)
    threading.Thread(target=follow, daemon=True).start()


def _write_labels(folder, clips):
    """Both formats of the challenge's label files, for each split."""
    make_folder(folder)
    for split in demo_plan.SPLITS:
        of_split = [clip for clip in clips if clip.split == split]
        labels = {clip.name: clip.labels for clip in of_split}
        interview = {clip.name: clip.interview for clip in of_split}
        write_csv(folder / f'{split}_gt.csv', labels)
        write_pickle(folder / f'annotation_{split}.pkl', labels, interview)


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog='python -m data_prep.make_demo_clips',
        description=(
            'Draw a small data set that stands in for ChaLearn First\n'
            'Impressions: drawn people who speak, in mp4 files (640x360,\n'
            '30 frames per second, H.264, AAC 44.1 kHz stereo), with labels\n'
            'in both formats of the challenge. It can be stopped at any\n'
            'moment; the same command then goes on.'),
        epilog='what gives a trait away:\n\n' + demo_cues.as_table(),
        formatter_class=HelpFormatter)
    parser.add_argument(
        'out', metavar='OUT', type=Path,
        help='new or empty folder for the clips and their labels')
    parser.add_argument(
        '--clips', type=at_least(demo_plan.MIN_CLIPS), default=48, metavar='N',
        help='number of clips in all three splits')
    parser.add_argument(
        '--seconds', type=at_least(0.5, float), default=4.0, metavar='S',
        help='length of a clip in seconds; the real ones have 15, the audio '
             'crop of training takes 3.136')
    parser.add_argument(
        '--seed', type=at_least(0), default=0, metavar='N',
        help='same seed and settings, same clips')
    parser.add_argument(
        '--workers', type=at_least(1), default=os.cpu_count() or 1,
        metavar='N', help='processes that draw')
    return parser.parse_args(argv)


def main(argv=None):
    args = _parse(argv)
    clips = make_demo_clips(
        args.out, args.clips, args.seconds, args.seed, args.workers)
    n = Counter(clip.split for clip in clips)
    print(f'{args.out}: {len(clips)} demo clips of {args.seconds:g} s '
          f'({n["training"]} training, {n["validation"]} validation, '
          f'{n["test"]} test) and their labels')


if __name__ == '__main__':
    run(main)
