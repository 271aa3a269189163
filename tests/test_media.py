"""A clip on disk to audio and frames: whatever people have on their disks."""

import os
import shutil
import subprocess
import wave

import numpy
import pytest

from chainer_impression import media
from chainer_impression.media import MediaError, read_audio, read_frames

ONE_FRAME = (3, 256, 456)
#: Samples of 0.4 s of sound in AAC; versions of ffmpeg differ in whether they
#: cut off what fills its last packet.
A_CLIP = range(6400, 6400 + 1024)


def frames_of(path):
    return numpy.concatenate(list(read_frames(path)))


def levels_of(path):
    """The grey level of each frame of a clip of :func:`make_grey_clip`."""
    return frames_of(path).mean(axis=(1, 2, 3))


def refuse(path, reason, read=None):
    """Both halves of a clip are refused, in one sentence that names it."""
    for read in [read] if read else [read_audio, frames_of]:
        with pytest.raises(MediaError, match=reason) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith('{}: '.format(path))
        assert '\n' not in message.replace(str(path), '')


# --- what comes out of a good clip -------------------------------------------

def test_shapes_dtypes_and_ranges(clip):
    audio = read_audio(clip)
    assert audio.dtype == numpy.float32
    assert len(audio) in A_CLIP
    assert 0.1 < abs(audio).max() <= 1
    frames = frames_of(clip)
    assert frames.dtype == numpy.uint8
    assert frames.shape == (10, *ONE_FRAME)
    assert frames.min() < 50 and frames.max() > 200


def test_frames_come_in_chunks(make_clip, tmp_path):
    path = make_clip(tmp_path / 'long.mp4', seconds=3)
    chunks = [len(chunk) for chunk in read_frames(path)]
    assert sum(chunks) == 75
    assert max(chunks) <= media.CHUNK
    assert len(chunks) == 3


def test_colours_are_red_green_blue(ffmpeg, tmp_path):
    path = tmp_path / 'red.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'color=red:s=64x48:r=25:d=0.2',
           '-pix_fmt', 'yuv420p', path)
    red, green, blue = frames_of(path).mean(axis=(0, 2, 3))
    assert red > 250 and green < 5 and blue < 5


def test_frames_are_those_of_moviepy(make_clip, tmp_path):
    from moviepy.video.io.ffmpeg_reader import FFMPEG_VideoReader
    path = make_clip(tmp_path / 'a.mp4', size='320x240', seconds=1)
    reader = FFMPEG_VideoReader(
        str(path), target_resolution=(media.FRAME_WIDTH, media.FRAME_HEIGHT),
        resize_algo='bicubic')
    try:
        wanted = [reader.get_frame(k / media.FRAME_RATE) for k in range(25)]
    finally:
        reader.close()
    frames = frames_of(path)
    assert len(frames) == 25
    for frame, picture in zip(frames, wanted):
        assert abs(frame.transpose(1, 2, 0).astype(int) - picture).max() <= 1


@pytest.mark.parametrize('codec', ['aac', 'pcm_s16le'])
@pytest.mark.parametrize('sample_rate', [8000, 16000, 22050, 44100, 48000])
def test_audio_is_that_of_librosa(
        make_clip, ffmpeg, tmp_path, codec, sample_rate):
    import librosa
    path = make_clip(tmp_path / 'a.mkv', picture=False, seconds=0.7,
                     sample_rate=sample_rate, options=('-c:a', codec))
    decoded = numpy.frombuffer(ffmpeg('-i', path, '-f', 'f32le', '-'), '<f4')
    wanted = librosa.resample(
        decoded, orig_sr=sample_rate, target_sr=media.SAMPLE_RATE)
    numpy.testing.assert_allclose(read_audio(path), wanted, atol=1e-7)


def test_two_channels_become_their_mean(make_clip, ffmpeg, tmp_path):
    path = make_clip(tmp_path / 'a.mkv', picture=False, channels=2,
                     options=('-c:a', 'pcm_f32le'))
    both = numpy.frombuffer(ffmpeg('-i', path, '-f', 'f32le', '-'), '<f4')
    numpy.testing.assert_allclose(
        read_audio(path), both.reshape(-1, 2).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5, 6, 7, 8])
def test_any_number_of_channels(make_clip, tmp_path, channels):
    path = make_clip(tmp_path / 'a.mkv', picture=False, channels=channels,
                     options=('-c:a', 'flac'))
    audio = read_audio(path)
    assert audio.shape == (6400,)
    assert 0.02 < abs(audio).max() <= 1


def test_loud_surround_sound_stays_within_one(ffmpeg, tmp_path):
    path = tmp_path / 'loud.mkv'
    tones = '|'.join(['0.999*sin(3000*t)'] * 6)
    ffmpeg('-f', 'lavfi', '-i',
           'aevalsrc={}:c=5.1:s=16000:d=0.4'.format(tones),
           '-c:a', 'pcm_f32le', path)
    assert 0.9 < abs(read_audio(path)).max() <= 1


def test_each_voice_of_surround_sound_is_heard(ffmpeg, tmp_path):
    for channel in range(6):
        path = tmp_path / '{}.mkv'.format(channel)
        tones = ['0'] * 6
        tones[channel] = 'sin(3000*t)'
        ffmpeg('-f', 'lavfi', '-i', 'aevalsrc={}:c=5.1:s=16000:d=0.2'.format(
            '|'.join(tones)), '-c:a', 'pcm_f32le', path)
        # But for the fourth, the low-frequency effects, which carry no voice.
        assert (abs(read_audio(path)).max() > 0.05) == (channel != 3)


# --- whatever a camera, a phone or a converter makes -------------------------

@pytest.mark.parametrize('name, options', [
    ('a.mp4', ()),
    ('a.mov', ()),
    ('a.mkv', ()),
    ('a.avi', ('-c:v', 'mpeg4', '-c:a', 'mp3')),
    ('a.webm', ('-c:v', 'libvpx', '-c:a', 'libopus')),
    ('a.ts', ()),
    ('a.mpg', ('-c:v', 'mpeg2video', '-c:a', 'mp2')),
    ('a.flv', ()),
    ('a.wmv', ('-c:v', 'msmpeg4', '-c:a', 'wmav2')),
    ('a.3gp', ('-c:v', 'mpeg4', '-c:a', 'aac')),
])
def test_containers(make_clip, ffmpeg, tmp_path, name, options):
    path = make_clip(tmp_path / name, seconds=1, sample_rate=44100,
                     channels=2, options=options)
    try:
        ffmpeg('-i', path, '-f', 'null', '-')
    except AssertionError:  # as 7.0 of imageio-ffmpeg 0.6, on MPEG-TS
        pytest.skip('this ffmpeg does not read what it wrote')
    # The codecs of the sound prime themselves with up to 0.1 s.
    assert 15000 < len(read_audio(path)) < 17700
    frames = frames_of(path)
    assert abs(len(frames) - 25) <= 2
    assert frames.std() > 20


@pytest.mark.parametrize('size', [
    '48x64',  # portrait
    '101x57', '3x3', '1920x1080', '16x400',
])
def test_any_size_of_picture(make_clip, tmp_path, size):
    path = make_clip(tmp_path / 'a.avi', size=size, seconds=0.2, sound=False,
                     options=('-c:v', 'ffv1', '-pix_fmt', 'yuv444p'))
    assert frames_of(path).shape == (5, *ONE_FRAME)


@pytest.mark.parametrize('rate', [
    1, 10, 15, 24, 25, '30000/1001', 30, 50, 60, 120])
def test_frame_k_is_the_picture_at_its_time(make_grey_clip, tmp_path, rate):
    numerator, _, denominator = str(rate).partition('/')
    exact = int(numerator) / int(denominator or 1)
    n_pictures = max(2, round(2 * exact))
    levels = 20 + numpy.arange(n_pictures) * 200 // n_pictures
    path = make_grey_clip(tmp_path / 'a.mp4', levels, rate)
    duration = n_pictures / exact
    wanted = [levels[int(k / 25 * exact + 1e-6)]
              for k in range(int(numpy.ceil(duration * 25 - 1e-3)))]
    got = levels_of(path)
    numpy.testing.assert_allclose(got, wanted, atol=2.5)


def test_variable_frame_rate(make_grey_clip, tmp_path):
    # From 54 to 238 ms apart; by their average rate, 7 a second, frames must
    # not be taken.
    levels = 20 + 8 * numpy.arange(25)
    number = numpy.arange(25)
    starts = (50 * number + 4 * number ** 2) / 1000
    path = make_grey_clip(
        tmp_path / 'a.mp4', levels, 1000,
        ['-vf', 'setpts=50*N+4*N*N', '-fps_mode', 'vfr'])
    got = levels_of(path)
    # How long the last picture stays is the container's to say.
    assert len(got) - 1 >= starts[-1] * 25 - 1
    for k, level in enumerate(got):
        shown = numpy.searchsorted(starts, k / 25 + 1e-6, side='right') - 1
        assert abs(level - levels[shown]) <= 2.5, k


def test_turned_phone(make_clip, ffmpeg, tmp_path):
    # The upper half is white as it is stored, the right half as it is shown.
    plain, turned = tmp_path / 'plain.mp4', tmp_path / 'turned.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'color=black:s=64x48:r=25:d=0.2', '-vf',
           'drawbox=0:0:64:24:white:fill', '-pix_fmt', 'yuv420p', plain)
    ffmpeg('-display_rotation', -90, '-i', plain, '-c', 'copy', turned)
    frame = frames_of(turned)[0].mean(axis=0)
    assert frame.shape == (256, 456)
    assert frame[:, 300:].mean() > 240 and frame[:, :150].mean() < 15


def test_picture_that_starts_late(make_grey_clip, tmp_path):
    path = make_grey_clip(tmp_path / 'a.mkv', [50] * 5 + [200] * 5, 25,
                          ['-output_ts_offset', 0.2])
    got = levels_of(path)
    assert len(got) in (10, 15)
    assert abs(got[0] - 50) < 3 and abs(got[-1] - 200) < 3


def test_single_picture(make_clip, tmp_path):
    path = make_clip(tmp_path / 'a.mp4', seconds=0.04)
    assert frames_of(path).shape == (1, *ONE_FRAME)


def test_transparent_and_deep_pictures(make_clip, tmp_path):
    for pixels in ('yuva420p', 'yuv420p10le', 'gray'):
        path = make_clip(tmp_path / (pixels + '.avi'), seconds=0.2,
                         sound=False,
                         options=('-c:v', 'ffv1', '-pix_fmt', pixels))
        assert frames_of(path).shape == (5, *ONE_FRAME)


def test_second_tracks_are_left_alone(make_clip, ffmpeg, tmp_path):
    first = make_clip(tmp_path / 'first.mp4')
    other = make_clip(tmp_path / 'other.mp4', seconds=0.8, size='32x32')
    path = tmp_path / 'both.mov'
    ffmpeg('-i', first, '-i', other, '-map', '0', '-map', '1', '-t', 0.4,
           '-c', 'copy', path)
    numpy.testing.assert_array_equal(frames_of(path), frames_of(first))


def test_chapters_do_not_end_a_clip(make_clip, ffmpeg, tmp_path):
    chapters = tmp_path / 'chapters.txt'
    chapters.write_text(';FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\n'
                        'END=200\ntitle=Duration: 00:00:99.00, start\n')
    plain = make_clip(tmp_path / 'plain.mp4', seconds=1)
    path = tmp_path / 'chapters.mp4'
    ffmpeg('-i', plain, '-i', chapters, '-map_metadata', 1, '-c', 'copy',
           '-metadata', 'title=a\n  Duration: 01:00:00.00, start', path)
    assert len(frames_of(path)) == 25
    assert len(read_audio(path)) in range(16000, 16000 + 1024)


@pytest.mark.parametrize('name', [
    'a name with spaces.mp4', "it's \"quoted\".mp4", '-leading dash.mp4',
    'Zoë Ωμέγα 日本語.mp4', 'concat:a.mp4', 'http:b.mp4', '%d.mp4', 'a\nb.mp4',
    '$(touch x).mp4', 'no_extension', 'wrong.txt', 'x' * 240 + '.mp4',
])
def test_names(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, './' + name)
    assert len(read_audio(name)) in A_CLIP
    assert len(frames_of(name)) == 10
    assert os.listdir('.') == [name]


# --- what is wrong with a clip -----------------------------------------------

def test_missing_file(tmp_path):
    refuse(tmp_path / 'missing.mp4', 'cannot be opened .No such file')


def test_folder(tmp_path):
    refuse(tmp_path, 'is a folder or a device')


def test_empty_file(tmp_path):
    path = tmp_path / 'empty.mp4'
    path.touch()
    refuse(path, 'is empty')


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_pipe(tmp_path):
    path = tmp_path / 'pipe.mp4'
    os.mkfifo(path)
    refuse(path, 'is a folder or a device')


def test_terminal_or_endless_device():
    if not os.path.exists('/dev/zero'):
        pytest.skip('no /dev/zero here')
    refuse('/dev/zero', 'is a folder or a device')


@pytest.mark.parametrize('content', [
    b'These are not the pictures you are looking for.\n' * 40,
    b'\0' * 5000, b'x', bytes(range(256)) * 64, b'%PDF-1.4\n' + b'x' * 999,
    b'PK\3\4' + b'\0' * 999, b'<html><body>404</body></html>' * 20,
])
def test_no_video_whatever_its_name_says(tmp_path, content):
    path = tmp_path / 'renamed.mp4'
    path.write_bytes(content)
    refuse(path, 'is no video file')


def test_picture_renamed(ffmpeg, tmp_path):
    for name in ('a.png', 'a.jpg', 'a.bmp'):
        picture, path = tmp_path / name, tmp_path / (name + '.mp4')
        ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=64x48', '-frames:v', 1,
               '-update', 1, picture)
        os.rename(picture, path)
        refuse(path, 'is no video file|has no sound|no sound track|is damaged')


@pytest.mark.parametrize('playlist', [
    '#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n',
    'ffconcat version 1.0\nfile {}\n',
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
    'type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="0" bandwidth="1"><BaseURL>{}'
    '</BaseURL></Representation></AdaptationSet></Period></MPD>',
    'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n'
    'm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na={}\n',
])
def test_playlist_is_not_followed(make_clip, tmp_path, playlist):
    make_clip(tmp_path / 'secret.ts')
    path = tmp_path / 'playlist.mp4'
    path.write_text(playlist.format('secret.ts'))
    refuse(path, 'is no video file')


def test_mov_reference_to_another_file_is_not_followed(
        make_clip, tmp_path):
    # QuickTime can keep its samples in another file, named in "dref".
    secret = make_clip(tmp_path / 'secret.mov', sound=False)
    content = secret.read_bytes()
    path = tmp_path / 'reference.mov'
    self_reference = b'\0\0\0\x0curl \0\0\0\1'
    assert content.count(self_reference) == 1
    path.write_bytes(content.replace(
        self_reference, b'\0\0\0\x0calis\0\0\0\0'))
    with pytest.raises(MediaError):
        read_audio(path)
    for frames in (read_frames(path),):
        try:
            shown = sum(map(len, frames))
        except MediaError:
            shown = 0
        assert shown <= 10


def test_cut_short_before_its_table_of_contents(clip, tmp_path):
    path = tmp_path / 'cut.mp4'
    content = clip.read_bytes()
    path.write_bytes(content[:content.index(b'moov') - 4])
    refuse(path, 'is cut short.*download it again')


def test_cut_short_within_its_table_of_contents(clip, tmp_path):
    path = tmp_path / 'cut.mp4'
    content = clip.read_bytes()
    start = content.index(b'moov')
    for end in range(start + 40, len(content) - 200, 400):
        path.write_bytes(content[:end])
        refuse(path, 'cut short|damaged|has no', read_audio)


@pytest.mark.parametrize('name', ['cut.mp4', 'cut.mkv'])
def test_cut_short_after_its_table_of_contents(make_clip, tmp_path, name):
    path = make_clip(tmp_path / name, seconds=6, size='320x240', options=(
        '-movflags', 'faststart') if name.endswith('mp4') else ())
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    refuse(path, r'ends after \d\.\d of 6\.\d s')


@pytest.mark.parametrize('keep', [1, 10, 100, 1000])
def test_only_the_beginning(clip, tmp_path, keep):
    path = tmp_path / 'cut.mp4'
    path.write_bytes(clip.read_bytes()[:keep])
    refuse(path, 'cut short|no video file')


def test_damage_in_the_middle_neither_hangs_nor_raises(make_clip, tmp_path):
    path = make_clip(tmp_path / 'damaged.mp4', seconds=2, size='320x240',
                     options=('-movflags', 'faststart'))
    content = bytearray(path.read_bytes())
    numpy_random = numpy.random.RandomState(0)
    start = len(content) // 3
    content[start:2 * start] = numpy_random.bytes(start)
    path.write_bytes(content)
    for read in (read_audio, frames_of):
        try:
            read(path)
        except MediaError as error:
            assert str(path) in str(error)


def test_noise_in_every_part_of_a_file(clip, tmp_path):
    content = clip.read_bytes()
    random = numpy.random.RandomState(1)
    for i in range(8):
        damaged = bytearray(content)
        for place in random.randint(len(damaged), size=40):
            damaged[place] = random.randint(256)
        path = tmp_path / 'damaged.mp4'
        path.write_bytes(damaged)
        for read in (read_audio, frames_of):
            try:
                read(path)
            except MediaError as error:
                assert str(path) in str(error)


def test_no_sound(make_clip, tmp_path):
    path = make_clip(tmp_path / 'mute.mp4', sound=False)
    refuse(path, 'has no sound', read_audio)
    assert len(frames_of(path)) == 10


def test_no_picture(make_clip, tmp_path):
    for name in ('a.mp4', 'a.mp3', 'a.wav'):
        path = make_clip(tmp_path / name, picture=False, channels=2,
                         sample_rate=44100)
        refuse(path, 'has no picture', frames_of)
        assert len(read_audio(path)) > 6000


def test_cover_of_a_song_is_no_clip(make_clip, ffmpeg, tmp_path):
    song = make_clip(tmp_path / 'song.mp3', picture=False, seconds=5)
    cover, path = tmp_path / 'cover.jpg', tmp_path / 'covered.mp3'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=64x48', '-frames:v', 1,
           '-update', 1, cover)
    ffmpeg('-i', song, '-i', cover, '-map', 0, '-map', 1, '-c', 'copy',
           '-disposition:v:0', 'attached_pic', path)
    refuse(path, 'no picture|picture ends', frames_of)


def test_empty_sound_track(tmp_path):
    path = tmp_path / 'empty.wav'
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b'')
    refuse(path, 'sound', read_audio)


def test_sound_much_shorter_than_the_picture(make_clip, ffmpeg, tmp_path):
    picture = make_clip(tmp_path / 'p.mp4', sound=False, seconds=4)
    sound = make_clip(tmp_path / 's.m4a', picture=False, seconds=1)
    path = tmp_path / 'a.mp4'
    ffmpeg('-i', picture, '-i', sound, '-c', 'copy', path)
    refuse(path, 'sound ends after 1.. of 4.. s', read_audio)
    assert len(frames_of(path)) == 100


def test_very_short_sound_is_handed_on(make_clip, tmp_path):
    path = make_clip(tmp_path / 'a.mkv', seconds=0.002,
                     options=('-c:a', 'pcm_s16le'))
    assert len(read_audio(path)) == 32


def test_broken_ffmpeg_is_said(clip, monkeypatch, tmp_path):
    monkeypatch.setattr(media, 'ffmpeg_binary',
                        lambda: str(tmp_path / 'no-ffmpeg'))
    with pytest.raises(media.ImpressionError, match='ffmpeg'):
        read_audio(clip)


def test_stopping_early_stops_ffmpeg(make_clip, tmp_path, monkeypatch):
    path = make_clip(tmp_path / 'long.mp4', seconds=20, sound=False)
    started = []
    popen = subprocess.Popen

    def start(*arguments, **keywords):
        started.append(popen(*arguments, **keywords))
        return started[-1]
    monkeypatch.setattr(media.subprocess, 'Popen', start)
    frames = read_frames(path)
    next(frames)
    frames.close()
    process, = started
    assert process.poll() is not None


# --- the real clips ----------------------------------------------------------

def test_real_clips(samples):
    folder = os.path.join(samples, 'clips')
    clips = sorted(n for n in os.listdir(folder) if n.endswith('.mp4'))
    assert clips
    for name in clips:
        audio = read_audio(os.path.join(folder, name))
        n_frames = sum(map(len, read_frames(os.path.join(folder, name))))
        assert abs(len(audio) / 16000 - 15.3) < 0.1
        assert abs(n_frames / 25 - 15.3) < 0.1


@pytest.mark.parametrize('picture, sound', [(3, 4.2), (5, 3.5)])
def test_whole_tracks_of_unequal_length_are_read(
        make_clip, ffmpeg, tmp_path, picture, sound):
    """Nothing is wrong with such a file, and it does not say so."""
    make_clip(tmp_path / 'p.mp4', sound=False, seconds=picture)
    make_clip(tmp_path / 's.m4a', picture=False, seconds=sound)
    path = tmp_path / 'invalid error.mp4'
    ffmpeg('-i', tmp_path / 'p.mp4', '-i', tmp_path / 's.m4a', '-c', 'copy',
           path)
    assert len(frames_of(path)) == picture * 25
    assert abs(len(read_audio(path)) / 16000 - sound) < 0.2
