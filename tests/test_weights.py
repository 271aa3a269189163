"""Weights on disk: saved, loaded to the last bit, or refused."""

import functools
import os
import pickle
import zipfile

import chainer
import numpy
import pytest
from chainer.serializers import npz

from chainer_impression import AudiovisualStream
from chainer_impression.errors import ImpressionError
from chainer_impression.links.weights import (
    digest, load_weights, save_weights)


def arrays_of(link):
    return {k: numpy.array(v) for k, v in npz.serialize(link).items()}


def assert_same_bits(one, other):
    one, other = arrays_of(one), arrays_of(other)
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert one[name].tobytes() == other[name].tobytes(), name


@pytest.fixture(scope='module')
def trained(network):
    """A network in which every number is another one, N included."""
    random = numpy.random.RandomState(5)
    values = {k: random.normal(size=v.shape).astype(v.dtype) if v.shape
              else numpy.array(random.randint(1, 1000))
              for k, v in arrays_of(network).items()}
    for name in values:
        if name.endswith('/avg_var'):
            values[name] = abs(values[name])
    # Small and odd numbers, as the released file has them.
    values['fc/W'][0, :4] = 1e-38, 1e-45, -0.0, 3e38
    trained = AudiovisualStream()
    npz.NpzDeserializer(values).load(trained)
    return trained


@pytest.fixture
def write(trained, tmp_path):
    """Write the weights of ``trained``, changed; gives the path."""
    def write(change=None, name='model', values=None):
        values = dict(arrays_of(trained) if values is None else values)
        if change:
            change(values)
        path = tmp_path / name
        with open(path, 'wb') as file:
            numpy.savez(file, **values)
        return path
    return write


# --- what is saved comes back ------------------------------------------------

SAVE = {'chainer': lambda path, link: chainer.serializers.save_npz(
            str(path), link),
        'ours': save_weights}
LOAD = {'chainer': lambda path, link: chainer.serializers.load_npz(
            str(path), link),
        'ours': load_weights}


@pytest.mark.parametrize('name', ['w.npz', 'model', 'with spaces é.weights'])
@pytest.mark.parametrize('load', LOAD)
@pytest.mark.parametrize('save', SAVE)
def test_no_bit_changes(trained, tmp_path, save, load, name):
    path = tmp_path / name
    SAVE[save](path, trained)
    assert os.listdir(tmp_path) == [name]
    other = AudiovisualStream()
    LOAD[load](path, other)
    assert_same_bits(other, trained)


def test_predictions_are_the_same_to_the_bit(network, weights):
    audio = numpy.random.RandomState(0).uniform(-1, 1, 2000).astype('f4')
    frames = numpy.random.RandomState(0).randint(0, 256, (2, 3, 20, 20))
    other = AudiovisualStream()
    load_weights(weights, other)
    numpy.testing.assert_array_equal(
        other.predict(audio, frames.astype('u1')),
        network.predict(audio, frames.astype('u1')))


def write_as_python2(path, values):
    """An npz file as the NumPy of Python 2 wrote it: shapes end in an L."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, value in values.items():
            shape = '({})'.format(''.join('{}L, '.format(n)
                                          for n in value.shape))
            header = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
            header = header.format(value.dtype.str, shape).encode()
            header += b' ' * (-(len(header) + 11) % 64) + b'\n'
            archive.writestr(
                name + '.npy',
                b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little')
                + header + value.tobytes())


@pytest.mark.parametrize('load', LOAD)
@pytest.mark.filterwarnings('ignore:.*created on Python 2')
def test_released_file(trained, tmp_path, load, recwarn):
    # Written in 2016 by Python 2 and Chainer 1.x, under a name without an
    # extension, the count N of each batch normalisation a 0-d array.
    path = tmp_path / 'model'
    write_as_python2(path, arrays_of(trained))
    other = AudiovisualStream()
    LOAD[load](path, other)
    assert_same_bits(other, trained)
    if load == 'ours':
        assert not recwarn.list


def test_prefix_of_a_snapshot(trained, write):
    values = {'updater/model:main/predictor/' + k: v
              for k, v in arrays_of(trained).items()}
    values['updater/iteration'] = numpy.array(7)
    values['updater/optimizer:main/predictor/fc/W/m'] = numpy.zeros((5, 512))
    path = write(values=values, name='snapshot_iter_7')
    other = AudiovisualStream()
    load_weights(path, other)
    assert_same_bits(other, trained)


def test_real_snapshot(trained, tmp_path):
    model = chainer.links.Classifier(trained.copy(mode='copy'))
    optimizer = chainer.optimizers.Adam().setup(model)
    iterator = chainer.iterators.SerialIterator([0], 1)
    updater = chainer.training.updaters.StandardUpdater(iterator, optimizer)
    trainer = chainer.training.Trainer(updater, out=str(tmp_path))
    trainer.extend(chainer.training.extensions.snapshot(filename='snapshot'),
                   trigger=(1, 'iteration'))
    updater.update = lambda: setattr(updater, 'iteration', 1)
    trainer.stop_trigger = chainer.training.get_trigger((1, 'iteration'))
    trainer.run()
    path = tmp_path / 'snapshot'
    other = AudiovisualStream()
    load_weights(path, other)
    assert_same_bits(other, trained)


@pytest.mark.parametrize('dtype', ['<f8', '>f4', '<f2', '>f8'])
def test_other_kinds_of_floats(network, write, dtype):
    values = {k: v.astype(dtype) if v.shape else v
              for k, v in arrays_of(network).items()}
    other = AudiovisualStream()
    load_weights(write(values=values), other)
    for name, value in arrays_of(other).items():
        numpy.testing.assert_array_equal(value, values[name].astype('f4'))
        assert value.dtype.isnative


def test_fortran_order(network, write):
    values = {k: v.copy(order='F') for k, v in arrays_of(network).items()}
    other = AudiovisualStream()
    load_weights(write(values=values), other)
    assert_same_bits(other, network)


def test_saving_keeps_the_former_file(trained, tmp_path, monkeypatch):
    path = tmp_path / 'w.npz'
    path.write_bytes(b'former')

    def fail(file, *_, **__):
        file.write(b'half')
        raise KeyboardInterrupt
    monkeypatch.setattr(chainer.serializers, 'save_npz', fail)
    with pytest.raises(KeyboardInterrupt):
        save_weights(path, trained)
    assert path.read_bytes() == b'former'
    assert os.listdir(tmp_path) == ['w.npz']


def test_weights_of_one_trait(tmp_path):
    path = tmp_path / 'w.npz'
    one = AudiovisualStream(n_traits=1)
    save_weights(path, one)
    other = AudiovisualStream(n_traits=1)
    load_weights(path, other)
    assert_same_bits(other, one)
    refuse(path, 'a network that predicts 1 of the traits.*predicts 5')


# --- what is refused ---------------------------------------------------------

def refuse(path, reason):
    """One sentence that names the file; the network stays as it was."""
    link, before = untouched()
    with pytest.raises(ImpressionError, match=reason) as caught:
        load_weights(path, link)
    message = str(caught.value)
    assert message.startswith('{}: '.format(path))
    assert '\n' not in message
    assert digest(link) == before


@functools.lru_cache(maxsize=None)
def untouched():
    link = AudiovisualStream()
    return link, digest(link)


def test_missing(tmp_path):
    refuse(tmp_path / 'missing.npz', 'cannot be read .No such file')


def test_folder(tmp_path):
    refuse(tmp_path, 'cannot be read .Is a directory')


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_pipe(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    refuse(tmp_path / 'pipe', 'is no ordinary file')


@pytest.mark.parametrize('content', [
    b'', b'text\n', b'\0' * 1000, b'PK\3\4' + b'\0' * 100,
    pickle.dumps({'fc/W': 1}), b'\x89HDF\r\n\x1a\n' + b'\0' * 99])
def test_no_npz(tmp_path, content):
    path = tmp_path / 'w.npz'
    path.write_bytes(content)
    refuse(path, 'no file of weights')


def test_npy(tmp_path):
    numpy.save(tmp_path / 'w.npy', numpy.zeros(5))
    refuse(tmp_path / 'w.npy', 'no file of weights')


def test_something_before_the_zip(weights, tmp_path):
    path = tmp_path / 'w.npz'
    path.write_bytes(b'\0' * 100 + weights.read_bytes())
    refuse(path, 'no file of weights')


def test_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / 'w.npz', 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    refuse(tmp_path / 'w.npz', 'another network')


@pytest.mark.parametrize('keep', [0.1, 0.5, 0.999])
def test_cut_short(weights, tmp_path, keep):
    content = weights.read_bytes()
    path = tmp_path / 'w.npz'
    path.write_bytes(content[:int(keep * len(content))])
    refuse(path, 'cut short')


def test_damaged(weights, tmp_path):
    content = bytearray(weights.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 40] = b'\xff' * 40
    path = tmp_path / 'w.npz'
    path.write_bytes(content)
    refuse(path, 'cannot be read .BadZipFile')


@pytest.mark.parametrize('place', ['directory', 'method', 'flags'])
def test_damaged_directory(weights, tmp_path, place):
    content = bytearray(weights.read_bytes())
    start = content.index(b'PK\1\2')
    where = {'directory': 0, 'flags': 8, 'method': 10}[place]
    content[start + where:start + where + 2] = b'\xff\xff'
    path = tmp_path / 'w.npz'
    path.write_bytes(content)
    refuse(path, 'weights|cannot be read')


@pytest.mark.parametrize('name', [
    'aud/conv1_relu/conv/W', 'vis/res5b_relu/bn_branch2b/avg_var',
    'vis/res3a_relu/bn_branch1/N', 'fc/b'])
def test_lacks_a_parameter(write, name):
    refuse(write(lambda values: values.pop(name)), 'lacks ' + name)


def test_lacks_a_stream(write):
    def change(values):
        for name in [n for n in values if n.startswith('vis/')]:
            del values[name]
    refuse(write(change), r'lacks vis/\S+ and \d+ more')


def test_other_network(tmp_path):
    for link in (chainer.links.Linear(3, 4), AudiovisualStream().vis):
        save_weights(tmp_path / 'w.npz', link)
        refuse(tmp_path / 'w.npz', 'the weights of another network')


def test_other_shape(write):
    def change(values):
        values['fc/W'] = numpy.zeros((4, 512), 'f4')
    refuse(write(change), r'another network \(fc/W is \(4, 512\), not \(5, 51')


def test_transposed(write):
    def change(values):
        name = 'vis/res2a_relu/res_branch2a/W'
        values[name] = values[name].reshape(32, 32, 1, 9)
    refuse(write(change), 'another network')


@pytest.mark.parametrize('value', [numpy.nan, numpy.inf, -numpy.inf])
@pytest.mark.parametrize('name', [
    'aud/conv1_relu/conv/W', 'vis/res4b_relu/bn_branch2a/avg_var'])
def test_not_finite(write, name, value):
    def change(values):
        values[name].flat[-1] = value
    refuse(write(change), name + ' holds values that are not finite')


def test_finite_only_in_double_precision(write):
    def change(values):
        values['fc/W'] = values['fc/W'].astype('f8')
        values['fc/W'][0, 0] = 1e300
    refuse(write(change), 'fc/W holds values that are not finite')


def test_variance_below_zero(write):
    def change(values):
        values['vis/res2a_relu/bn_branch2a/avg_var'][3] = -1
    refuse(write(change), 'avg_var holds a variance below zero')


@pytest.mark.parametrize('value', [
    numpy.full((5, 512), 'x'), numpy.ones((5, 512), bool),
    numpy.ones((5, 512), 'c8'), numpy.zeros((5, 512), 'M8[s]'),
    numpy.zeros((5, 512), [('a', 'f4')])])
def test_no_numbers(write, value):
    def change(values):
        values['fc/W'] = value
    refuse(write(change), 'fc/W holds values that are not finite numbers')


def test_pickled_object_is_not_unpickled(write, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'trapped'),)

    def change(values):
        values['fc/b'] = numpy.array([Trap()] * 5)
    refuse(write(change), 'fc/b cannot be read .ValueError')
    assert not (tmp_path / 'trapped').exists()


def test_nothing_is_loaded_from_a_parameter_that_is_none(write):
    def change(values):
        values['fc/b'] = numpy.array(None)
    refuse(write(change), 'fc/b')


def test_file_that_would_fill_the_memory(write, tmp_path):
    # 4 GB of zeros in a file of 4 MB, where 5 numbers are expected.
    path = tmp_path / 'bomb.npz'
    source = write(lambda values: values.pop('fc/b'))
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(
            path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_STORED)
        with new.open('fc/b.npy', 'w', force_zip64=True) as file:
            numpy.lib.format.write_array_header_1_0(file, {
                'descr': '<f4', 'fortran_order': False,
                'shape': (2 ** 26,)})
            for _ in range(2 ** 8):
                file.write(bytes(2 ** 20))
    refuse(path, 'fc/b is too large')


def test_header_that_lies(write, tmp_path):
    # The header of an array claims a shape that the file does not hold.
    path = tmp_path / 'lie.npz'
    source = write(lambda values: values.pop('fc/b'))
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, 'w') as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        with new.open('fc/b.npy', 'w') as file:
            numpy.lib.format.write_array_header_1_0(file, {
                'descr': '<f4', 'fortran_order': False,
                'shape': (2 ** 45,)})
            file.write(bytes(20))
    refuse(path, 'fc/b')


def test_name_twice(write, tmp_path):
    path = write()
    with zipfile.ZipFile(path, 'a') as archive, \
            pytest.warns(UserWarning, match='Duplicate name'):
        archive.writestr('fc/b.npy', b'x')
    refuse(path, 'fc/b')


def test_member_that_is_no_array(write):
    path = write(lambda values: values.pop('fc/b'))
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('fc/b.npy', b'12345')
    refuse(path, 'fc/b')


def test_encrypted(weights, tmp_path):
    content = bytearray(weights.read_bytes())
    for signature, offset in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
        place = content.index(signature)
        content[place + offset] |= 1
    path = tmp_path / 'w.npz'
    path.write_bytes(content)
    refuse(path, 'cannot be read')


# --- saved where it cannot be saved ------------------------------------------

def test_no_folder_to_save_in(trained, tmp_path):
    with pytest.raises(ImpressionError, match='cannot be written'):
        save_weights(tmp_path / 'missing' / 'w.npz', trained)
    with pytest.raises(ImpressionError, match='cannot be written'):
        save_weights(tmp_path, trained)


def test_snapshot_of_a_run_reads_in_chainer_too(run_python, weights):
    # As the README says: importing chainer_impression first is all it takes.
    done = run_python('-W', 'error::DeprecationWarning:chainer', '-c', (
        'from chainer_impression import AudiovisualStream\n'
        'import chainer\n'
        'model = AudiovisualStream()\n'
        'chainer.serializers.load_npz({!r}, model)\n'
        'print(model.count_params())').format(str(weights)))
    assert done.stdout == '5601989\n', done.stderr
