"""The cached clip: what is written, how it is read, what damages it."""

import itertools
import os
import random
import shutil
import struct
import subprocess
import sys
import textwrap

import numpy
import pytest

from chainer_impression import media
from chainer_impression.datasets import clip_cache
from chainer_impression.datasets.clip_cache import (
    CachedClip, CacheError, cached_clips, is_current, write)
from chainer_impression.errors import ImpressionError
from chainer_impression.media import MediaError

#: A picture without edges that 4:2:0 cannot hold, and with movement.
SOFT = 'testsrc2=s=640x360:r=30:d={},gblur=sigma=6'


def psnr(frames, wanted):
    """Decibels, of each frame."""
    error = (frames.astype(numpy.float32) - wanted) ** 2
    return 10 * numpy.log10(255 ** 2 / error.mean(axis=(1, 2, 3)))


def frames_of(clip):
    return numpy.concatenate(list(clip.read_frames()))


def source_frames(path):
    return numpy.concatenate(list(media.read_frames(path)))


@pytest.fixture(scope='module')
def make_soft_clip(ffmpeg):
    """A clip like those of the data set: 30 fps, H.264, stereo at 44.1 kHz."""
    def make(path, seconds=2, video=(), sample_rate=44100, audio=()):
        ffmpeg('-f', 'lavfi', '-i', SOFT.format(seconds),
               '-f', 'lavfi', '-i',
               'aevalsrc=0.3*sin(900*t*t)|0.3*sin(2500*t):s={}:d={}'.format(
                   sample_rate, seconds),
               '-pix_fmt', 'yuv420p', '-crf', 18, *video, *audio, path)
        return path
    return make


@pytest.fixture(scope='module')
def source(make_soft_clip, tmp_path_factory):
    return make_soft_clip(tmp_path_factory.mktemp('source') / 'soft.mp4')


@pytest.fixture(scope='module')
def cached(source, tmp_path_factory):
    """The path of a cached clip; tests must not change it."""
    path = tmp_path_factory.mktemp('cached') / 'soft.mp4.avi'
    write(source, path)
    return path


@pytest.fixture(scope='module')
def tiny(clip, tmp_path_factory):
    """The bytes of a cached clip of 0.4 s, to be damaged."""
    path = tmp_path_factory.mktemp('tiny') / 'tiny.avi'
    write(clip, path)
    return path.read_bytes()


# --- the format -------------------------------------------------------------

def test_ffmpeg_reads_motion_jpeg_and_pcm(cached):
    said = subprocess.run(
        [media.ffmpeg_binary(), '-hide_banner', '-i', str(cached), '-f',
         'null', '-'], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        encoding='utf-8')
    assert said.returncode == 0
    video, audio = [line for line in said.stderr.split('Stream mapping')[0]
                    .splitlines() if 'Stream #0:' in line]
    assert 'Video: mjpeg' in video
    assert '456x256' in video and ' 25 fps' in video
    assert 'Audio: pcm_s16le' in audio
    assert ' 16000 Hz, mono' in audio or ' 16000 Hz, 1 channels' in audio
    assert 'rror' not in said.stderr


def test_moviepy_opens_it(cached):
    from moviepy import AudioFileClip, VideoFileClip
    clip = CachedClip(cached)
    with VideoFileClip(str(cached)) as opened:
        assert opened.size == [456, 256]
        assert opened.fps == 25
        assert opened.duration == pytest.approx(2, abs=0.05)
        for k in (0, 17, 49):
            picture = opened.get_frame((k + 0.01) / 25)
            difference = abs(picture.astype(int) - clip.read_frame(k))
            assert difference.mean() < 1.5
    with AudioFileClip(str(cached), fps=16000, nbytes=2) as opened:
        assert opened.duration == pytest.approx(2, abs=0.05)
        sound = opened.get_frame(numpy.arange(16000) / 16000)
    assert numpy.corrcoef(
        sound[:, 0], clip.read_audio(0, 16000))[0, 1] > 0.99


def test_sound_is_plain_pcm(cached, ffmpeg):
    sound = numpy.frombuffer(ffmpeg('-i', cached, '-f', 's16le', '-'), '<i2')
    numpy.testing.assert_array_equal(
        CachedClip(cached).read_audio(), sound / numpy.float32(32768))


def test_every_frame_is_a_picture_by_itself(cached):
    content = cached.read_bytes()
    frames = [entry for entry in entries(content) if entry[1] == b'00dc']
    assert len(frames) == CachedClip(cached).n_frames
    start = content.index(b'movi')
    for _, _, flags, offset, size in frames:
        jpeg = content[start + offset + 8:start + offset + 8 + size]
        assert flags & 0x10  # AVI's mark of a key frame
        assert jpeg.startswith(b'\xff\xd8')
        assert jpeg.rstrip(b'\0').endswith(b'\xff\xd9')


def test_shapes_and_types(cached):
    clip = CachedClip(cached)
    assert clip.n_frames == 50
    frame = clip.read_frame(0)
    assert frame.shape == (256, 456, 3) and frame.dtype == numpy.uint8
    audio = clip.read_audio()
    assert audio.dtype == numpy.float32
    assert audio.shape == (clip.n_samples,)
    assert 0.3 < abs(audio).max() <= 1


def test_same_source_gives_the_same_bytes(source, cached, tmp_path):
    copy = tmp_path / 'another name.mp4'
    shutil.copy(source, copy)
    os.utime(copy, (1, 1))
    write(copy, tmp_path / 'a.avi')
    assert (tmp_path / 'a.avi').read_bytes() == cached.read_bytes()


def test_nothing_of_the_source_is_left_in_it(ffmpeg, clip, tmp_path):
    tagged = tmp_path / 'tagged.mp4'
    ffmpeg('-i', clip, '-c', 'copy', '-metadata', 'title=A_SECRET',
           '-metadata', 'comment=made from 1 bytes, 0', tagged)
    write(tagged, tmp_path / 'a.avi')
    assert b'A_SECRET' not in (tmp_path / 'a.avi').read_bytes()
    assert is_current(tagged, tmp_path / 'a.avi')


# --- the picture ------------------------------------------------------------

def test_picture_is_that_of_the_source(source, cached):
    wanted = source_frames(source)
    frames = frames_of(CachedClip(cached))
    assert frames.shape == wanted.shape == (50, 3, 256, 456)
    assert psnr(frames, wanted).min() >= 35


def test_sound_lies_together_second_by_second(cached):
    """So that a training example needs few places of the disk."""
    runs = [(kind, len(list(group))) for kind, group in itertools.groupby(
        entry[1] for entry in entries(cached.read_bytes()))]
    seconds = CachedClip(cached).n_samples / media.SAMPLE_RATE
    assert sum(kind == b'01wb' for kind, _ in runs) <= seconds + 1


def test_random_access_is_exact(cached):
    clip = CachedClip(cached)
    frames = frames_of(clip)
    order = list(range(clip.n_frames)) * 2
    random.Random(0).shuffle(order)
    for k in order:
        numpy.testing.assert_array_equal(
            clip.read_frame(k), frames[k].transpose(1, 2, 0))


@pytest.mark.parametrize('rate', [25, 30, 24, '30000/1001', 60, 15, 1])
def test_frame_k_is_the_frame_at_k_of_25_seconds(
        make_grey_clip, ffmpeg, tmp_path, rate):
    numerator, _, denominator = str(rate).partition('/')
    rate_ = int(numerator) / int(denominator or 1)
    n = max(2, round(1.2 * rate_))
    levels = 30 + numpy.arange(n) * 190 // n
    mute = make_grey_clip(tmp_path / 'mute.mp4', levels, rate)
    path = tmp_path / 'a.mp4'
    ffmpeg('-i', mute, '-f', 'lavfi', '-i', 'sine=d={}'.format(n / rate_),
           '-c:v', 'copy', path)
    write(path, tmp_path / 'a.avi')
    clip = CachedClip(tmp_path / 'a.avi')
    assert abs(clip.n_frames - 25 * n / rate_) <= 1
    for k in reversed(range(clip.n_frames)):
        shown = min(int(k / 25 * rate_ + 1e-6), n - 1)
        assert abs(clip.read_frame(k).mean() - levels[shown]) < 3, k


@pytest.mark.parametrize('options', [
    ('-vf', 'scale=out_color_matrix=bt709:out_range=tv', '-colorspace',
     'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709'),
    ('-vf', 'scale=out_color_matrix=bt601:out_range=tv', '-colorspace',
     'smpte170m'),
    ('-vf', 'scale=out_color_matrix=bt709:out_range=pc', '-colorspace',
     'bt709', '-color_range', 'pc'),
], ids=['bt709', 'bt601', 'full range'])
def test_colours(ffmpeg, tmp_path, options):
    # Where the matrices of BT.601 and BT.709 differ most: by 20 levels.
    colours = [(30, 200, 40), (220, 50, 60), (40, 60, 210), (128, 128, 128)]
    row = numpy.repeat(numpy.array(colours, numpy.uint8), 80, axis=0)
    picture = numpy.broadcast_to(row, (5, 240, 320, 3)).copy()
    path = tmp_path / 'a.mp4'
    ffmpeg('-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', '320x240', '-r', 25,
           '-i', '-', '-f', 'lavfi', '-i', 'sine=d=0.2', '-crf', 5,
           *options, '-pix_fmt', 'yuv420p', path, input=picture.tobytes())
    write(path, tmp_path / 'a.avi')
    frame = CachedClip(tmp_path / 'a.avi').read_frame(2)
    for i, colour in enumerate(colours):
        middle = frame[64:192, 114 * i + 30:114 * i + 84]
        assert abs(middle.mean(axis=(0, 1)) - colour).max() < 5


def test_frames_come_in_chunks(cached):
    clip = CachedClip(cached)
    for chunk in (1, 7, 32, 50, 51):
        chunks = list(clip.read_frames(chunk))
        assert all(len(c) == chunk for c in chunks[:-1])
        assert sum(map(len, chunks)) == 50
        assert chunks[0].shape[1:] == (3, 256, 456)


@pytest.mark.parametrize('k', [-1, 50, 10 ** 9])
def test_no_such_frame(cached, k):
    with pytest.raises(IndexError):
        CachedClip(cached).read_frame(k)


# --- the sound --------------------------------------------------------------

@pytest.mark.parametrize('sample_rate', [8000, 16000, 22050, 44100, 48000])
def test_sound_is_that_of_librosa(
        make_soft_clip, ffmpeg, tmp_path, sample_rate):
    import librosa
    path = make_soft_clip(tmp_path / 'a.mp4', 0.5, sample_rate=sample_rate)
    write(path, tmp_path / 'a.avi')
    audio = CachedClip(tmp_path / 'a.avi').read_audio()
    decoded = numpy.frombuffer(ffmpeg(
        '-i', path, '-map', '0:a:0', '-f', 'f32le', '-'), '<f4')
    wanted = librosa.resample(decoded.reshape(-1, 2).mean(axis=1),
                              orig_sr=sample_rate, target_sr=16000)
    assert abs(len(audio) - len(wanted)) <= 1
    n = min(len(audio), len(wanted))
    assert numpy.corrcoef(audio[:n], wanted[:n])[0, 1] >= 0.999
    # Not only its shape: 16 bits keep each sample.
    assert abs(audio[:n] - wanted[:n]).max() < 1e-4


def test_any_stretch_of_sound_is_that_of_the_whole(cached):
    clip = CachedClip(cached)
    whole = clip.read_audio()
    choose = random.Random(0)
    stretches = [(0, 1), (clip.n_samples - 1, clip.n_samples),
                 (0, clip.n_samples), (1023, 1025), (1024, 2048)]
    stretches += [sorted(choose.sample(range(clip.n_samples + 1), 2))
                  for _ in range(50)]
    for start, stop in stretches:
        numpy.testing.assert_array_equal(
            clip.read_audio(start, stop), whole[start:stop])


@pytest.mark.parametrize('start, stop', [
    (-1, 10), (0, 10 ** 9), (10, 10), (20, 10), (10 ** 9, None)])
def test_no_such_stretch(cached, start, stop):
    with pytest.raises(IndexError):
        CachedClip(cached).read_audio(start, stop)


def test_loudest_sound_is_neither_wrapped_nor_above_one(ffmpeg, tmp_path):
    path = tmp_path / 'loud.mkv'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=64x48:r=25:d=0.4',
           '-f', 'lavfi', '-i', 'aevalsrc=1.5*sin(3000*t):s=16000:d=0.4',
           '-c:a', 'pcm_f32le', path)
    write(path, tmp_path / 'a.avi')
    audio = CachedClip(tmp_path / 'a.avi').read_audio()
    assert abs(audio).max() <= 1
    assert abs(numpy.diff(audio)).max() < 0.5


# --- what cameras, phones and converters make --------------------------------

@pytest.mark.parametrize('make', [
    dict(size='96x128'), dict(size='101x57', options=(
        '-c:v', 'ffv1', '-pix_fmt', 'yuv444p')),
    dict(rate=1, seconds=2), dict(rate=60), dict(rate='30000/1001'),
    dict(channels=6, options=('-c:a', 'flac')), dict(sample_rate=8000),
    dict(sample_rate=48000, channels=2), dict(seconds=0.04),
], ids=['portrait', 'odd size', '1 fps', '60 fps', 'NTSC', '5.1', '8 kHz',
        '48 kHz', 'one picture'])
def test_any_kind_of_clip(make_clip, tmp_path, make):
    path = make_clip(tmp_path / 'a.mkv', **make)
    write(path, tmp_path / 'a.avi')
    clip = CachedClip(tmp_path / 'a.avi')
    wanted = source_frames(path)
    assert clip.n_frames == len(wanted)
    assert clip.n_samples == len(media.read_audio(path))
    assert psnr(frames_of(clip), wanted).min() > 22  # hard, coloured edges


def test_variable_frame_rate(make_grey_clip, ffmpeg, tmp_path):
    levels = 20 + 10 * numpy.arange(20)
    mute = make_grey_clip(
        tmp_path / 'mute.mp4', levels, 25,
        ['-vf', "setpts='if(lt(N,10),N*0.04,0.4+(N-10)*0.16)/TB'",
         '-fps_mode', 'vfr', '-video_track_timescale', 1000])
    path = tmp_path / 'a.mp4'
    ffmpeg('-i', mute, '-f', 'lavfi', '-i', 'sine=d=1.9', '-c:v', 'copy', path)
    write(path, tmp_path / 'a.avi')
    clip = CachedClip(tmp_path / 'a.avi')
    # How long the last picture stays is the container's to say.
    assert 46 <= clip.n_frames <= 51
    for k, picture in ((0, 0), (9, 9), (10, 10), (13, 10), (14, 11), (42, 18)):
        assert abs(clip.read_frame(k).mean() - levels[picture]) < 3


def test_turned_phone(ffmpeg, tmp_path):
    plain, turned = tmp_path / 'plain.mp4', tmp_path / 'turned.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'color=black:s=64x48:r=25:d=0.4',
           '-f', 'lavfi', '-i', 'sine=d=0.4', '-vf',
           'drawbox=0:0:64:24:white:fill', '-pix_fmt', 'yuv420p', plain)
    ffmpeg('-display_rotation', -90, '-i', plain, '-c', 'copy', turned)
    write(turned, tmp_path / 'a.avi')
    frame = CachedClip(tmp_path / 'a.avi').read_frame(0)
    assert frame[:, 300:].mean() > 240 and frame[:, :150].mean() < 15


def test_sound_that_starts_late_or_ends_early_by_a_little(
        ffmpeg, make_clip, tmp_path):
    picture = make_clip(tmp_path / 'picture.mp4', seconds=2, sound=False)
    for i, (offset, seconds) in enumerate([(0.2, 1.8), (0, 1.7), (0, 2.3)]):
        sound = make_clip(tmp_path / 'sound.m4a', seconds=seconds,
                          picture=False)
        path = tmp_path / '{}.mkv'.format(i)
        ffmpeg('-i', picture, '-itsoffset', offset, '-i', sound,
               '-c', 'copy', path)
        write(path, tmp_path / 'a.avi')
        clip = CachedClip(tmp_path / 'a.avi')
        assert abs(clip.n_frames - 50) <= 1
        assert abs(clip.n_samples - 16000 * seconds) < 2200


def test_sound_and_picture_of_very_different_length(ffmpeg, make_clip,
                                                    tmp_path):
    for long, short in (('picture', 'sound'), ('sound', 'picture')):
        seconds = {long: 4, short: 1}
        picture = make_clip(tmp_path / 'picture.mp4', sound=False,
                            seconds=seconds['picture'])
        sound = make_clip(tmp_path / 'sound.m4a', picture=False,
                          seconds=seconds['sound'])
        path = tmp_path / 'a.mp4'
        ffmpeg('-i', picture, '-i', sound, '-c', 'copy', path)
        with pytest.raises(MediaError,
                           match='its {} ends after'.format(short)):
            write(path, tmp_path / 'a.avi')


# --- what is wrong with a source ---------------------------------------------

@pytest.mark.parametrize('container', ['mp4', 'mkv', 'ts'])
def test_picture_ten_hours_late_does_not_fill_the_disk(
        ffmpeg, tmp_path, container):
    path = tmp_path / ('a.' + container)
    ffmpeg('-f', 'lavfi', '-i',
           "testsrc=s=64x48:r=25:d=0.08,settb=1/1000,setpts='N*36000000'",
           '-f', 'lavfi', '-i', 'sine=d=0.1', '-fps_mode', 'vfr',
           '-pix_fmt', 'yuv420p', path)
    before = shutil.disk_usage(tmp_path).used
    try:
        write(path, tmp_path / 'a.avi')
    except MediaError as error:
        assert str(error).startswith(str(path))
    else:
        assert CachedClip(tmp_path / 'a.avi').n_frames < 100
    written = tmp_path / 'a.avi'
    assert not written.exists() or written.stat().st_size < 2e6
    assert shutil.disk_usage(tmp_path).used - before < 1e9


def test_live_recording_whose_picture_goes_on(ffmpeg, make_clip, tmp_path):
    # No duration in its header to hold against it.
    picture = make_clip(tmp_path / 'picture.mkv', sound=False, seconds=6)
    sound = make_clip(tmp_path / 'sound.mka', picture=False, seconds=0.5)
    path = tmp_path / 'live.mkv'
    path.write_bytes(ffmpeg('-i', picture, '-i', sound, '-c', 'copy', '-f',
                            'matroska', '-live', 1, '-'))
    with pytest.raises(MediaError, match='goes on long after its sound'):
        write(path, tmp_path / 'a.avi')


def test_too_long(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_cache, 'MAX_SECONDS', 0.3)
    with pytest.raises(MediaError, match='is longer than .* cut it'):
        write(clip, tmp_path / 'a.avi')


def test_no_sound_no_picture(make_clip, tmp_path):
    mute = make_clip(tmp_path / 'mute.mp4', sound=False)
    blind = make_clip(tmp_path / 'blind.mp4', picture=False)
    for path, missing in ((mute, 'sound'), (blind, 'picture')):
        with pytest.raises(MediaError, match=missing) as caught:
            write(path, tmp_path / 'a.avi')
        assert str(path) in str(caught.value)


def damage(path, content, start, end, seed=0):
    """Put noise over the packets from one to another part of the file."""
    n = len(content)
    noise = numpy.random.RandomState(seed).bytes(int(n * (end - start)))
    first = int(n * start)
    path.write_bytes(content[:first] + noise + content[first + len(noise):])


def test_some_corrupt_packets_are_survived(make_soft_clip, tmp_path):
    path = make_soft_clip(tmp_path / 'a.ts', 2, video=('-g', 15))
    wanted = source_frames(path)
    content = path.read_bytes()
    damage(path, content, 0.5, 0.52)
    write(path, tmp_path / 'a.avi')
    clip = CachedClip(tmp_path / 'a.avi')
    # What is whole stays at its time.
    assert abs(clip.n_frames - len(wanted)) <= 1
    for k in (0, 5, len(wanted) - 2):
        assert psnr(clip.read_frame(k).transpose(2, 0, 1)[None],
                    wanted[k:k + 1])[0] > 35


def test_mostly_corrupt_clips_are_refused_or_whole(make_soft_clip, tmp_path):
    path = make_soft_clip(tmp_path / 'a.mp4', 2,
                          video=('-movflags', 'faststart', '-g', 15))
    content = path.read_bytes()
    for i, (start, end) in enumerate([(0.1, 0.98), (0.3, 0.6), (0.5, 0.55)]):
        damage(path, content, start, end, i)
        try:
            write(path, tmp_path / 'a.avi')
        except MediaError as error:
            assert str(error).startswith(str(path))
        else:
            clip = CachedClip(tmp_path / 'a.avi')
            assert abs(clip.n_frames - 50) <= 14
            assert abs(clip.n_samples - 32000) <= 0.5 * 16000 + 3200


def test_picture_of_which_nothing_can_be_decoded(make_clip, tmp_path):
    path = make_clip(tmp_path / 'a.mkv', seconds=0.12, options=(
        '-c:v', 'ffv1', '-c:a', 'pcm_s16le'))
    content = bytearray(path.read_bytes())
    # Each of the three pictures is a block of its own in the file.
    place = content.find(b'\x1f\x43\xb6\x75')  # the first cluster
    first = content.find(b'\xa3', place)
    content[first + 8:first + 5000] = bytes(4992)
    path.write_bytes(content)
    try:
        write(path, tmp_path / 'a.avi')
    except MediaError as error:
        assert str(error).startswith(str(path))


def test_source_deleted_meanwhile(clip, tmp_path, monkeypatch):
    path = tmp_path / 'a.mp4'
    shutil.copy(clip, path)
    read_audio = media.read_audio

    def read_and_delete(source, *arguments):
        audio = read_audio(source, *arguments)
        os.unlink(source)
        return audio
    monkeypatch.setattr(media, 'read_audio', read_and_delete)
    with pytest.raises(MediaError, match='a.mp4.*No such file'):
        write(path, tmp_path / 'a.avi')


def test_destination_that_cannot_be_opened(clip, tmp_path):
    with pytest.raises(FileNotFoundError):
        write(clip, tmp_path / 'missing' / 'a.avi')
    (tmp_path / 'a.avi').mkdir()
    with pytest.raises(IsADirectoryError):
        write(clip, tmp_path / 'a.avi')


def test_clip_named_like_an_error_of_the_disk(clip, tmp_path):
    path = tmp_path / 'No space left on device.mp4'
    path.write_bytes(clip.read_bytes()[:-700])
    with pytest.raises(MediaError):
        write(path, tmp_path / 'a.avi')


# --- is it still the clip that was cached? -----------------------------------

def test_current(clip, tiny, tmp_path):
    source, path = tmp_path / 'a.mp4', tmp_path / 'a.avi'
    shutil.copy(clip, source)
    path.write_bytes(tiny)
    assert is_current(source, path)
    os.utime(source, (0, 0))
    assert is_current(source, path)
    assert not is_current(source, tmp_path / 'missing.avi')
    assert not is_current(tmp_path / 'missing.mp4', path)
    content = clip.read_bytes()
    source.write_bytes(content + b'x')
    assert not is_current(source, path)
    source.write_bytes(content[:-1] + b'x')  # of the same size
    assert not is_current(source, path)
    source.write_bytes(content)
    path.write_bytes(tiny[:-1])
    assert not is_current(source, path)


def test_cached_clips(tmp_path):
    for name in ('b.mp4.avi', 'a b.mp4.avi', '.hidden.mp4.avi', 'note.txt',
                 'failures.csv', '.unfinished-x.avi'):
        (tmp_path / name).touch()
    assert list(cached_clips(tmp_path).items()) == [
        (name, str(tmp_path / (name + '.avi')))
        for name in ('a b.mp4', 'b.mp4')]


@pytest.mark.parametrize('name, reason', [
    ('missing', 'cannot be read'), ('file', 'cannot be read'),
    ('empty', 'holds no cached clip.*data_prep.cache_clips')])
def test_no_cache(tmp_path, name, reason):
    (tmp_path / 'file').touch()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ImpressionError, match=reason) as caught:
        cached_clips(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


# --- damage ------------------------------------------------------------------

def refuse(path, read=lambda clip: None):
    with pytest.raises(CacheError) as caught:
        read(CachedClip(path))
    message = str(caught.value)
    assert message.startswith('{}: '.format(path))
    assert 'delete it and run data_prep.cache_clips again' in message


def read_all(clip):
    clip.read_audio()
    for _ in clip.read_frames():
        pass


def test_missing_file_folder_or_no_file(tmp_path):
    refuse(tmp_path / 'missing.avi')
    refuse(tmp_path)


@pytest.mark.parametrize('content', [
    b'', b'x', b'RIFF', b'RIFF\0\0\0\0AVI ', b'RIFF\4\0\0\0AVI ',
    b'text\n' * 1000, bytes(5000), b'\xff' * 5000])
def test_no_avi_file(tmp_path, content):
    path = tmp_path / 'a.avi'
    path.write_bytes(content)
    refuse(path)


def test_cut_short_at_any_place(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    places = {1, 8, 11, 12, 19, 30, 100, len(tiny) - 1, len(tiny) - 15,
              len(tiny) - 16, len(tiny) - 17, tiny.rindex(b'idx1'),
              tiny.rindex(b'idx1') + 8}
    for place in sorted(places | set(range(0, len(tiny), len(tiny) // 40))):
        path.write_bytes(tiny[:place])
        refuse(path)


def test_something_added(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    path.write_bytes(tiny + b'x')
    refuse(path)


def entries(content):
    """(place in the file, id, flags, offset, size) for each in the index."""
    place = content.rindex(b'idx1')
    size, = struct.unpack_from('<I', content, place + 4)
    for at in range(place + 8, place + 8 + size, 16):
        yield (at, *struct.unpack_from('<4sIII', content, at))


@pytest.mark.parametrize('field', [0, 8, 12], ids=['id', 'offset', 'size'])
@pytest.mark.parametrize('value', [
    b'\0\0\0\0', b'\xff\xff\xff\xff', b'\xff\xff\xff\x7f', b'\1\0\0\0',
    b'00dc', b'01wb'])
def test_damaged_index(tiny, tmp_path, field, value):
    path = tmp_path / 'a.avi'
    all_entries = list(entries(tiny))
    for at, *_ in (all_entries[0], all_entries[3], all_entries[-1]):
        content = bytearray(tiny)
        if content[at + field:at + field + 4] == value:
            continue
        content[at + field:at + field + 4] = value
        path.write_bytes(content)
        refuse(path)


def test_index_of_zeros_or_nothing(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    place = tiny.rindex(b'idx1')
    path.write_bytes(tiny[:place + 8] + bytes(len(tiny) - place - 8))
    refuse(path)
    empty = bytearray(tiny[:place] + b'idx1\0\0\0\0')
    empty[4:8] = struct.pack('<I', len(empty) - 8)
    path.write_bytes(empty)
    refuse(path)


@pytest.mark.parametrize('which', [b'00dc', b'01wb'])
def test_damaged_chunk(tiny, tmp_path, which):
    path = tmp_path / 'a.avi'
    start = tiny.index(b'movi')
    for at, name, _, offset, size in entries(tiny):
        if name != which:
            continue
        for value in (b'JUNK', bytes(8), name + b'\xff\xff\xff\x7f'):
            content = bytearray(tiny)
            content[start + offset:start + offset + len(value)] = value
            path.write_bytes(content)
            refuse(path, read_all)


def test_hole_in_the_middle(cached, tmp_path):
    """What a crash of the system leaves: blocks of zeros."""
    content = cached.read_bytes()
    path = tmp_path / 'a.avi'
    for block in range(4, len(content) // 4096 - 1, 7):
        damaged = bytearray(content)
        damaged[4096 * block:4096 * (block + 1)] = bytes(4096)
        path.write_bytes(damaged)
        refuse(path, read_all)


def test_frame_without_its_beginning_or_end(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    start = tiny.index(b'movi')
    _, _, _, offset, size = next(
        entry for entry in entries(tiny) if entry[1] == b'00dc')
    data = start + offset + 8
    for first, last in ((data, data + 2), (data + size // 2, data + size)):
        content = bytearray(tiny)
        content[first:last] = b'\xff' * (last - first)
        path.write_bytes(content)
        refuse(path, lambda clip: clip.read_frame(0))
        CachedClip(path).read_frame(1)
        CachedClip(path).read_audio()


@pytest.mark.filterwarnings('ignore:Image size')
def test_frame_of_a_gigantic_size(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    content = bytearray(tiny)
    place = content.index(b'\xff\xc0')  # the JPEG's header: height, width
    content[place + 5:place + 9] = b'\xff\xff\xff\xff'
    path.write_bytes(content)
    refuse(path, lambda clip: clip.read_frame(0))
    content[place + 5:place + 9] = struct.pack('>HH', 16000, 10000)
    path.write_bytes(content)
    refuse(path, lambda clip: clip.read_frame(0))


@pytest.mark.parametrize('options', [
    ('-c:v', 'mpeg4', '-c:a', 'mp3'),
    ('-c:v', 'mjpeg', '-c:a', 'pcm_s16le', '-pix_fmt', 'yuvj420p'),
    ('-c:v', 'mjpeg', '-c:a', 'pcm_s16le', '-s', '456x256', '-r', 30,
     '-pix_fmt', 'yuvj420p'),
    ('-c:v', 'mjpeg', '-c:a', 'pcm_s16le', '-s', '456x256', '-ar', 44100,
     '-pix_fmt', 'yuvj420p'),
    ('-c:v', 'mjpeg', '-c:a', 'pcm_s16le', '-s', '456x256', '-ac', 2,
     '-pix_fmt', 'yuvj420p'),
    ('-c:v', 'mjpeg', '-c:a', 'pcm_u8', '-s', '456x256',
     '-pix_fmt', 'yuvj420p'),
    ('-c:v', 'mjpeg', '-an', '-s', '456x256', '-pix_fmt', 'yuvj420p'),
    ('-vn', '-c:a', 'pcm_s16le'),
], ids=['mpeg4', 'size', 'rate', '44.1 kHz', 'stereo', '8 bits', 'mute',
        'sound only'])
def test_other_avi_files(make_clip, tmp_path, options):
    refuse(make_clip(tmp_path / 'a.avi', options=options), read_all)


def test_other_containers(clip, tmp_path):
    path = tmp_path / 'a.avi'
    shutil.copy(clip, path)
    refuse(path)


def test_cached_clip_remuxed_by_somebody_else(cached, ffmpeg, tmp_path):
    path = tmp_path / 'a.avi'
    ffmpeg('-i', cached, '-c', 'copy', path)
    try:
        clip = CachedClip(path)
    except CacheError:
        return
    numpy.testing.assert_array_equal(
        clip.read_frame(7), CachedClip(cached).read_frame(7))


def test_deleted_while_it_is_read(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    path.write_bytes(tiny)
    clip = CachedClip(path)
    path.unlink()
    for read in (lambda: clip.read_frame(0), clip.read_audio,
                 lambda: list(clip.read_frames())):
        with pytest.raises(CacheError, match='No such file'):
            read()


def test_cut_short_while_it_is_read(tiny, tmp_path):
    path = tmp_path / 'a.avi'
    path.write_bytes(tiny)
    clip = CachedClip(path)
    path.write_bytes(tiny[:len(tiny) // 2])
    with pytest.raises(CacheError):
        clip.read_frame(clip.n_frames - 1)
    path.write_bytes(tiny[:tiny.index(b'01wb') + 100])
    with pytest.raises(CacheError):
        clip.read_audio()


def test_malformed_files_take_neither_memory_nor_time(tiny, tmp_path):
    """Noise in every part, sparse gigabytes, loops; in a limited process."""
    (tmp_path / 'tiny.avi').write_bytes(tiny)
    code = textwrap.dedent('''
        import random, resource, struct, sys, time
        from PIL import Image
        from chainer_impression.datasets.clip_cache import (
            CachedClip, CacheError)
        folder = sys.argv[1]
        tiny = open(folder + '/tiny.avi', 'rb').read()
        path = folder + '/a.avi'

        def read_all(path):
            clip = CachedClip(path)
            clip.read_audio()
            for _ in clip.read_frames():
                pass

        read_all(folder + '/tiny.avi')
        with open('/proc/self/statm') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)

        def attempt(content, size=None):
            with open(path, 'wb') as file:
                file.write(content)
                if size:
                    file.truncate(size)
            start = time.perf_counter()
            try:
                read_all(path)
            except CacheError as error:
                assert path in str(error)
            assert time.perf_counter() - start < 2

        gigabyte = 1 << 30
        riff = b'RIFF' + struct.pack('<I', gigabyte - 8) + b'AVI '
        attempt(b'', gigabyte)
        attempt(riff, gigabyte)
        for name in b'JUNK', b'idx1', b'LIST', b'LISTINFO', b'LISTmovi':
            for size in 0, 1, 3, gigabyte - 28, 0xffffffff, 1 << 24:
                attempt(riff + name[:4] + struct.pack('<I', size) + name[4:],
                        gigabyte)
                attempt(tiny[:12] + name[:4] + struct.pack('<I', size)
                        + name[4:] + tiny[24:])
        choose = random.Random(0)
        header = tiny.index(b'movi') + 4
        index = tiny.rindex(b'idx1')
        for i in range(300):
            content = bytearray(tiny)
            first, last = choose.choice(
                [(0, header), (index, len(tiny)), (header, len(tiny))])
            for _ in range(choose.choice([1, 1, 4, 30])):
                content[choose.randrange(first, last)] = choose.choice(
                    [0, 1, 255, 127, choose.randrange(256)])
            attempt(content)
        print('survived')
    ''')
    done = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)], timeout=60,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
    assert done.stdout == 'survived\n', done.stderr


# --- the real clips ----------------------------------------------------------

def test_real_clips(samples, ffmpeg, tmp_path):
    import librosa
    folder = os.path.join(samples, 'clips')
    names = sorted(n for n in os.listdir(folder) if n.endswith('.mp4'))
    assert names
    for name in names:
        source, path = os.path.join(folder, name), tmp_path / (name + '.avi')
        write(source, path)
        clip = CachedClip(path)
        assert path.stat().st_size <= 8e6 * max(1, clip.n_frames / 25 / 15)
        n_frames, worst = 0, numpy.inf
        for chunk in media.read_frames(source):
            cached = numpy.stack([
                clip.read_frame(n_frames + i) for i in range(len(chunk))])
            n_frames += len(chunk)
            worst = min(worst, psnr(cached.transpose(0, 3, 1, 2), chunk).min())
        assert n_frames == clip.n_frames
        assert worst >= 35
        decoded = numpy.frombuffer(ffmpeg(
            '-i', source, '-map', '0:a:0', '-ac', 2, '-ar', 44100, '-f',
            'f32le', '-'), '<f4').reshape(-1, 2).mean(axis=1)
        wanted = librosa.resample(decoded, orig_sr=44100, target_sr=16000)
        audio = clip.read_audio()
        assert abs(len(audio) - len(wanted)) <= 1
        n = min(len(audio), len(wanted))
        assert numpy.corrcoef(audio[:n], wanted[:n])[0, 1] >= 0.999
