"""The command that caches clips, as it is typed: in processes of its own."""

import contextlib
import csv
import fcntl
import os
import pty
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from chainer_impression.datasets.clip_cache import (
    CachedClip, cached_clips, is_current)
from chainer_impression.errors import ImpressionError
from data_prep import cache_clips as command

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def start(*arguments, cwd=ROOT, before=None, stderr=subprocess.PIPE):
    return subprocess.Popen(
        [sys.executable, '-m', 'data_prep.cache_clips', *map(str, arguments)],
        cwd=str(cwd), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=stderr, encoding='utf-8', errors='surrogateescape',
        env=dict(os.environ, PYTHONPATH=ROOT, PYTHONIOENCODING='utf-8'),
        preexec_fn=before)


class Done:
    """A command that has come to its end."""

    def __init__(self, process, timeout=60):
        self.stdout, self.stderr = process.communicate(timeout=timeout)
        self.status = process.returncode
        assert 'Traceback' not in self.stderr, self.stderr

    @property
    def sentence(self):
        """The last line of a failure."""
        assert self.status == 1
        return self.stderr.strip().splitlines()[-1]


def run(*arguments, **keywords):
    return Done(start(*arguments, **keywords))


def contents(folder):
    """All that a cache holds: path to bytes."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, folder)] = file.read()
        if parent != str(folder):
            found[os.path.relpath(parent, folder) + '/'] = None
    return found


def failures(cache, name='failures.csv'):
    with open(os.path.join(cache, name), newline='', encoding='utf-8') as file:
        header, *rows = csv.reader(file)
    assert header == ['clip', 'reason']
    return dict(rows)


def names(cache):
    return sorted(cached_clips(cache))


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.005)


def is_writing(cache):
    """Whether a clip is half-written."""
    for parent, _, names in os.walk(cache):
        if os.path.basename(parent).startswith('.unfinished-'):
            with contextlib.suppress(FileNotFoundError):
                if any(os.path.getsize(os.path.join(parent, n)) for n in names
                       if n.endswith('.avi')):
                    return True
    return False


@pytest.fixture(scope='module')
def source(make_clip, tmp_path_factory):
    """Three clips in nested folders, as archives unpack."""
    folder = tmp_path_factory.mktemp('source')
    for i, place in enumerate(['one', 'one/two', 'three']):
        (folder / place).mkdir()
        make_clip(folder / place / 'video{}.00{}.mp4'.format(i, i),
                  seconds=0.4 + 0.1 * i)
    (folder / 'one' / 'readme.txt').write_text('no clip')
    (folder / 'one' / '._video0.000.mp4').write_text('of a Mac')
    return folder


@pytest.fixture(scope='module')
def reference(source, tmp_path_factory):
    """The cache of ``source``, made by a run that nothing disturbed."""
    cache = tmp_path_factory.mktemp('reference') / 'cache'
    done = run(source, cache)
    assert done.status == 0, done.stderr
    return contents(cache)


@pytest.fixture(scope='module')
def long_clip(make_clip, tmp_path_factory):
    """A clip that keeps the command busy for seconds."""
    return make_clip(
        tmp_path_factory.mktemp('long') / 'long.000.mp4', seconds=60,
        size='32x32', options=('-preset', 'ultrafast'))


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of that many bytes; only root can."""
    mounted = []

    def mount(size, *options):
        folder = tmp_path / 'disk{}'.format(len(mounted))
        folder.mkdir()
        done = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o',
             ','.join(['size={}'.format(size), *options]), 'tmpfs',
             str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT) \
            if shutil.which('mount') else None
        if done is None or done.returncode:
            pytest.skip('only root can mount a small file system, and not '
                        'in every container')
        mounted.append(folder)
        return folder
    yield mount
    for folder in mounted:
        subprocess.run(['umount', '-l', str(folder)], check=True)


# --- as it should be ---------------------------------------------------------

def test_every_clip_below_the_source(source, reference):
    assert sorted(reference) == ['.lock-1-of-1'] + [
        'video{}.00{}.mp4.avi'.format(i, i) for i in range(3)]


def test_what_it_says(source, tmp_path):
    done = run(source, tmp_path / 'cache')
    assert done.status == 0
    assert '3 clips to cache, about 0.7 MB; ' in done.stdout
    assert '3 clips are in {}'.format(tmp_path / 'cache') in done.stdout
    # Plain lines: this is no terminal.
    assert '\r' not in done.stderr
    assert 'caching: 100% 3/3 [' in done.stderr
    assert not os.path.exists(tmp_path / 'cache' / 'failures.csv')


def test_bar_on_a_terminal(source, tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    process = start(source, tmp_path / 'cache', stderr=theirs)
    os.close(theirs)
    shown = b''
    with contextlib.suppress(OSError):  # how a terminal says that it closed
        while True:
            shown += os.read(ours, 4096)
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert b'\r' in shown
    assert b'caching: 100%|' in shown
    assert b'3/3 [' in shown
    assert b' clips/s' in shown or b's/ clips' in shown


def test_second_run_has_nothing_to_do(source, reference, tmp_path):
    cache = tmp_path / 'cache'
    assert run(source, cache).status == 0
    times = {name: os.stat(cache / name).st_mtime_ns for name in reference
             if name.endswith('.avi')}
    done = run(source, cache)
    assert done.status == 0
    assert '3 of 3 clips are cached already' in done.stdout
    assert 'to cache' not in done.stdout
    assert times == {name: os.stat(cache / name).st_mtime_ns for name in times}
    assert contents(cache) == reference


def test_one_worker_or_many_make_the_same(source, reference, tmp_path):
    done = [Done(start(source, tmp_path / str(n), '--workers', n))
            for n in (1, 9)]
    assert [d.status for d in done] == [0, 0]
    assert contents(tmp_path / '1') == reference
    assert contents(tmp_path / '9') == reference


def test_relative_paths_and_trailing_slashes(source, reference, tmp_path):
    (tmp_path / 'work').mkdir()
    shutil.copytree(source, tmp_path / 'work' / 'source')
    assert run('source/', 'deep/er/cache//',
               cwd=tmp_path / 'work').status == 0
    assert contents(tmp_path / 'work' / 'deep' / 'er' / 'cache') == reference


def test_help():
    done = run('--help')
    assert done.status == 0
    text = ' '.join(done.stdout.split())
    assert '(default: {})'.format(command.n_cores()) in text
    assert '(default: 1/1)' in text
    assert '(1, 1)' not in text
    assert '456 x 256 pixels and 25 frames per second' in text
    assert '16 kHz' in text


@pytest.mark.parametrize('arguments', [
    [], ['a'], ['a', 'b', 'c'], ['a', 'b', '--workers', '0'],
    ['a', 'b', '--workers', 'x'], ['a', 'b', '--shard', '0/2'],
    ['a', 'b', '--shard', '3/2'], ['a', 'b', '--shard', '1'],
    ['a', 'b', '--shard', 'x/y'], ['a', 'b', '--shard', '1/2/3']])
def test_arguments_that_make_no_sense(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['cache_clips', *arguments])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 2
    assert 'error: ' in capsys.readouterr().err


def test_foreign_files_in_the_cache_stay(source, reference, tmp_path):
    cache = tmp_path / 'cache'
    (cache / 'folder').mkdir(parents=True)
    foreign = {'notes.txt': b'mine', 'folder/x.avi': b'mine too',
               'other.mp4.avi': b'no clip', '.hidden': b''}
    for name, content in foreign.items():
        (cache / name).write_bytes(content)
    assert run(source, cache).status == 0
    assert contents(cache) == {**reference, **foreign, 'folder/': None}


def test_cache_on_another_file_system(source, reference, small_disk):
    cache = small_disk('64m') / 'cache'
    assert run(source, cache).status == 0
    assert contents(cache) == reference


def test_files_are_for_everybody_the_mask_admits(source, tmp_path):
    assert run(source, tmp_path / 'cache',
               before=lambda: os.umask(0o027)).status == 0
    for name in names(tmp_path / 'cache'):
        mode = os.stat(tmp_path / 'cache' / (name + '.avi')).st_mode
        assert mode & 0o777 == 0o640


# --- bad clips ---------------------------------------------------------------

def test_bad_clips_are_listed_and_the_others_go_on(
        make_clip, clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    content = clip.read_bytes()
    shutil.copy(clip, folder / 'good.mp4')
    (folder / 'empty.mp4').touch()
    (folder / 'cut.mp4').write_bytes(content[:len(content) // 2])
    (folder / 'nearly.mp4').write_bytes(content[:-600])
    (folder / 'text.mp4').write_text('This page was not found.\n' * 50)
    (folder / 'zeros.mp4').write_bytes(bytes(9999))
    long = make_clip(tmp_path / 'long.mp4', seconds=4, size='160x120',
                     options=('-movflags', 'faststart')).read_bytes()
    (folder / 'half.mp4').write_bytes(long[:len(long) // 2])
    make_clip(folder / 'mute.mp4', sound=False)
    make_clip(folder / 'blind.mp4', picture=False)
    os.mkfifo(folder / 'pipe.mp4')
    (folder / 'folder.mp4').mkdir()
    shutil.copy(clip, folder / 'folder.mp4' / 'inside.mp4')
    os.symlink('nowhere', folder / 'dangling.mp4')
    done = run(folder, cache)
    assert '10 clips could not be cached' in done.sentence
    assert str(cache / 'failures.csv') in done.sentence
    assert '2 clips are in' in done.stdout
    assert names(cache) == ['good.mp4', 'inside.mp4']
    found = failures(cache)
    reasons = {
        'empty': 'is empty', 'cut': 'cut short', 'nearly': 'sound',
        'text': 'no video file',
        'zeros': 'no video file', 'half': 'ends after', 'mute': 'sound',
        'blind': 'picture', 'pipe': 'not a clip', 'dangling': 'No such file'}
    assert set(found) == {str(folder / (n + '.mp4')) for n in reasons}
    for name, reason in reasons.items():
        path = str(folder / (name + '.mp4'))
        assert reason in found[path], found[path]
        assert found[path].startswith(path + ': ')
        assert found[path] in done.stderr
    # What was mended is taken, and the list is of what remains.
    for name in reasons:
        os.unlink(folder / (name + '.mp4'))
    shutil.copy(clip, folder / 'empty.mp4')
    done = run(folder, cache)
    assert done.status == 0
    assert names(cache) == ['empty.mp4', 'good.mp4', 'inside.mp4']
    assert not os.path.exists(cache / 'failures.csv')


def test_clips_of_one_name_in_two_folders(make_clip, tmp_path):
    folder = tmp_path / 'source'
    for place, seconds in (('a', 0.4), ('b', 0.6), ('c', 0.4)):
        (folder / place).mkdir(parents=True)
        make_clip(folder / place / 'same.mp4', seconds=seconds)
    make_clip(folder / 'c' / 'other.mp4')
    done = run(folder, tmp_path / 'cache')
    assert '3 clips could not be cached' in done.sentence
    found = failures(tmp_path / 'cache')
    assert sorted(found) == [str(folder / p / 'same.mp4') for p in 'abc']
    assert str(folder / 'b' / 'same.mp4') in found[str(folder / 'a/same.mp4')]
    assert all('has the same name as' in reason for reason in found.values())
    assert names(tmp_path / 'cache') == ['other.mp4']


ODD_NAMES = [
    'a name with spaces.mp4', "it's \"quoted\".mp4", '-leading dash.mp4',
    '--workers.mp4', 'Zoë Ωμέγα 日本語.mp4', 'concat:a.mp4', '%d.mp4',
    '$(touch x);`y`.mp4', 'UPPER.MP4', 'a\nb.mp4', 'comma, and; more.mp4',
    'back\\slash.mp4', 'No space left on device.mp4', 'two.dots..mp4',
    os.fsdecode(b'latin-1 \xe9\xff.mp4')]


def test_odd_names(clip, tmp_path):
    folder = tmp_path / 'spaces and "quotes"' / '-dash é'
    folder.mkdir(parents=True)
    for name in ODD_NAMES:
        shutil.copy(clip, folder / name)
    os.unlink(folder / 'No space left on device.mp4')
    (folder / 'No space left on device.mp4').write_bytes(b'no clip' * 99)
    (folder / os.fsdecode(b'bad \xe9.mp4')).write_bytes(b'no clip' * 99)
    cache = tmp_path / os.fsdecode(b'cache \xe9')
    done = run('--', './-dash é', cache, cwd=folder.parent)
    assert '2 clips could not be cached' in done.sentence
    wanted = sorted(set(ODD_NAMES) - {'No space left on device.mp4'})
    assert names(cache) == wanted
    for path in cached_clips(cache).values():
        assert CachedClip(path).n_frames == 10
    assert len(failures(cache)) == 2
    again = run('--', './-dash é', cache, cwd=folder.parent)
    assert '{} of {} clips are cached already'.format(
        len(wanted), len(ODD_NAMES) + 1) in again.stdout


def test_name_too_long_for_the_cache(clip, tmp_path):
    folder = tmp_path / 'source'
    folder.mkdir()
    for length in (255, 252, 251, 245):
        shutil.copy(clip, folder / ('x' * (length - 4) + '.mp4'))
    done = run(folder, tmp_path / 'cache')
    assert '2 clips could not be cached' in done.sentence
    assert sorted(map(len, names(tmp_path / 'cache'))) == [245, 251]
    assert all('name is too long' in reason
               for reason in failures(tmp_path / 'cache').values())


def test_links(clip, tmp_path):
    folder = tmp_path / 'source'
    for place in ('b', 'c/deep'):
        (folder / place).mkdir(parents=True)
    shutil.copy(clip, folder / 'b' / 'one.mp4')
    shutil.copy(clip, tmp_path / 'elsewhere.mp4')
    os.symlink('..', folder / 'b' / 'parent')
    os.symlink('.', folder / 'b' / 'self')
    os.symlink(folder, folder / 'c' / 'deep' / 'top')
    os.symlink('b', folder / 'a')  # before what it leads to
    os.symlink('b', folder / 'z')
    os.symlink('y', folder / 'x')
    os.symlink('x', folder / 'y')
    os.symlink(tmp_path / 'elsewhere.mp4', folder / 'c' / 'two.mp4')
    (tmp_path / 'more').mkdir()
    shutil.copy(clip, tmp_path / 'more' / 'three.mp4')
    os.symlink(tmp_path / 'more', folder / 'c' / 'more')
    done = run(folder, tmp_path / 'cache')
    assert done.status == 0, done.stderr
    assert names(tmp_path / 'cache') == ['one.mp4', 'three.mp4', 'two.mp4']


def test_source_deleted_meanwhile(clip, long_clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    shutil.copy(clip, folder / 'b.mp4')
    shutil.copy(clip, folder / 'c.mp4')
    shutil.copy(long_clip, folder / 'a.mp4')
    process = start(folder, cache, '--workers', 1)
    wait_for(lambda: is_writing(cache))
    os.unlink(folder / 'b.mp4')
    done = Done(process)
    assert '1 clips could not be cached' in done.sentence
    assert 'No such file' in failures(cache)[str(folder / 'b.mp4')]
    assert names(cache) == ['a.mp4', 'c.mp4']


def test_source_that_changed_is_done_again(make_clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    make_clip(folder / 'a.mp4')
    make_clip(folder / 'b.mp4')
    assert run(folder, cache).status == 0
    make_clip(folder / 'a.mp4', seconds=0.8)
    done = run(folder, cache)
    assert done.status == 0
    assert '1 of 2 clips are cached already' in done.stdout
    assert CachedClip(cache / 'a.mp4.avi').n_frames == 20
    assert is_current(folder / 'a.mp4', cache / 'a.mp4.avi')


def test_cached_clip_cut_short_is_done_again(source, reference, tmp_path):
    cache = tmp_path / 'cache'
    assert run(source, cache).status == 0
    for name, keep in (('video0.000.mp4.avi', 0.6), ('video2.002.mp4.avi', 0)):
        with open(cache / name, 'rb+') as file:
            file.truncate(int(keep * len(reference[name])))
    done = run(source, cache)
    assert done.status == 0
    assert '1 of 3 clips are cached already' in done.stdout
    assert contents(cache) == reference


# --- bad places --------------------------------------------------------------

def test_no_source(clip, tmp_path):
    (tmp_path / 'empty').mkdir()
    for place, reason in ((tmp_path / 'empty', 'holds no clip'),
                          (clip, 'is a file; give the folder')):
        with pytest.raises(ImpressionError, match=reason):
            command.find_clips(str(place), str(tmp_path / 'cache'))
    done = run(tmp_path / 'missing', tmp_path / 'cache')
    assert 'missing: there is no such folder' in done.sentence
    assert not os.path.exists(tmp_path / 'cache')


def test_folder_that_cannot_be_read(source, tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('two'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)
    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(ImpressionError, match='two: .* cannot be read'):
        command.find_clips(str(source), str(tmp_path / 'cache'))


def test_cache_and_source_in_one_another(source, tmp_path):
    before = contents(source)
    (tmp_path / 'link').symlink_to(source)
    for cache in (source, source / 'new', source.parent):
        done = run(source, cache)
        assert 'choose another folder' in done.sentence
    for cache in (source / 'one', tmp_path / 'link', str(source) + '/',
                  tmp_path / 'link' / 'new', tmp_path / 'link' / '..'):
        with pytest.raises(ImpressionError, match='choose another folder'):
            command.check_apart(str(source), str(cache))
    assert contents(source) == before


def test_link_in_the_source_that_leads_to_the_cache(clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'place' / 'cache'
    folder.mkdir()
    shutil.copy(clip, folder / 'a.mp4')
    assert run(folder, cache).status == 0
    before = contents(cache)
    for target in (cache, cache.parent):
        (folder / 'link').symlink_to(target)
        done = run(folder, cache)
        assert 'leads to the cache' in done.sentence
        assert contents(cache) == before
        (folder / 'link').unlink()


def test_cache_whose_name_begins_like_the_source(clip, tmp_path):
    (tmp_path / 'clips').mkdir()
    shutil.copy(clip, tmp_path / 'clips')
    assert run(tmp_path / 'clips', tmp_path / 'clips-cached').status == 0


def test_destination_is_a_file_or_below_one(source, tmp_path):
    (tmp_path / 'file').write_text('mine')
    for cache in (tmp_path / 'file', tmp_path / 'file' / 'cache'):
        done = run(source, cache)
        assert '{}: cannot be written'.format(cache) in done.sentence
    assert (tmp_path / 'file').read_text() == 'mine'


def test_destination_is_read_only(source, tmp_path, small_disk):
    disk = small_disk('1m')
    (disk / 'cache').mkdir()
    subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
    for cache in (disk / 'cache', disk / 'new'):
        done = run(source, cache)
        assert str(cache) in done.sentence
        assert 'cannot be written (it is not yours to write' in done.sentence


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0,
                    reason='root may write everywhere')
def test_destination_is_somebody_elses(source, tmp_path):
    (tmp_path / 'cache').mkdir(mode=0o555)
    assert 'cannot be written' in run(source, tmp_path / 'cache').sentence


def test_destination_is_too_small(long_clip, source, reference, small_disk):
    cache = small_disk('1m') / 'cache'
    # Said before any work.
    done = run(long_clip.parent, cache)
    assert 'free some space' in done.sentence
    assert '--ignore-free-space' in done.sentence
    assert re.search(r'about \d\d\.\d MB; [01]\.\d MB are free', done.sentence)
    assert not [name for name in contents(cache) if name.endswith('.avi')]
    # Met on the way: an error of the disk is not laid on the clip.
    done = run(long_clip.parent, cache, '--ignore-free-space')
    assert 'the disk is full: free some space' in done.sentence
    assert list(contents(cache)) == ['.lock-1-of-1']


def test_disk_fills_during_the_run_and_is_cleared(
        source, reference, long_clip, tmp_path, small_disk):
    folder = tmp_path / 'source'
    shutil.copytree(source, folder)
    shutil.copy(long_clip, folder / 'one' / 'along.mp4')
    disk = small_disk('2m')
    (disk / 'ballast').write_bytes(bytes(1 << 20))
    done = run(folder, disk / 'cache', '--ignore-free-space', '--workers', 1)
    assert 'the disk is full' in done.sentence
    for name, content in contents(disk / 'cache').items():
        assert content == reference[name]
    os.unlink(disk / 'ballast')
    os.unlink(folder / 'one' / 'along.mp4')
    assert run(folder, disk / 'cache').status == 0
    assert contents(disk / 'cache') == reference


def test_limit_on_the_size_of_files(source, long_clip, tmp_path):
    limit = 200_000
    folder = tmp_path / 'source'
    folder.mkdir()
    shutil.copy(long_clip, folder)
    done = run(folder, tmp_path / 'cache', before=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (limit, limit)))
    assert 'cannot be written (File too large)' in done.sentence
    assert list(contents(tmp_path / 'cache')) == ['.lock-1-of-1']


def test_folder_where_a_cached_clip_belongs(clip, tmp_path):
    (tmp_path / 'source').mkdir()
    shutil.copy(clip, tmp_path / 'source' / 'a.mp4')
    (tmp_path / 'cache' / 'a.mp4.avi').mkdir(parents=True)
    done = run(tmp_path / 'source', tmp_path / 'cache')
    assert 'a.mp4.avi: cannot be written (Is a directory)' in done.sentence


def test_clip_that_claims_ten_hours_does_not_stop_the_others(
        clip, ffmpeg, tmp_path, monkeypatch):
    folder = tmp_path / 'source'
    folder.mkdir()
    shutil.copy(clip, folder / 'b.mp4')
    ffmpeg('-f', 'lavfi', '-i',
           "testsrc=s=64x48:r=25:d=0.08,settb=1/1000,setpts='N*36000000'",
           '-f', 'lavfi', '-i', 'sine=d=0.1', '-fps_mode', 'vfr',
           '-pix_fmt', 'yuv420p', folder / 'a.mp4')
    done = run(folder, tmp_path / 'cache')
    assert re.search(r'about 0\.\d MB; ', done.stdout)
    assert list(failures(tmp_path / 'cache')) == [str(folder / 'a.mp4')]
    assert names(tmp_path / 'cache') == ['b.mp4']


# --- stopped, and two at once ------------------------------------------------

def is_left_clean(cache):
    """Whether there is nothing but whole clips."""
    for name, content in contents(cache).items():
        assert name.endswith('.avi') or name.startswith('.lock'), name
        if name.endswith('.avi'):
            CachedClip(os.path.join(cache, name))
    return True


def test_ctrl_c(clip, long_clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    shutil.copy(clip, folder / 'a.mp4')
    for i in range(4):
        shutil.copy(long_clip, folder / 'b{}.mp4'.format(i))
    process = start(folder, cache, '--workers', 2)
    wait_for(lambda: is_writing(cache)
             and os.path.exists(cache / 'a.mp4.avi'))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = Done(process)
    assert time.monotonic() - began < 15  # the clip takes far longer
    assert done.status == 130
    assert done.stderr.strip().endswith('stopped')
    assert is_left_clean(cache)
    assert not os.path.exists(cache / 'failures.csv')


def test_ctrl_c_on_a_terminal_meets_ffmpeg_too(long_clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    for i in range(3):
        shutil.copy(long_clip, folder / 'b{}.mp4'.format(i))
    process = start(folder, cache, before=os.setsid)
    wait_for(lambda: is_writing(cache))
    os.killpg(process.pid, signal.SIGINT)
    done = Done(process)
    assert done.status == 130
    assert is_left_clean(cache)
    assert not os.path.exists(cache / 'failures.csv')


def test_killed_ten_times(make_clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    for i in range(36):  # too many to be done before the last kill
        make_clip(folder / '{}.mp4'.format(i), seconds=1 + i % 3)
    (folder / 'bad.mp4').write_text('no clip' * 99)
    assert run(folder, tmp_path / 'wanted').status == 1
    wanted = contents(tmp_path / 'wanted')
    choose = random.Random(3)
    kills = 0
    for attempt in range(10):
        process = start(folder, cache, '--workers', 2)
        if attempt % 5 == 4:
            time.sleep(choose.uniform(0.1, 1))
        else:
            n_before = len(os.listdir(cache)) if cache.exists() else 0
            wait_for(lambda: process.poll() is not None or is_writing(cache)
                     and len(os.listdir(cache)) > n_before)
            time.sleep(choose.uniform(0, 0.05))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if cache.exists():
            for name, path in cached_clips(cache).items() \
                    if any(n.endswith('.avi') for n in os.listdir(cache)) \
                    else ():
                with open(path, 'rb') as file:
                    assert file.read() == wanted[name + '.avi']
    assert kills >= 8
    assert run(folder, cache).status == 1
    assert contents(cache) == wanted


def test_leftovers_of_a_dead_run_are_removed(source, reference, tmp_path):
    cache = tmp_path / 'cache'
    dead = cache / '.unfinished-1-of-1-x8_d'
    dead.mkdir(parents=True)
    (dead / '1234.avi').write_bytes(b'half')
    (cache / '.unfinished-x7-failures.csv').write_bytes(b'half')
    (cache / '.lock-1-of-1').touch()
    alive = cache / '.unfinished-1-of-10-x8_d'  # another part's
    alive.mkdir()
    assert run(source, cache).status == 0
    assert contents(cache) == {**reference, alive.name + '/': None}


def test_two_runs_at_once(long_clip, clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    shutil.copy(long_clip, folder / 'a.mp4')
    shutil.copy(clip, folder / 'b.mp4')
    first = start(folder, cache)
    wait_for(lambda: is_writing(cache))
    # Or it is done before the second has started, on a machine that is busy.
    first.send_signal(signal.SIGSTOP)
    try:
        second = run(folder, cache)
    finally:
        first.send_signal(signal.SIGCONT)
    assert 'another run is at work on this cache' in second.sentence
    assert '--shard' in second.sentence
    done = Done(first)
    assert done.status == 0, done.stderr
    assert names(cache) == ['a.mp4', 'b.mp4']
    assert run(folder, cache).status == 0


def test_shards_cover_all_once(source, reference, tmp_path):
    cache = tmp_path / 'cache'
    shards = [start(source, cache, '--shard', '{}/4'.format(i + 1))
              for i in range(4)]
    done = [Done(process) for process in shards]
    assert [d.status for d in done] == [0] * 4
    assert sorted(int(d.stdout.split(' clips are in')[0].split()[-1])
                  for d in done) == [0, 1, 1, 1]
    clips_of = [{name: content for name, content in found.items()
                 if name.endswith('.avi')}
                for found in (contents(cache), reference)]
    assert clips_of[0] == clips_of[1]
    assert is_left_clean(cache)
    # The whole finds the parts' work done.
    assert '3 of 3 clips are cached already' in run(source, cache).stdout


def test_each_shard_lists_its_own_failures(clip, tmp_path):
    folder, cache = tmp_path / 'source', tmp_path / 'cache'
    folder.mkdir()
    for i in range(3):
        (folder / 'bad{}.mp4'.format(i)).write_text('no clip' * 99)
    shutil.copy(clip, folder / 'good.mp4')
    for i in (1, 2):
        done = run(folder, cache, '--shard', '{}/2'.format(i))
        assert 'failures-{}-of-2.csv'.format(i) in done.sentence
    listed = [failures(cache, 'failures-{}-of-2.csv'.format(i))
              for i in (1, 2)]
    assert len(listed[0]) + len(listed[1]) == 3
    assert len({**listed[0], **listed[1]}) == 3
    assert names(cache) == ['good.mp4']


# --- its parts ---------------------------------------------------------------

def test_parts_of_the_work():
    clips = ['{:03}'.format(i) for i in range(101)]
    for n in (1, 2, 3, 7, 101, 200):
        parts = [clips[i - 1::n] for i in range(1, n + 1)]
        assert sorted(sum(parts, [])) == clips
    assert command.parse_shard('2/4') == (2, 4)


def test_stopping_early_stops_what_runs(long_clip, tmp_path):
    def work(clip):
        if clip == 'wrong':
            wait_for(lambda: any(tmp_path.iterdir()))
            raise RuntimeError
        command.cache_clip(clip, str(tmp_path / 'a.avi'), str(tmp_path))
    with pytest.raises(RuntimeError):
        list(command.run_all([str(long_clip), 'wrong', str(long_clip)], 2,
                             work))
    assert list(tmp_path.iterdir()) == []


def test_real_clips(samples, tmp_path):
    clips = os.path.join(samples, 'clips')
    done = run(clips, tmp_path / 'cache')
    assert done.status == 0, done.stderr
    assert names(tmp_path / 'cache') == sorted(
        n for n in os.listdir(clips) if n.endswith('.mp4'))


def test_a_link_to_a_clip_is_that_clip_once_more(clip, tmp_path):
    for folder in ('a', 'b', 'all'):
        (tmp_path / 'source' / folder).mkdir(parents=True)
    shutil.copy(clip, tmp_path / 'source' / 'a' / 'x.mp4')
    os.symlink('../a/x.mp4', tmp_path / 'source' / 'all' / 'x.mp4')
    os.symlink('../a/x.mp4', tmp_path / 'source' / 'b' / 'other name.mp4')
    assert run(tmp_path / 'source', tmp_path / 'cache').status == 0
    assert names(tmp_path / 'cache') == ['other name.mp4', 'x.mp4']
