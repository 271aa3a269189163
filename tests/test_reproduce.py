"""Steps: done once, redone when what they are made of changes, resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from chainer_impression import run_folder
from chainer_impression.digests import Digests
from chainer_impression.errors import ImpressionError
from chainer_impression.steps import Step, Steps
from conftest import ROOT

#: A command that counts its calls in a file of its folder.
COUNT = ('import sys, os; out, *inputs = sys.argv[1:]; '
         'n = os.path.getsize(out + ".calls") if os.path.exists('
         'out + ".calls") else 0; open(out + ".calls", "a").write("x"); '
         'open(out, "w").write("".join(open(i).read() for i in inputs))')


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


class Place:
    """A folder with an input and two steps, the second after the first."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / 'out'
        self.input = folder / 'input'
        self.input.write_text('a')
        self.command = COUNT

    def steps(self, *extra):
        def path(*names):
            return str(self.out.joinpath(*names))
        return [
            Step('one', 'Step one', (
                '-c', self.command, path('one', 'made'), str(self.input)),
                path('one'), (str(self.input),), (path('one', 'made'),),
                extra=extra),
            Step('two', 'Step two', (
                '-c', COUNT, path('two', 'made'), path('one', 'made')),
                path('two'), (path('one', 'made'),), (path('two', 'made'),))]

    def run(self, *extra, environment=None):
        with Steps(self.out, ROOT, environment or {'python': '3'}) as runner:
            runner.run(self.steps(*extra))
            return runner.records

    def calls(self):
        return [len((self.out / name / 'made.calls').read_text())
                for name in ('one', 'two')]


def test_a_step_is_done_once(place, capfd):
    place.run()
    assert (place.out / 'two' / 'made').read_text() == 'a'
    assert '$ python -c' in capfd.readouterr().out
    place.run()
    assert place.calls() == [1, 1]
    said = capfd.readouterr().out
    assert '$' not in said
    assert said.count('is there, and matches its inputs') == 2


def test_a_changed_input_redoes_what_depends_on_it(place):
    place.run()
    place.input.write_text('b')
    place.run()
    assert (place.out / 'two' / 'made').read_text() == 'b'
    assert place.calls() == [1, 1]  # of the new folders
    # Nothing is lost.
    kept = place.out / 'superseded'
    assert (kept / 'one-1' / 'made').read_text() == 'a'
    assert (kept / 'two-1' / 'made').read_text() == 'a'
    place.input.write_text('c')
    place.run()
    assert sorted(p.name for p in kept.iterdir()) == [
        'one-1', 'one-2', 'two-1', 'two-2']


def test_an_input_that_was_only_touched_redoes_nothing(place):
    place.run()
    os.utime(place.input, (1, 1))
    place.run()
    assert place.calls() == [1, 1]
    assert not (place.out / 'superseded').exists()


def test_a_changed_command_redoes_its_step_alone(place):
    place.run()
    place.command += '; 1'
    place.run()
    # What the first made is the same as before, so the second still holds.
    assert sorted(p.name for p in (place.out / 'superseded').iterdir()) == [
        'one-1']


def test_what_changes_no_result_redoes_nothing(place):
    place.run()
    place.run('--device', '0', environment={'python': '4'})
    assert place.calls() == [1, 1]
    assert not (place.out / 'superseded').exists()


@pytest.mark.parametrize('harm', [
    lambda path: path.unlink(), lambda path: path.write_text('forged')])
def test_a_changed_result_is_made_again(place, harm):
    place.run()
    harm(place.out / 'one' / 'made')
    place.run()
    assert (place.out / 'one' / 'made').read_text() == 'a'
    assert place.calls() == [1, 1]


def test_results_and_data_can_be_moved(place):
    place.run()
    place.input = place.input.rename(place.folder / 'elsewhere')
    place.out = place.out.rename(place.folder / 'renamed')
    place.run()
    assert place.calls() == [1, 1]


def test_a_failed_step_goes_on_where_it_was(place):
    place.command = COUNT + '; os.path.exists({!r}) or sys.exit(7)'.format(
        str(place.folder / 'mended'))
    with pytest.raises(ImpressionError, match='"Step one" ended with status '
                                              '7'):
        place.run()
    (place.folder / 'mended').touch()
    place.run()
    assert place.calls() == [2, 1]
    assert not (place.out / 'superseded').exists()


def test_a_step_that_does_not_make_its_output_is_named(place):
    place.command = 'pass'
    with pytest.raises(ImpressionError, match='did not make .*one.made'):
        place.run()


def test_a_missing_input_is_named_before_anything_is_begun(place):
    place.input.unlink()
    with pytest.raises(ImpressionError, match='input: is not there; Step one'):
        place.run()
    assert not (place.out / 'one').exists()


def test_what_a_step_prints_is_kept_if_it_succeeds(tmp_path):
    out = tmp_path / 'out'
    path = str(out / 'one' / 'printed')

    def run(code):
        step = Step('one', 'One', ('-c', code), str(out / 'one'), (), (path,),
                    prints=path)
        with Steps(out, ROOT, {}) as runner:
            runner.run([step])
    with pytest.raises(ImpressionError, match='status 3'):
        run('print("half"); raise SystemExit(3)')
    assert not os.path.exists(path)
    run('print("whole")')
    assert open(path).read() == 'whole\n'


def test_two_processes_do_not_work_in_one_folder(place):
    place.run()
    with run_folder.locked(place.out):
        with pytest.raises(ImpressionError, match='another process'):
            place.run()


def test_a_folder_of_something_else_is_refused(place):
    place.out.mkdir()
    (place.out / 'thesis.tex').touch()
    with pytest.raises(ImpressionError, match='not empty and holds no steps'):
        place.run()
    (place.out / 'thesis.tex').unlink()
    # What a process leaves that was killed in its first moments is no hurdle.
    (place.out / '.lock').touch()
    (place.out / '.unfinished-x').touch()
    place.run()


@pytest.mark.parametrize('damage', ['', '[1]', '{"one": 1}', '{"one"'])
def test_damaged_records_are_one_sentence(place, damage):
    place.run()
    (place.out / 'steps.json').write_text(damage)
    with pytest.raises(ImpressionError, match='steps.json: cannot be read'):
        place.run()


def test_digests_are_of_contents(tmp_path):
    folder = tmp_path / 'folder'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'sub' / 'a').write_text('1')
    (folder / '.lock').touch()
    known = Digests(tmp_path / 'known')
    first = known.of(folder)
    known.save()
    assert Digests(tmp_path / 'known').of(folder) == first
    (folder / '.lock').write_text('x')
    assert Digests(tmp_path / 'known').of(folder) == first
    (folder / 'sub' / 'a').write_text('2')
    assert Digests(tmp_path / 'known').of(folder) != first
    (folder / 'sub' / 'a').write_text('1')
    (folder / 'sub' / 'a').rename(folder / 'sub' / 'b')
    assert Digests(tmp_path / 'known').of(folder) != first
    assert known.of(tmp_path / 'nothing') is None
    (tmp_path / 'known').write_text('{"a": "nonsense')
    assert Digests(tmp_path / 'known').of(folder)


#: A command that writes its process, waits, and goes on where it was.
SLOW = '''
import os, sys, time
place = sys.argv[1]
begun = os.path.exists(place + '/begun')
open(place + '/begun', 'w').write(str(os.getpid()))
if not begun:
    time.sleep(60)
open(place + '/made', 'w').write('gone on' if begun else 'at once')
'''
RUNNER = '''
import sys
from chainer_impression import command_line
from chainer_impression.steps import Step, Steps
root, out, code = sys.argv[1:]
def main():
    with Steps(out, root, {}) as runner:
        runner.run([Step('slow', 'Slow', ('-c', code, out + '/slow'),
                         out + '/slow', (), (out + '/slow/made',))])
command_line.run(main)
'''


def start(out):
    process = subprocess.Popen(
        [sys.executable, '-c', RUNNER, ROOT, str(out), SLOW],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        start_new_session=True)
    return process


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.skipif(sys.platform != 'linux', reason='Linux ends a child with '
                    'its parent')
def test_a_killed_run_goes_on_where_it_was(tmp_path):
    out = tmp_path / 'out'
    process = start(out)
    child = int(wait_for(out / 'slow' / 'begun'))
    process.kill()
    process.wait()
    # Its command ends with it, and does not stand in the way.
    for _ in range(500):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        state = open('/proc/{}/stat'.format(child)).read()
        if state.rsplit(')', 1)[1].split()[0] == 'Z':
            break  # ended, and nobody has asked for its status
        time.sleep(0.02)
    else:
        pytest.fail('the command outlived its parent')
    assert start(out).wait(60) == 0
    assert (out / 'slow' / 'made').read_text() == 'gone on'
    assert not (out / 'superseded').exists()


def test_ctrl_c_stops_the_command_and_the_run(tmp_path):
    process = start(tmp_path / 'out')
    wait_for(tmp_path / 'out' / 'slow' / 'begun')
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130


# --- experiments/reproduce.py ------------------------------------------------

def reproduce(run_python, *arguments):
    return run_python('experiments/reproduce.py', *arguments)


@pytest.mark.parametrize('arguments, sentence', [
    (['--train', 'a', 'b'], 'give both --train'),
    (['--test', 'a'], 'give both --train'),
    (['--train', 'no/cache', 'b', '--validation', 'c', 'd'],
     'no/cache: the cache cannot be read'),
    (['--epoch', '5', '--stage-length', '5'], 'must be above --stage-length'),
    (['--device', '@nothing', '--train', 'a', 'b', '--validation', 'c', 'd'],
     'there is no such device'),
])
def test_what_cannot_work_is_one_sentence(
        run_python, tmp_path, arguments, sentence):
    done = reproduce(run_python, *arguments, '--out', tmp_path / 'out')
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / 'out').exists()


def test_help_says_the_defaults(run_python):
    done = reproduce(run_python, '--help')
    assert done.returncode == 0
    said = ' '.join(done.stdout.split())
    for expected in ('(default: 900, and 45 for demo clips)',
                     '(default: reproduction)', 'OUT/superseded'):
        assert expected in said


LIST = '''
import sys
sys.path.insert(0, 'experiments')
import chainer_impression, json, reproduce
sys.argv = ['reproduce.py', '--out', 'OUT', *sys.argv[1:]]
args = reproduce.parse_arguments()
steps = reproduce.data_steps(args) if args.demo else []
steps += reproduce.experiment_steps(args)
sources = reproduce.sources(args, steps)
print(json.dumps([[step._asdict() for step in steps], sources._asdict()]))
'''


def test_every_step_reads_what_an_earlier_one_made(run_python):
    done = run_python('-c', LIST)
    assert done.returncode == 0, done.stderr
    steps, sources = json.loads(done.stdout)
    made = set()
    for step in steps:
        for path in step['inputs']:
            if path.startswith('OUT'):
                assert any(path == m or path.startswith(m + '/')
                           for m in made), path
        for path in step['outputs']:
            assert path == step['folder'] or \
                path.startswith(step['folder'] + '/')
        made |= set(step['outputs'])
        assert all(isinstance(a, str) for a in step['command'])
    names = [step['name'] for step in steps]
    assert len(set(names)) == len(names)
    assert len({step['folder'] for step in steps}) == len(names)
    # The report reads nothing that a step does not answer for.
    read = [path for value in sources.values() for path in (
        value.values() if isinstance(value, dict) else [value])
        if isinstance(path, str)]
    assert len(read) > 12 and set(read) <= made


def test_every_command_of_a_step_exists(run_python):
    done = run_python('-c', LIST)
    for step in json.loads(done.stdout)[0]:
        name, *_ = step['command']
        if name.endswith('.py'):
            assert os.path.exists(os.path.join(ROOT, name)), name


@pytest.mark.slow
def test_killed_and_run_again_it_ends_in_the_same_report(tmp_path):
    def begin(name):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, os.path.join(ROOT, 'experiments',
                                          'reproduce.py'), '--out', 'out',
             '--epoch', '3', '--stage-length', '1', '--trait-epoch', '2',
             '--rnn-epoch', '3', '--rnn-stage-length', '1'],
            cwd=folder, env=dict(os.environ, PYTHONPATH=os.pathsep.join(
                [ROOT, *sys.path])))
    begun = time.monotonic()
    assert begin('whole').wait() == 0
    seconds = time.monotonic() - begun
    for part in (.3, .4, .5):
        process = begin('killed')
        time.sleep(part * seconds)
        process.kill()
        process.wait()
    assert begin('killed').wait() == 0
    pages = [re.sub(r'<(\w+) class="time">[^<]*</\1>', '', (
        tmp_path / name / 'out' / 'report.html').read_text(encoding='utf-8'))
        for name in ('whole', 'killed')]
    assert pages[0] == pages[1]
