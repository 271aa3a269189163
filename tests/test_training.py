"""Training: the paper's schedule, and resuming to the bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import chainer_impression  # NOQA: F401  makes Chainer importable
import chainer
import chainer.links as L
import numpy
import pytest

from chainer_impression import run_folder, training
from chainer_impression.datasets.clip_dataset import EpochOrder
from chainer_impression.datasets.labels import read_labels, write_csv
from chainer_impression.errors import ImpressionError
from chainer_impression.extensions.exact_snapshot import (
    is_whole, newest_whole_snapshot, snapshots)
from chainer_impression.extensions.plot_log import PlotLog
from chainer_impression.files import UNFINISHED_PREFIX

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, 'experiments', 'train_challenge.py')
SCHEDULE = ['--batchsize', '2', '--epoch', '3', '--stage-length', '2']


class TinyNetwork(chainer.Chain):
    """Two numbers of an example to five traits."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.fc = L.Linear(2, 5)

    def forward(self, audio, frames):
        means = [chainer.functions.mean(x, axis=(1, 2, 3))
                 for x in (audio, frames)]
        return self.fc(chainer.functions.stack(means, axis=1))


def tiny_examples(n=4):
    generator = numpy.random.RandomState(0)
    examples = [(generator.rand(1, 1, 4).astype('f'),
                 generator.rand(3, 2, 2).astype('f'),
                 generator.rand(5).astype('f')) for _ in range(n)]

    class Cyclic(list):
        def __getitem__(self, i):
            return list.__getitem__(self, int(i) % n)
    return Cyclic(examples)


def tiny_trainer(out, n_epochs, stage_length, loss=None, **arguments):
    numpy.random.seed(0)
    model = TinyNetwork()
    iterator = training.examples_iterator(tiny_examples(), 2, 0, 1)
    updater = chainer.training.StandardUpdater(
        iterator, training.make_optimizer(model),
        loss_func=loss or training.mean_absolute_error(model))
    return training.make_trainer(
        updater, str(out), n_epochs, stage_length, **arguments)


def log_of(folder):
    with open(os.path.join(folder, 'log.json')) as file:
        return json.load(file)


def test_the_schedule_is_the_papers(tmp_path, monkeypatch):
    monkeypatch.setattr(PlotLog, '__call__', lambda *_: None)
    trainer = tiny_trainer(tmp_path, training.N_EPOCHS, training.STAGE_LENGTH,
                           snapshot_every=300)
    optimizer = trainer.updater.get_optimizer('main')
    assert (optimizer.alpha, optimizer.beta1, optimizer.beta2,
            optimizer.eps) == (0.0002, 0.5, 0.999, 1e-8)
    assert training.BATCH_SIZE == 32
    trainer.run(show_loop_exception_msg=False)
    alpha = {entry['epoch']: entry['alpha'] for entry in log_of(tmp_path)}
    for epoch, expected in ((1, 2e-4), (300, 2e-4), (301, 2e-5), (600, 2e-5),
                            (601, 2e-6), (900, 2e-6)):
        assert alpha[epoch] == pytest.approx(expected, rel=1e-12)
    assert [epoch for epoch, _ in snapshots(tmp_path)] == [900, 600, 300]


def test_snapshots_keep_the_last_few_and_the_ends_of_stages(
        tmp_path, monkeypatch):
    monkeypatch.setattr(PlotLog, '__call__', lambda *_: None)
    tiny_trainer(tmp_path, 9, 4, keep=2).run(show_loop_exception_msg=False)
    assert [e for e, _ in snapshots(tmp_path)] == [9, 8, 4]


def test_a_resumed_trainer_equals_one_that_was_not_stopped(tmp_path):
    whole = tiny_trainer(tmp_path / 'whole', 7, 3)
    whole.run(show_loop_exception_msg=False)
    part = tiny_trainer(tmp_path / 'part', 7, 3)
    part.stop_trigger = lambda trainer: trainer.updater.iteration >= 9
    part.run(show_loop_exception_msg=False)  # in the middle of epoch 5
    resumed = tiny_trainer(tmp_path / 'part', 7, 3)
    assert training.resume(resumed).endswith('snapshot-epoch-4.npz')
    resumed.run(show_loop_exception_msg=False)
    assert log_of(tmp_path / 'whole') == log_of(tmp_path / 'part')
    for a, b in zip(*(t.updater.get_optimizer('main').target.params()
                      for t in (whole, resumed))):
        numpy.testing.assert_array_equal(a.array, b.array)


def test_a_snapshot_cut_short_is_passed_over(tmp_path):
    tiny_trainer(tmp_path, 3, 3, keep=3).run(show_loop_exception_msg=False)
    newest, before = (path for _, path in snapshots(tmp_path)[:2])
    os.truncate(newest, os.path.getsize(newest) * 2 // 3)
    assert not is_whole(newest)
    assert newest_whole_snapshot(tmp_path) == (before, [newest])
    trainer = tiny_trainer(tmp_path, 3, 3, keep=3)
    with pytest.warns(UserWarning, match='damaged and passed over'):
        assert training.resume(trainer) == before
    trainer.run(show_loop_exception_msg=False)
    assert is_whole(newest)


@pytest.mark.parametrize('offset, value', [(8, 1), (10, 99)])
def test_a_snapshot_whose_directory_is_damaged_is_passed_over(
        tmp_path, offset, value):
    """Flags that say encrypted, a compression that nobody knows."""
    tiny_trainer(tmp_path, 2, 2).run(show_loop_exception_msg=False)
    newest, before = (path for _, path in snapshots(tmp_path))
    with open(newest, 'r+b') as file:
        file.seek(file.read().find(b'PK\x01\x02') + offset)
        file.write(bytes([value]))
    assert newest_whole_snapshot(tmp_path) == (before, [newest])


def test_a_run_resumed_from_an_older_snapshot_keeps_its_own(tmp_path):
    tiny_trainer(tmp_path, 5, 5, keep=3).run(show_loop_exception_msg=False)
    older = snapshots(tmp_path)[2][1]
    trainer = tiny_trainer(tmp_path, 5, 5, keep=1)
    training.resume(trainer, older)
    trainer.stop_trigger = lambda trainer: trainer.updater.epoch == 4
    written = os.stat(snapshots(tmp_path)[1][1]).st_ino
    trainer.run(show_loop_exception_msg=False)
    assert [epoch for epoch, _ in snapshots(tmp_path)] == [5, 4]
    assert os.stat(snapshots(tmp_path)[1][1]).st_ino != written


def test_resuming_from_something_else_is_one_sentence(tmp_path):
    path = tmp_path / 'other.npz'
    numpy.savez(path, x=numpy.zeros(3))
    with pytest.raises(ImpressionError, match='other.npz: is no snapshot'):
        training.resume(tiny_trainer(tmp_path / 'run', 1, 1), str(path))
    path.write_bytes(b'PK no')
    with pytest.raises(ImpressionError, match='other.npz: is no snapshot'):
        training.resume(tiny_trainer(tmp_path / 'run', 1, 1), str(path))


def test_a_loss_that_is_not_finite_stops_training(tmp_path):
    calls = []

    def loss(audio, frames, traits):
        calls.append(1)
        value = chainer.Variable(numpy.array(
            numpy.nan if len(calls) == 4 else 1, 'f'))
        chainer.report({'main/loss': value, 'main/accuracy': 0.})
        return value
    trainer = tiny_trainer(tmp_path, 5, 5, loss=loss)
    with pytest.raises(ImpressionError, match=r'iteration 4 \(epoch 2\)'):
        trainer.run(show_loop_exception_msg=False)
    assert len(snapshots(tmp_path)) == 1  # of epoch 1, not of epoch 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """The last update of epoch 2 breaks them; the loss before was finite."""
    trainer = tiny_trainer(tmp_path, 5, 5)
    model = trainer.updater.get_optimizer('main').target

    def break_weights(optimizer):
        if optimizer.t == 4:
            model.fc.W.array[0, 0] = numpy.inf
    trainer.updater.get_optimizer('main').add_hook(
        break_weights, 'break', timing='post')
    with pytest.raises(ImpressionError,
                       match=r'iteration 4 \(epoch 2\), for fc/W'):
        trainer.run(show_loop_exception_msg=False)
    assert [epoch for epoch, _ in snapshots(tmp_path)] == [1]


@pytest.mark.parametrize('rate, shrinks', [(0, False), (0.5, True)])
def test_weight_decay_is_off_unless_asked_for(rate, shrinks):
    model = TinyNetwork()
    optimizer = training.make_optimizer(model, weight_decay=rate)
    before = abs(model.fc.W.array).sum()
    model.cleargrads()
    model.fc.W.grad = numpy.zeros_like(model.fc.W.array)
    model.fc.b.grad = numpy.zeros_like(model.fc.b.array)
    optimizer.update()
    assert (abs(model.fc.W.array).sum() < before) == shrinks


def test_ends_of_stages():
    assert training.ends_of_stages(900, 300) == [300, 600, 900]
    assert training.ends_of_stages(7, 3) == [3, 6, 7]
    assert training.ends_of_stages(2, 5) == [2]


def test_a_batch_larger_than_the_data_set_is_refused():
    with pytest.raises(ImpressionError, match='batch of 5 .* 4 clips'):
        training.examples_iterator(tiny_examples(), 5, 0, 1)


def test_the_iterator_resumes_in_the_middle_of_an_epoch():
    def indices(iterator, n):
        return [tuple(int(i) for i in iterator.next()) for _ in range(n)]

    class Indices(list):
        def __getitem__(self, i):
            return i

    def make():
        return training.examples_iterator(Indices(range(5)), 2, 3, 2)
    whole = indices(make(), 9)
    first = make()
    assert indices(first, 4) == whole[:4]
    state = chainer.serializers.DictionarySerializer()
    first.serialize(state)
    second = make()
    second.serialize(chainer.serializers.NpzDeserializer(state.target))
    assert indices(second, 5) == whole[4:]
    epoch_1 = EpochOrder(3)(numpy.arange(5), 0)
    assert sorted(epoch_1) == list(range(5, 10))


# --- the command -------------------------------------------------------------

@pytest.fixture(scope='module')
def cached(tmp_path_factory):
    """Six tiny training clips and two for validation, cached, with labels."""
    from chainer_impression import media
    folder = tmp_path_factory.mktemp('data')
    generator = random.Random(0)
    for split, names in (
            ('train', ['a.000', 'a.001', 'b.000', 'c.000', 'c.001', 'd.000']),
            ('validation', ['a.002', 'e.000'])):
        (folder / split).mkdir()
        labels = {}
        for i, name in enumerate(names):
            labels[name + '.mp4'] = [generator.random() for _ in range(5)]
            subprocess.run(
                [media.ffmpeg_binary(), '-loglevel', 'error',
                 '-f', 'lavfi', '-i', 'testsrc2=size=96x64:rate=25:'
                 'duration=0.48', '-f', 'lavfi', '-i',
                 'sine=frequency={}:duration=0.48'.format(200 + 99 * i),
                 '-pix_fmt', 'yuv420p', '-c:a', 'aac',
                 str(folder / split / (name + '.mp4'))], check=True)
        write_csv(folder / (split + '.csv'), labels)
        command('-m', 'data_prep.cache_clips', folder / split,
                folder / ('cached-' + split))
    return folder


def command(*arguments, **options):
    environment = dict(os.environ, PYTHONPATH=ROOT)
    return subprocess.run(
        [sys.executable, *map(str, arguments)], text=True, env=environment,
        capture_output=True, timeout=300, **options)


def train_arguments(cached, out, *more):
    return [SCRIPT, *(str(a) for split in ('train', 'validation') for a in (
        '--' + split, cached / ('cached-' + split),
        cached / (split + '.csv'))), '--out', str(out), *SCHEDULE, *more]


def results(out):
    """What a run leaves behind: log, predictions and weights, bit for bit."""
    contents = {name: (out / name).read_bytes() for name in (
        'log.json', 'predictions-epoch-2.csv', 'predictions-epoch-3.csv',
        'table1.json')}
    with numpy.load(out / 'model.npz') as file:
        contents.update({name: file[name].tobytes() for name in file})
    return contents


@pytest.fixture(scope='module')
def undisturbed(cached, tmp_path_factory):
    out = tmp_path_factory.mktemp('undisturbed') / 'run'
    done = command(*train_arguments(cached, out))
    assert done.returncode == 0, done.stderr
    return out, done


def test_the_command_writes_table_1(undisturbed, cached):
    out, done = undisturbed
    for name in ('table1.md', 'table1.csv', 'table1.json', 'model.npz',
                 'learning-curves.png', 'log.json', 'settings.json'):
        assert (out / name).stat().st_size > 0
    table = json.loads((out / 'table1.json').read_text())
    predictions = read_labels(out / 'predictions-epoch-3.csv')
    labels = read_labels(cached / 'validation.csv')
    names = sorted(labels)
    expected = 1 - numpy.mean([abs(predictions[n] - labels[n])
                               for n in names])
    row = table['rows'][-1]
    assert row['name'] == 3
    assert row['accuracy']['average'] == pytest.approx(expected, abs=1e-12)
    assert row['seen clips'] == row['unseen clips'] == 1
    unseen = 1 - abs(predictions['e.000.mp4'] - labels['e.000.mp4'])
    assert row['unseen']['openness'] == pytest.approx(unseen[4], abs=1e-12)
    assert 'shrunken video mean' in done.stdout
    assert 'emotionally stable' in done.stdout
    assert '100%' in done.stderr


def test_the_same_command_again_changes_nothing(undisturbed, cached):
    out, _ = undisturbed
    before = results(out)
    done = command(*train_arguments(cached, out))
    assert done.returncode == 0
    assert 'going on from' in done.stdout
    assert results(out) == before


@pytest.mark.parametrize('change, sentence', [
    (['--seed', '5'], 'seed is 0, not 5'),
    (['--engine', 'openvino-bf16'], 'engine is auto, not openvino-bf16')])
def test_another_setting_is_refused_by_name(
        undisturbed, cached, change, sentence):
    out, _ = undisturbed
    done = command(*train_arguments(cached, out, *change))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_folder_that_holds_something_else_is_refused(cached, tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    done = command(*train_arguments(cached, tmp_path))
    assert done.returncode == 1
    assert 'holds no run' in done.stderr
    assert not (tmp_path / 'settings.json').exists()


@pytest.mark.parametrize('change, sentence', [
    (['--batchsize', '7'], 'larger than the data set of 6 clips'),
    (['--epoch', '0'], "'0' is no whole number of at least 1"),
    (['--epoch', '9999999999'], 'at most 1000000'),
    (['--loaderjob', '50000'], 'at most 256'),
    (['--alpha', 'inf'], "'inf' is no number of at least 0"),
    (['--seed', '4294967296'], 'at least 0 and at most 4294967295'),
    (['--stage-length', 'x'], "'x' is no whole number of at least 1"),
    (['--seed', '-1'], "'-1' is no whole number of at least 0"),
    (['--device', '0'], '--device 0: there is no such device'),
    (['--device', 'gpu'], '--device gpu: there is no such device'),
    (['--resume', 'nowhere.npz'], 'nowhere.npz: is no snapshot'),
])
def test_senseless_arguments_are_one_sentence(
        cached, tmp_path, change, sentence):
    done = command(*train_arguments(cached, tmp_path / 'run', *change))
    assert done.returncode != 0
    assert sentence in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_snapshot_of_another_run_is_refused_by_name(
        undisturbed, cached, tmp_path):
    snapshot = undisturbed[0] / 'snapshot-epoch-2.npz'
    for change, sentence in (
            (['--seed', '7'], 'another run, in which seed is 0, not 7'),
            (['--alpha', '0.1'], 'in which alpha is 0.0002, not 0.1')):
        done = command(*train_arguments(
            cached, tmp_path / change[1], '--resume', snapshot, *change))
        assert done.returncode == 1
        assert sentence in done.stderr and str(snapshot) in done.stderr
        assert 'Traceback' not in done.stderr


def test_a_snapshot_goes_on_in_another_folder(undisturbed, cached, tmp_path):
    """With the predictions before it, or not at all; never for nothing."""
    out = tmp_path / 'run'
    arguments = train_arguments(
        cached, out, '--resume', undisturbed[0] / 'snapshot-epoch-2.npz')
    done = command(*arguments)
    assert done.returncode == 1
    assert 'predictions-epoch-2.csv: is missing' in done.stderr
    assert not snapshots(out)
    shutil.copy(undisturbed[0] / 'predictions-epoch-2.csv', out)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(undisturbed[0])


def test_an_empty_cache_is_one_sentence(cached, tmp_path):
    (tmp_path / 'empty').mkdir()
    done = command(*train_arguments(
        cached, tmp_path / 'run', '--train', tmp_path / 'empty',
        cached / 'train.csv'))
    assert done.returncode == 1
    assert 'empty: holds no cached clip' in done.stderr


def test_splits_that_overlap_are_refused(cached, tmp_path):
    done = command(*train_arguments(
        cached, tmp_path / 'run', '--validation', cached / 'cached-train',
        cached / 'train.csv'))
    assert done.returncode == 1
    assert 'have 6 clips in common' in done.stderr


def test_clips_without_labels_are_counted_and_may_be_left_out(
        cached, tmp_path):
    labels = read_labels(cached / 'train.csv')
    labels['z.000.mp4'] = labels.pop('a.000.mp4')
    write_csv(tmp_path / 'train.csv', labels)
    arguments = train_arguments(
        cached, tmp_path / 'run', '--train', cached / 'cached-train',
        tmp_path / 'train.csv')
    done = command(*arguments)
    assert done.returncode == 1
    assert '1 clips' in done.stderr and 'a.000.mp4' in done.stderr
    done = command(*arguments, '--allow-unmatched', '--epoch', '1')
    assert done.returncode == 0, done.stderr


def test_two_processes_in_one_folder(cached, tmp_path):
    import fcntl
    (tmp_path / 'run').mkdir()
    with open(tmp_path / 'run' / '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command(*train_arguments(cached, tmp_path / 'run'))
    assert done.returncode == 1
    assert 'another process is at work' in done.stderr


def test_the_log_is_whole_and_that_of_the_snapshot(tmp_path, monkeypatch):
    """Cut short while the log is written, then resumed."""
    monkeypatch.setattr(PlotLog, '__call__', lambda *_: None)
    tiny_trainer(tmp_path, 3, 3).run(show_loop_exception_msg=False)
    before = (tmp_path / 'log.json').read_bytes()
    trainer = tiny_trainer(tmp_path, 5, 5)
    training.resume(trainer)

    def stop(*arguments, **options):
        arguments[1].write('[{')
        raise KeyboardInterrupt
    (tmp_path / 'log.json').unlink()
    with monkeypatch.context() as patch:
        # At the end of epoch 4, not where the log of the snapshot is written.
        trainer.extend(lambda _: patch.setattr(json, 'dump', stop),
                       name='patch', trigger=(1, 'iteration'))
        with pytest.raises(KeyboardInterrupt):
            trainer.run(show_loop_exception_msg=False)
    assert (tmp_path / 'log.json').read_bytes() == before
    assert {name[:8] for name in os.listdir(tmp_path)} == {
        'log.json', 'snapshot'}


def test_what_a_kill_left_unfinished_is_removed(tmp_path):
    """Also a kill while the settings, a run's first file, were written."""
    for name in ('settings.json', 'snapshot-epoch-3.npz'):
        (tmp_path / (UNFINISHED_PREFIX + 'x-' + name)).write_text('{')
    with run_folder.open_run(tmp_path, {'seed': 0}):
        assert sorted(os.listdir(tmp_path)) == ['.lock', 'settings.json']


def test_a_full_disk_keeps_the_snapshot_before(tmp_path):
    """A limit on the size of files stands in for a disk that fills."""
    program = (
        'import resource, sys; sys.path.insert(0, {!r})\n'
        'from test_training import tiny_trainer\n'
        'from chainer_impression import command_line\n'
        'trainer = tiny_trainer({!r}, 6, 6)\n'
        'def fill(trainer):\n'
        '    resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n'
        'trainer.extend(fill, trigger=(4, "epoch"))\n'
        'command_line.run(lambda: trainer.run(False))\n'
    ).format(os.path.join(ROOT, 'tests'), str(tmp_path))
    done = command('-c', program)
    assert done.returncode == 1
    assert 'snapshot-epoch-4.npz' in done.stderr or 'full' in done.stderr
    assert 'Traceback' not in done.stderr
    epoch, path = snapshots(tmp_path)[0]
    assert epoch == 3 and is_whole(path)
    assert training.resume(tiny_trainer(tmp_path, 6, 6)) == path


@pytest.mark.slow
@pytest.mark.parametrize('loaderjob', ['1', '3'])
def test_killed_ten_times_equals_undisturbed(
        undisturbed, cached, tmp_path, loaderjob):
    out = tmp_path / 'run'
    generator = random.Random(int(loaderjob))
    arguments = train_arguments(cached, out, '--loaderjob', loaderjob)
    environment = dict(os.environ, PYTHONPATH=ROOT)
    n_killed = n_resumable = 0
    while n_killed < 10 or not n_resumable:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(1, 8))
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            # It was sooner than the kill, which therefore does not count.
            assert results(out) == results(undisturbed[0])
            shutil.rmtree(out)
            continue
        n_killed += 1
        n_resumable += out.exists() and any(snapshots(out))
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(undisturbed[0])


@pytest.mark.slow
def test_the_network_overfits_the_two_real_clips(samples, tmp_path):
    """Real clips, real labels: the training loss falls below 0.03."""
    done = command('-m', 'data_prep.cache_clips',
                   os.path.join(samples, 'clips'), tmp_path / 'cache')
    assert done.returncode == 0, done.stderr
    from chainer_impression.datasets.clip_cache import cached_clips
    from chainer_impression.datasets.clip_dataset import (
        TrainingExamples, match_labels)
    clips, labels = match_labels(
        tmp_path / 'cache', os.path.join(
            samples, 'labels', 'training_gt.csv'),
        allow_unmatched=True)
    assert len(cached_clips(tmp_path / 'cache')) == len(clips) == 2
    # Each clip four times, each time with a crop of its own: the statistics
    # of a mini-batch of two are too rough to learn anything exactly.
    clips, labels = ({'{}-{}'.format(i, name): value for i in range(4)
                      for name, value in of_clips.items()}
                     for of_clips in (clips, labels))
    numpy.random.seed(0)
    model = chainer_impression.AudiovisualStream()
    iterator = training.examples_iterator(
        TrainingExamples(clips, labels, 0), 8, 0, 1)
    updater = chainer.training.StandardUpdater(
        iterator, training.make_optimizer(model),
        loss_func=training.mean_absolute_error(model))
    trainer = training.make_trainer(
        updater, str(tmp_path / 'run'), 150, 100, snapshot_every=150)
    trainer.run(show_loop_exception_msg=False)
    losses = [entry['main/loss'] for entry in log_of(tmp_path / 'run')]
    assert numpy.mean(losses[-10:]) < 0.03 < losses[0]

