"""Files are whole or not there, whatever happens while they are written."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from chainer_impression import files
from chainer_impression.errors import ImpressionError
from chainer_impression.files import make_folder, replace_when_done


def write(path, content, **keywords):
    with replace_when_done(path, **keywords) as file:
        file.write(content)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'a file'
    write(path, 'former')
    write(path, 'läter\n', encoding='utf-8', newline='')
    assert path.read_bytes() == 'läter\n'.encode()
    assert os.listdir(tmp_path) == ['a file']


def test_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('name', b'x', mode='wb')
    write('-name', b'x', mode='wb')
    assert sorted(os.listdir(tmp_path)) == ['-name', 'name']


def test_longest_name(tmp_path):
    write(tmp_path / ('x' * 255), 'content')
    write(tmp_path / ('é' * 127), 'content')
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.skipif(os.name == 'nt', reason='permissions of Unix')
def test_permissions_are_those_of_a_new_file(tmp_path):
    former = os.umask(0o027)
    try:
        write(tmp_path / 'a', '')
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(former)
    assert stat.S_IMODE(os.stat(tmp_path / 'a').st_mode) == 0o640


def test_destination_is_a_link(tmp_path):
    write(tmp_path / 'target', 'former')
    os.symlink('target', tmp_path / 'link')
    write(tmp_path / 'link', 'new')
    assert (tmp_path / 'link').read_text() == 'new'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, SystemExit])
def test_error_on_the_way_leaves_the_former_file(tmp_path, error):
    path = tmp_path / 'a'
    write(path, 'former')
    with pytest.raises(error):
        with replace_when_done(path) as file:
            file.write('half')
            file.flush()
            raise error
    assert path.read_text() == 'former'
    assert os.listdir(tmp_path) == ['a']


def test_kill_on_the_way_leaves_the_former_file(tmp_path):
    path = tmp_path / 'a'
    write(path, 'former')
    process = subprocess.Popen(
        [sys.executable, '-c', (
            'import sys, time\n'
            'sys.path.insert(0, {!r})\n'
            'from chainer_impression.files import replace_when_done\n'
            'with replace_when_done({!r}) as file:\n'
            '    file.write("half" * 100000); file.flush()\n'
            '    print("writing", flush=True)\n'
            '    time.sleep(60)\n').format(
                os.path.dirname(os.path.dirname(files.__file__)), str(path))],
        stdout=subprocess.PIPE)
    assert process.stdout.readline() == b'writing\n'
    process.kill()
    process.wait()
    process.stdout.close()
    assert path.read_text() == 'former'
    left, = set(os.listdir(tmp_path)) - {'a'}
    assert left.startswith(files.UNFINISHED_PREFIX)


def refuse(path, reason):
    with pytest.raises(ImpressionError, match=reason) as caught:
        write(path, 'x' * 100000)
    assert str(caught.value).startswith('{}: cannot be written'.format(path))


def test_no_such_folder(tmp_path):
    refuse(tmp_path / 'missing' / 'a', 'No such file or directory')


def test_destination_is_a_folder(tmp_path):
    (tmp_path / 'a').mkdir()
    refuse(tmp_path / 'a', 'Is a directory')
    assert os.listdir(tmp_path) == ['a']


def test_parent_is_a_file(tmp_path):
    write(tmp_path / 'a', 'former')
    refuse(tmp_path / 'a' / 'b', 'Not a directory')


def test_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse('', 'No such file')
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0,
                    reason='permissions do not bind root')
def test_folder_of_somebody_else(tmp_path):
    tmp_path.chmod(0o500)
    refuse(tmp_path / 'a', 'not yours to write')


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='no /proc here')
def test_folder_that_takes_no_files():
    refuse('/proc/a', 'cannot be written')


@pytest.mark.parametrize('number, advice', [
    (errno.ENOSPC, 'the disk is full: free some space'),
    (errno.EDQUOT, 'your quota is used up: free some space'),
    (errno.EACCES, 'it is not yours to write'),
    (errno.EROFS, 'it is not yours to write'),
    (errno.EIO, 'Input/output error'),
])
def test_advice(tmp_path, monkeypatch, number, advice):
    path = tmp_path / 'a'
    write(path, 'former')

    def fail(_):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, 'fsync', fail)
    refuse(path, advice)
    assert path.read_text() == 'former'
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.skipif(not hasattr(signal, 'SIGXFSZ'), reason='limits of Unix')
def test_full_disk(tmp_path):
    # A limit on the size of files, which the system enforces as it does the
    # size of the disk: the write itself fails, with what is buffered lost.
    path = tmp_path / 'a'
    write(path, 'former')
    done = subprocess.run(
        [sys.executable, '-c', (
            'import resource, sys\n'
            'sys.path.insert(0, {!r})\n'
            'from chainer_impression.files import replace_when_done\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n'
            'from chainer_impression.errors import ImpressionError\n'
            'try:\n'
            '    with replace_when_done({!r}) as file:\n'
            '        file.write("x" * 5000)\n'
            'except ImpressionError as error:\n'
            '    print(error)\n').format(
                os.path.dirname(os.path.dirname(files.__file__)), str(path))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
    assert done.stdout.startswith('{}: cannot be written'.format(path)), done
    assert path.read_text() == 'former'
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_what_the_system_says_of_a_full_disk():
    with pytest.raises(OSError) as caught, open('/dev/full', 'w') as file:
        file.write('x' * 100000)
    assert 'disk is full' in str(files.cannot_write('a', caught.value))


def test_make_folder(tmp_path):
    make_folder(tmp_path / 'a' / 'b')
    make_folder(tmp_path / 'a' / 'b')
    assert (tmp_path / 'a' / 'b').is_dir()
    write(tmp_path / 'file', '')
    for path in (tmp_path / 'file', tmp_path / 'file' / 'c'):
        with pytest.raises(ImpressionError, match='cannot be written'):
            make_folder(path)


def test_two_at_once(tmp_path):
    path = tmp_path / 'a'
    with replace_when_done(path) as one, replace_when_done(path) as other:
        one.write('one')
        other.write('other')
    assert path.read_text() == 'one'
    assert os.listdir(tmp_path) == ['a']
