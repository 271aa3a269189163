"""The demo clips: the same door as the real ones, and cues where they belong.
"""

import io
import os
import pickle
import pickletools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError
from chainer_impression.media import ffmpeg_binary
from chainer_impression.traits import TRAITS
from data_prep import demo_cues, demo_plan, drawn_people, drawn_voices
from data_prep.make_demo_clips import compose, main, make_demo_clips

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(n_clips=6, seconds=1.0, seed=0)
TINY_ARGUMENTS = ['--clips', '6', '--seconds', '1', '--workers', '1']


@pytest.fixture(scope='module')
def demo_set(tmp_path_factory):
    """Folder and clips of a tiny set, made in two processes."""
    out = tmp_path_factory.mktemp('demo') / 'demo set'
    return out, make_demo_clips(out, workers=2, **TINY)


def contents(folder):
    """{relative path: bytes} of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def command(out, *arguments):
    return [sys.executable, '-m', 'data_prep.make_demo_clips', str(out),
            *(arguments or TINY_ARGUMENTS)]


def run_command(out, *arguments, **options):
    return subprocess.run(command(out, *arguments), cwd=ROOT, text=True,
                          capture_output=True, timeout=120, **options)


def assert_one_sentence(done, *words):
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines()
             if not line.startswith('drawing')]
    assert len(lines) == 1, done.stderr
    assert 'Traceback' not in done.stderr
    for word in words:
        assert word in lines[0]


# --- the plan ----------------------------------------------------------------

@pytest.mark.parametrize('n_clips', [6, 7, 12, 48, 200])
def test_splits_share_some_videos_and_not_others(n_clips):
    clips = demo_plan.plan(n_clips, seed=3)
    assert len(clips) == n_clips == len({clip.name for clip in clips})
    videos = {split: [clip.video for clip in clips if clip.split == split]
              for split in demo_plan.SPLITS}
    trained = set(videos['training'])
    seen = [video in trained for video in videos['validation']]
    assert any(seen) and not all(seen)
    assert not all(video in trained for video in videos['test'])
    # A clip of an unseen video is alone of its video.
    unseen = [v for v in videos['validation'] + videos['test']
              if v not in trained]
    assert len(set(unseen)) == len(unseen)


def test_names_are_those_of_the_challenge():
    clips = demo_plan.plan(48, seed=0)
    for clip in clips:
        assert re.fullmatch(r'[A-Za-z0-9_-]{11}\.00[0-5]\.mp4', clip.name)
    # One name for one video, and no other video has it.
    pairs = {(clip.video, clip.name[:11]) for clip in clips}
    assert len(pairs) == len({v for v, _ in pairs}) == len(
        {name for _, name in pairs})


def test_labels_spread_and_clips_of_a_video_are_alike():
    clips = demo_plan.plan(48, seed=0)
    labels = np.array([clip.labels for clip in clips])
    assert labels.min() >= 0 and labels.max() <= 1
    assert (labels.std(axis=0) > 0.15).all()
    of_video = {}
    for clip in clips:
        of_video.setdefault(clip.video, []).append(clip.labels)
    within = np.concatenate([np.array(group) - np.mean(group, axis=0)
                             for group in of_video.values()
                             if len(group) > 1])
    assert within.std() < 0.25 * labels.std()
    # What can only be seen says nothing about what can only be heard.
    training = [clip.labels for clip in clips if clip.split == 'training']
    correlation = np.corrcoef(np.transpose(training)) - np.eye(len(TRAITS))
    assert np.abs(correlation).max() < 0.3


def test_another_seed_is_another_set():
    one, other = demo_plan.plan(12, seed=0), demo_plan.plan(12, seed=1)
    assert not {clip.name for clip in one} & {clip.name for clip in other}


# --- cues --------------------------------------------------------------------

def with_trait(trait, value, others=0.5):
    """A clip of the plan with other traits and nothing else changed."""
    clip = demo_plan.plan(6, seed=0)[0]
    traits = np.full(len(TRAITS), others)
    traits[TRAITS.index(trait)] = value
    return clip._replace(traits=traits)


@pytest.fixture(scope='module')
def composed():
    """{(trait, value): (frames, sound)} of one clip of 2 s."""
    made = {}
    for trait in TRAITS:
        for value in (0.1, 0.9):
            frames, sound = compose(with_trait(trait, value), 2.0, seed=0)
            made[trait, value] = np.stack(list(frames)[::6]), sound
    return made


@pytest.mark.parametrize('trait', TRAITS)
def test_a_trait_shows_where_the_table_says_and_nowhere_else(composed, trait):
    (frames_low, sound_low), (frames_high, sound_high) = (
        composed[trait, 0.1], composed[trait, 0.9])
    streams = demo_cues.streams_of(trait)
    assert np.array_equal(frames_low, frames_high) == (
        'picture' not in streams)
    assert np.array_equal(sound_low, sound_high) == ('sound' not in streams)


def test_some_traits_are_only_seen_some_only_heard_some_both():
    kinds = {demo_cues.streams_of(trait) for trait in TRAITS}
    assert kinds == {('picture',), ('sound',), ('picture', 'sound')}


def high_band(sound):
    """Share of the energy above 4.5 kHz, where there is breath alone."""
    power = np.abs(np.fft.rfft(sound.mean(axis=1))) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / 44100)
    return power[frequency > 4500].sum() / power.sum()


def centroid(sound):
    """Centre of the spectrum below 4.5 kHz, in Hz."""
    power = np.abs(np.fft.rfft(sound.mean(axis=1))) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / 44100)
    voiced = frequency < 4500
    return (power * frequency)[voiced].sum() / power[voiced].sum()


@pytest.mark.parametrize('trait, stream, measure, sign', [
    ('extraversion', 0, lambda frames: frames.mean(), 1),
    ('extraversion', 1, lambda sound: np.square(sound).mean(), 1),
    ('agreeableness', 0,
     lambda frames: frames[..., 0].mean() - frames[..., 2].mean(), 1),
    ('openness', 0, lambda frames: np.abs(np.diff(
        frames[:, ::3, ::3].astype(float), axis=2)).mean(), 1),
    ('conscientiousness', 1, high_band, -1),
    ('neuroticism', 1, centroid, -1),
])
def test_a_cue_goes_the_way_the_table_says(
        composed, trait, stream, measure, sign):
    low, high = (measure(composed[trait, value][stream])
                 for value in (0.1, 0.9))
    assert abs(high - low) > 0.25 * abs(low)
    assert np.sign(high - low) == sign


def test_the_mouth_moves_with_the_sound():
    def stream(purpose):
        return demo_plan.random_stream(0, purpose)

    seconds, middle = 3.0, np.full(len(TRAITS), 0.5)
    person = drawn_people.draw_person(stream(demo_plan.PERSON))
    speaker = drawn_voices.draw_speaker(stream(demo_plan.SPEAKER))
    speech = drawn_voices.utter(speaker, seconds, stream(demo_plan.SPEECH))
    silence = speech._replace(opening=np.zeros_like(speech.opening))
    cues = demo_cues.cue_values(middle, 'picture', stream(demo_plan.PICTURE))
    speaking, silent = (
        np.stack(list(drawn_people.frames(
            person, utterance, cues, seconds, stream(demo_plan.PICTURE))))
        for utterance in (speech, silence))
    moved = np.abs(speaking.astype(float) - silent).mean(axis=(1, 2, 3))

    cues = demo_cues.cue_values(middle, 'sound', stream(demo_plan.SOUND))
    sound = drawn_voices.voice(
        speaker, speech, cues, seconds, stream(demo_plan.SOUND))
    loudness = [np.sqrt(np.square(part).mean())
                for part in np.array_split(sound, len(moved))]
    assert np.corrcoef(moved, loudness)[0, 1] > 0.5


# --- the files ---------------------------------------------------------------

def test_clips_are_nested_as_the_archives_unpack(demo_set):
    out, clips = demo_set
    folders = {'training': r'train/training80_0[12]',
               'validation': r'validation/validation80_01',
               'test': r'test/test80_01'}
    for clip in clips:
        path, = out.rglob(clip.name)
        folder = path.parent.relative_to(out).as_posix()
        assert re.fullmatch(folders[clip.split], folder)
    assert len(list(out.rglob('*.mp4'))) == len(clips)


def test_labels_are_there_for_each_clip_in_both_formats(demo_set):
    out, clips = demo_set
    for split in demo_plan.SPLITS:
        expected = {clip.name: clip.labels
                    for clip in clips if clip.split == split}
        for name in (f'{split}_gt.csv', f'annotation_{split}.pkl'):
            found = read_labels(out / 'labels' / name)
            assert found.keys() == expected.keys()
            for clip_name, labels in expected.items():
                np.testing.assert_array_equal(found[clip_name], labels)


def test_pickles_look_like_those_of_the_challenge(demo_set):
    out, clips = demo_set
    data = (out / 'labels' / 'annotation_validation.pkl').read_bytes()
    opcode, protocol, _ = next(pickletools.genops(data))
    assert (opcode.name, protocol) == ('PROTO', 2)
    labels = pickle.load(io.BytesIO(data), encoding='latin1')
    assert set(labels) == {*TRAITS, 'interview'}
    assert any(isinstance(value, np.generic)
               for values in labels.values() for value in values.values())
    assert set(labels['interview']) == {
        clip.name for clip in clips if clip.split == 'validation'}


def test_an_mp4_is_what_the_readme_says(demo_set):
    out, clips = demo_set
    path, = out.rglob(clips[0].name)
    # moviepy's reader wants an existing file whose name may start with "-".
    said = subprocess.run([ffmpeg_binary(), '-hide_banner', '-i', str(path)],
                          capture_output=True, text=True).stderr
    assert 'Duration: 00:00:01.00' in said
    assert re.search(r'Video: h264 .*yuv420p.*640x360.* 30 fps', said)
    assert re.search(r'Audio: aac .*44100 Hz, stereo', said)


def test_the_picture_and_the_sound_survive_the_file(demo_set):
    out, clips = demo_set
    clip = clips[0]
    path, = out.rglob(clip.name)
    decode = [ffmpeg_binary(), '-v', 'error', '-i', str(path)]
    raw = subprocess.run(decode + ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'],
                         capture_output=True, check=True).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(-1, 360, 640, 3)
    frames, sound = compose(clip, 1.0, seed=0)
    frames = np.stack(list(frames))
    assert decoded.shape == frames.shape == (30, 360, 640, 3)
    error = decoded.astype(float) - frames
    assert 10 * np.log10(255 ** 2 / np.square(error).mean()) > 25   # dB PSNR

    raw = subprocess.run(decode + ['-f', 's16le', '-'],
                         capture_output=True, check=True).stdout
    heard = np.frombuffer(raw, '<i2').reshape(-1, 2)[:len(sound)] / 32768
    assert np.corrcoef(heard[:, 0], sound[:len(heard), 0])[0, 1] > 0.9


# --- the command -------------------------------------------------------------

def test_same_settings_same_bytes(demo_set, tmp_path):
    out, _ = demo_set
    make_demo_clips(tmp_path / 'again', workers=1, **TINY)
    assert contents(tmp_path / 'again') == contents(out)


def test_killed_and_run_again_equals_a_run_that_was_not(demo_set, tmp_path):
    out, _ = demo_set
    folder = tmp_path / 'killed'
    process = subprocess.Popen(
        command(folder, '--clips', '6', '--seconds', '1', '--workers', '2'),
        cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(folder.rglob('.unfinished-*')) or (
            not list(folder.rglob('*.mp4'))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Whatever has a clip's name by now is a whole clip.
    whole = contents(out)
    killed = contents(folder)
    assert len(killed) < len(whole)
    for name, data in killed.items():
        assert '.unfinished-' in name or whole[name] == data

    # Its workers follow it within moments; until then it is theirs.
    while (done := run_command(folder)).returncode:
        assert 'another run' in done.stderr and time.monotonic() < deadline
    assert contents(folder) == whole


def test_a_clip_that_was_deleted_is_drawn_again(demo_set):
    out, clips = demo_set
    before = contents(out)
    next(out.rglob(clips[-1].name)).unlink()
    assert main([str(out), *TINY_ARGUMENTS]) is None
    assert contents(out) == before


def test_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(ImpressionError, match='something else'):
        main([str(tmp_path), *TINY_ARGUMENTS])
    assert contents(tmp_path) == {'thesis.txt': b'mine'}


def test_refuses_demo_clips_of_other_settings(demo_set):
    out, _ = demo_set
    before = contents(out)
    with pytest.raises(ImpressionError, match='other settings'):
        main([str(out), *TINY_ARGUMENTS, '--seed', '1'])
    assert contents(out) == before


def test_refuses_a_file_for_a_folder(tmp_path):
    (tmp_path / 'file').write_text('mine')
    done = run_command(tmp_path / 'file')
    assert_one_sentence(done, 'file')
    assert (tmp_path / 'file').read_text() == 'mine'


def test_refuses_a_second_run_at_once(demo_set):
    fcntl = pytest.importorskip('fcntl')
    out, _ = demo_set
    with (out / 'demo_clips.json').open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ImpressionError, match='another run'):
            main([str(out), *TINY_ARGUMENTS])


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0,
                    reason='root may write everywhere')
def test_a_read_only_destination_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert_one_sentence(run_command(tmp_path / 'demo'), 'demo')
    finally:
        tmp_path.chmod(0o700)


def test_a_full_destination_is_one_sentence(tmp_path):
    resource = pytest.importorskip('resource')

    def little_room():   # a limit on the size of files stands in for a disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = run_command(tmp_path / 'demo', preexec_fn=little_room)
    assert_one_sentence(done, '.mp4', 'cannot be written')
    assert not list((tmp_path / 'demo').rglob('*.mp4'))


@pytest.mark.skipif(os.name == 'nt', reason='needs a shell')
@pytest.mark.parametrize('reads', ['cat > /dev/null', ':'])
def test_a_disk_that_fills_under_ffmpeg(tmp_path, monkeypatch, reads):
    """At its end, where moviepy does not look, and in the middle."""
    ffmpeg = tmp_path / 'ffmpeg'
    ffmpeg.write_text(
        f'#!/bin/sh\n{reads}\n'
        'echo "Error writing trailer:\nNo space left on device" >&2\nexit 1\n')
    ffmpeg.chmod(0o700)
    monkeypatch.setattr(
        'moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY', str(ffmpeg))
    with pytest.raises(ImpressionError, match='.mp4.*disk is full') as caught:
        main([str(tmp_path / 'demo'), *TINY_ARGUMENTS])
    assert '\n' not in str(caught.value)
    assert not [path for path in (tmp_path / 'demo').rglob('*')
                if path.name.startswith('.') or path.suffix == '.mp4']


def test_too_little_room_is_said_before_any_drawing(tmp_path, monkeypatch):
    usage = type('Usage', (), {'free': 1000})
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage)
    with pytest.raises(ImpressionError, match='free'):
        main([str(tmp_path / 'demo'), *TINY_ARGUMENTS])
    assert not list((tmp_path / 'demo').rglob('*.mp4'))


@pytest.mark.parametrize('arguments', [
    ['--clips', '5'], ['--clips', 'many'], ['--seconds', '0'],
    ['--seconds', 'nan'], ['--seed', '-1'], ['--workers', '0']])
def test_settings_that_make_no_sense(tmp_path, arguments, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'demo'), *arguments])
    assert arguments[0] in capsys.readouterr().err
    assert not (tmp_path / 'demo').exists()


def test_help_shows_defaults_and_the_table(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    shown = capsys.readouterr().out
    assert '48' in shown and 'seconds' in shown
    for cue in demo_cues.CUES:
        assert cue.looks in shown
