"""Labels of both rounds: read to the last digit, or refused with reason."""

import collections
import io
import os
import pickle

import numpy
import pytest

from chainer_impression.datasets import labels as labels_module
from chainer_impression.datasets.labels import (
    read_labels, video_of, write_csv, write_pickle)
from chainer_impression.errors import ImpressionError
from chainer_impression.traits import (
    TABLE_TRAITS, TRAITS, in_table_order)

HEADER = ('VideoName,ValueExtraversion,ValueAgreeableness,'
          'ValueConscientiousness,ValueNeurotisicm,ValueOpenness')
ROW = 'a.000.mp4,0.1,0.2,0.3,0.4,0.5'
LABELS = {'a.000.mp4': [0.1, 0.2, 0.3, 0.4, 0.5],
          'b.001.mp4': [1 / 3, 0, 1, 0.5420560747663552, 5e-324]}


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert list(one[name]) == list(other[name]), name


def refuse(path, reason):
    with pytest.raises(ImpressionError, match=reason) as caught:
        read_labels(path)
    message = str(caught.value)
    assert message.startswith('{}: '.format(path))
    assert '\n' not in message


@pytest.fixture
def csv(tmp_path):
    def write(*lines, newline='\n', start=b''):
        path = tmp_path / 'labels.csv'
        path.write_bytes(start + newline.join([*lines, '']).encode())
        return path
    return write


@pytest.fixture
def pkl(tmp_path):
    def write(content):
        path = tmp_path / 'labels.pkl'
        path.write_bytes(content)
        return path
    return write


def by_trait(labels=LABELS, of=float, interview=True):
    """The second round's dictionary of dictionaries."""
    traits = {trait: {name: of(values[i]) for name, values in labels.items()}
              for i, trait in enumerate(TRAITS)}
    if interview:
        traits['interview'] = {name: of(0.5) for name in labels}
    return traits


# --- the traits --------------------------------------------------------------

def test_orders_of_the_traits():
    assert TRAITS == ('extraversion', 'agreeableness', 'conscientiousness',
                      'neuroticism', 'openness')
    assert TABLE_TRAITS == ('openness', 'agreeableness', 'conscientiousness',
                            'neuroticism', 'extraversion')
    assert in_table_order(TRAITS) == list(TABLE_TRAITS)
    with pytest.raises(ValueError):
        in_table_order([1, 2, 3, 4])


# --- first round -------------------------------------------------------------

def test_csv(csv):
    labels = read_labels(csv(HEADER, ROW, 'b.001.mp4,1,0,.5,1e-3,1.0'))
    assert_same(labels, {'a.000.mp4': [0.1, 0.2, 0.3, 0.4, 0.5],
                         'b.001.mp4': [1, 0, 0.5, 0.001, 1]})
    assert labels['a.000.mp4'].dtype == numpy.float64
    assert labels['a.000.mp4'].shape == (5,)


@pytest.mark.parametrize('newline', ['\n', '\r\n'])
@pytest.mark.parametrize('start', [b'', b'\xef\xbb\xbf'])
def test_csv_of_windows(csv, start, newline):
    assert_same(read_labels(csv(HEADER, ROW, newline=newline, start=start)),
                {'a.000.mp4': LABELS['a.000.mp4']})


def test_csv_quoted_with_empty_lines_and_spaces(csv):
    labels = read_labels(csv(
        HEADER.replace(',', ', '), '',
        '"a, ""b"".000.mp4",0.1,0.2,0.3,0.4,0.5',
        'c.000.mp4, 0.1, 0.2 ,0.3,0.4,0.5', ''))
    assert list(labels) == ['a, "b".000.mp4', 'c.000.mp4']


def test_csv_with_columns_in_another_order(csv):
    labels = read_labels(csv(
        'VideoName,ValueOpenness,ValueNeurotisicm,ValueConscientiousness,'
        'ValueAgreeableness,ValueExtraversion', 'a.000.mp4,.5,.4,.3,.2,.1'))
    assert_same(labels, {'a.000.mp4': LABELS['a.000.mp4']})


@pytest.mark.parametrize('lines, reason', [
    ([HEADER.replace('Neurotisicm', 'Neuroticism'), ROW], 'its columns are'),
    ([HEADER.replace(',ValueOpenness', ''), ROW], 'its columns are'),
    ([HEADER + ',ValueOpenness', ROW + ',0.5'], 'its columns are'),
    ([HEADER + ',ValueInterview', ROW + ',0.5'], 'its columns are'),
    ([HEADER.replace(',', ';'), ROW], 'its columns are'),
    ([HEADER], 'holds the labels of no clip'),
    ([HEADER, 'a.000.mp4,0.1,0.2,0.3,0.4'], r'5 values instead of 6 .line 2'),
    ([HEADER, ROW, ROW + ',0.6'], r'7 values instead of 6 .line 3'),
    ([HEADER, 'a.000.mp4,0.1,,0.3,0.4,0.5'],
     "agreeableness of a.000.mp4 is '', not a number from 0 to 1 .line 2"),
    ([HEADER, 'a.000.mp4,0.1,high,0.3,0.4,0.5'],
     "agreeableness of a.000.mp4 is 'high'"),
    ([HEADER, 'a.000.mp4,nan,0.2,0.3,0.4,0.5'], 'extraversion .* is nan'),
    ([HEADER, 'a.000.mp4,inf,0.2,0.3,0.4,0.5'], 'is inf'),
    ([HEADER, 'a.000.mp4,0.1,0.2,1.2,0.4,0.5'],
     'conscientiousness of a.000.mp4 is 1.2, not a number from 0 to 1'),
    ([HEADER, 'a.000.mp4,0.1,0.2,0.3,-0.001,0.5'], 'neuroticism .* -0.001'),
    ([HEADER, 'a.000.mp4,0.1,0.2,0.3,0_1,0.5'], "neuroticism .* is '0_1'"),
    ([HEADER, ROW, 'b.000.mp4,0,0,0,0,0', ROW],
     r'names a.000.mp4 twice .line 4'),
    ([HEADER, ',0.1,0.2,0.3,0.4,0.5'], 'a clip without a name .line 2'),
    ([HEADER, '"a.000.mp4,0.1,0.2,0.3,0.4,0.5'], 'is no proper CSV'),
    ([HEADER, 'a.000.mp4,"0.1"x,0.2,0.3,0.4,0.5'], 'is no proper CSV'),
    ([HEADER, 'a' * 200000 + ',0.1,0.2,0.3,0.4,0.5'], 'is no proper CSV'),
])
def test_csv_that_is_refused(csv, lines, reason):
    refuse(csv(*lines), reason)


def test_csv_that_is_no_text(csv):
    refuse(csv(HEADER, ROW, start=b'VideoName\xff'), 'not text in UTF-8')


@pytest.mark.parametrize('content', [
    b'', b'\n', b'name,value\n', b'\xff\xfeV\0i\0', b'PK\3\4', b'\0' * 99,
    ROW.encode()])
def test_neither_format(pkl, content):
    refuse(pkl(content), 'holds neither the CSV .* nor a pickle')


def test_no_file(tmp_path):
    refuse(tmp_path / 'missing.csv', 'cannot be read .No such file')
    refuse(tmp_path, 'cannot be read .Is a directory')


# --- second round ------------------------------------------------------------

@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('of', [float, numpy.float64])
def test_pickle(pkl, protocol, of):
    content = pickle.dumps(by_trait(of=of), protocol)
    assert_same(read_labels(pkl(content)), LABELS)


@pytest.mark.parametrize('dtype', ['<f4', '>f8', '>f4', '<f2'])
def test_pickle_of_other_floats(pkl, dtype):
    def of(value):
        return numpy.array([value], dtype)[0]
    labels = {'a.000.mp4': [0.5, 0.25, 0, 1, 0.125]}
    content = pickle.dumps(by_trait(labels, of), 2)
    assert_same(read_labels(pkl(content)), labels)


def test_pickle_of_whole_numbers(pkl):
    labels = {'a.000.mp4': [0, 1, 0, 1, 0]}
    assert_same(read_labels(pkl(pickle.dumps(by_trait(labels, int)))), labels)


def test_pickle_of_python_2(pkl):
    # Byte by byte what Python 2.7 and NumPy 1.11 write under protocol 0.
    entry = (b"S'a.000.mp4'\np%d\ncnumpy.core.multiarray\nscalar\n"
             b"(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\n"
             b"tbS'\\x00\\x00\\x00\\x00\\x00\\x00\\xe0?'\ntRs")
    content = b'(dp0\n' + b''.join(
        b"S'%s'\n(dp%d\n" % (trait.encode(), 100 + i) + entry % i + b's'
        for i, trait in enumerate([*TRAITS, 'interview'])) + b'.'
    assert_same(read_labels(pkl(content)), {'a.000.mp4': [0.5] * 5})


def test_pickle_without_interview(pkl):
    content = pickle.dumps(by_trait(interview=False))
    assert_same(read_labels(pkl(content)), LABELS)


def changed(change):
    traits = by_trait()
    change(traits)
    return traits


@pytest.mark.parametrize('content, reason', [
    ([1, 2], 'holds something else'),
    ({}, 'its traits are'),
    ({'a': 1}, 'holds something else'),
    (changed(lambda t: t.pop('openness')), 'its traits are'),
    (changed(lambda t: t.update(charm={})), 'its traits are .*charm'),
    (changed(lambda t: t.update({5: {}})), 'its traits are 5'),
    (changed(lambda t: t['openness'].pop('a.000.mp4')),
     'openness has a.000.mp4 in some traits and not in others'),
    (changed(lambda t: t['openness'].update(c=0.5)), 'openness has c in some'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': None})),
     'openness of a.000.mp4 is None, not a number'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': 'high'})),
     "is 'high', not a number"),
    (changed(lambda t: t['openness'].update({'a.000.mp4': '0.5'})),
     "is '0.5', not a number"),
    (changed(lambda t: t['openness'].update({'a.000.mp4': True})),
     'is True, not a number'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': [0.5]})),
     r'is \[0.5\], not a number'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': {}})),
     'is {}, not a number'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': 1.2})),
     'is 1.2, not a number from 0 to 1'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': float('nan')})),
     'is nan, not a number'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': 10 ** 400})),
     'is 1000.*, not a number'),
    (changed(lambda t: t['openness'].update({'a.000.mp4': 0.5j})),
     'asks for .*complex'),
    ({trait: {7: 0.5} for trait in TRAITS}, '7 is no clip name'),
    ({trait: {'': 0.5} for trait in TRAITS}, 'a clip without a name'),
    ({trait: {} for trait in TRAITS}, 'holds the labels of no clip'),
])
@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_pickle_that_is_refused(pkl, content, reason, protocol):
    refuse(pkl(pickle.dumps(content, protocol)), reason)


class Call:
    """A pickle of it calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize('function', [
    os.mkdir, os.system, eval, open, getattr, numpy.load,
    collections.OrderedDict])
@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('place', ['alone', 'as a value', 'as a trait'])
def test_pickle_that_calls_a_function(
        pkl, tmp_path, function, protocol, place):
    trap = Call(function, str(tmp_path / 'trapped'))
    content = by_trait()
    if place == 'alone':
        content = trap
    elif place == 'as a value':
        content['openness']['a.000.mp4'] = trap
    else:
        content['interview'] = trap
    if function is os.system:
        trap.arguments = 'touch {}'.format(tmp_path / 'trapped'),
    reason = r'is refused, it asks for \S+\.{}, which labels do not need ' \
        'and which may be an attempt to run code'.format(function.__name__)
    if place == 'alone' and protocol < 2:
        reason += '|nor a pickle of its second round'  # not even tried
    refuse(pkl(pickle.dumps(content, protocol)), reason)
    assert not (tmp_path / 'trapped').exists()


@pytest.mark.parametrize('content', [
    # The names by which a pickle reaches around a list of names.
    b'\x80\x04\x8c\x05numpy\x8c\x0cdtype.__init__\x93.',
    b'\x80\x04\x8c\x07_codecs\x8c\x06decode\x93.',
    b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n.',
    b'\x80\x02}(U\x01aPid\n.', b'(Pid\n.', b"(S'id'\nQ.",
    b'\x80\x02\x82\x01.', b'\x80\x04\x97.',
])
def test_pickle_that_reaches_outside(pkl, content):
    refuse(pkl(content), 'is refused, ')


def test_admitted_names_do_nothing_but_numbers(pkl):
    # dtype of an object, a scalar of a list, a codec of another name.
    for function, arguments in (
            (numpy.dtype, ('O8',)), (numpy.dtype, ('V8',)),
            (numpy.dtype, ([('a', 'f8')],))):
        content = by_trait()
        content['openness']['a.000.mp4'] = Call(function, *arguments)
        refuse(pkl(pickle.dumps(content, 2)), 'is refused, it holds values of')
    import codecs
    content = by_trait()
    content['openness']['a.000.mp4'] = Call(codecs.encode, 'x', 'rot13')
    refuse(pkl(pickle.dumps(content, 2)), 'it holds bytes in rot13')


def test_pickle_of_arrays(pkl):
    content = by_trait(of=lambda value: numpy.array([value]))
    refuse(pkl(pickle.dumps(content, 2)), r'asks for numpy\S*\._reconstruct')


@pytest.mark.parametrize('keep', [2, 10, 200, -1])
@pytest.mark.parametrize('protocol', range(6))
def test_pickle_that_is_cut_short(pkl, keep, protocol):
    content = pickle.dumps(by_trait(of=numpy.float64), protocol)
    refuse(pkl(content[:keep]), 'is refused')


def test_noise_in_a_pickle(pkl):
    content = pickle.dumps(by_trait(of=numpy.float64), 2)
    random = numpy.random.RandomState(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.randint(2, len(damaged), size=3):
            damaged[place] = random.randint(256)
        path = pkl(damaged)
        try:
            read_labels(path)
        except ImpressionError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize('content', [
    b'\x80\x04' + b'(' * 100000, b'\x80\x02' + b']' * 50000 + b'.',
    b'\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.',
    b'\x80\x02}r\xff\xff\xff\x7f.', b'\x80\x63.',
    b'\x80\x04\x95' + b'\xff' * 8,
    b'\x80\x02' + b']' + b'2' * 50000 + b'a' * 49999 + b'.',
])
def test_pickles_that_are_all_junk(pkl, content):
    refuse(pkl(content), 'is refused')


def test_nested_dictionaries(pkl):
    nested = {}
    for _ in range(100):
        nested = {'a': nested}
    content = by_trait()
    content['openness']['a.000.mp4'] = nested
    refuse(pkl(pickle.dumps(content)), 'openness of a.000.mp4 is .*not a numb')
    recursive = by_trait()
    recursive['openness']['a.000.mp4'] = recursive
    refuse(pkl(pickle.dumps(recursive)), 'not a number')


@pytest.mark.parametrize('content, reason', [
    (changed(lambda t: t['openness'].update({'a.000.mp4': 10 ** 5000})),
     'openness of a.000.mp4 is .*, not a number from 0 to 1'),
    (changed(lambda t: t.update({10 ** 5000: {}})), 'its traits are '),
    ({trait: {10 ** 5000: 0.5} for trait in TRAITS}, 'is no clip name')])
def test_integers_that_python_refuses_to_print(pkl, content, reason):
    refuse(pkl(pickle.dumps(content, 2)), reason)


def test_a_value_too_large_to_be_written_out(pkl):
    # Each list holds the one before it twice: 2 ** 60 in all.
    doubled = [0]
    for _ in range(60):
        doubled = [doubled, doubled]
    content = by_trait()
    content['openness']['a.000.mp4'] = doubled
    refuse(pkl(pickle.dumps(content, 2)), 'openness of a.000.mp4 is .*not a n')
    deep = b'\x80\x02' + b']' * 200000 + b'a' * 199999  # no end yet
    content = pickle.dumps(by_trait({'a.000.mp4': [0.5] * 5}), 0)
    number = pickle.dumps(0.5, 0)[:-1]
    assert number in content
    refuse(pkl(b'\x80\x02' + content.replace(number, deep[2:], 1)),
           'extraversion of a.000.mp4 is .*not a number')


# --- written -----------------------------------------------------------------

def test_written_csv_is_read_to_the_last_digit(tmp_path):
    path = tmp_path / 'labels.csv'
    write_csv(path, LABELS)
    assert_same(read_labels(path), LABELS)
    assert path.read_text().splitlines()[0] == HEADER


def test_written_float32_is_read_back(tmp_path):
    values = numpy.random.RandomState(0).uniform(0, 1, 5).astype('f4')
    write_csv(tmp_path / 'l.csv', {'a,"b\n.000.mp4': values})
    (name, read), = read_labels(tmp_path / 'l.csv').items()
    assert name == 'a,"b\n.000.mp4'
    numpy.testing.assert_array_equal(read.astype('f4'), values)


def test_written_pickle_is_read_to_the_last_digit(tmp_path):
    path = tmp_path / 'labels.pkl'
    write_pickle(path, LABELS, dict.fromkeys(LABELS, 0.5))
    assert_same(read_labels(path), LABELS)
    with open(path, 'rb') as file:
        content = pickle.load(file)
    assert set(content) == {*TRAITS, 'interview'}


def test_video_of():
    assert video_of('eI_7SimPnnQ.001.mp4') == 'eI_7SimPnnQ'
    assert video_of('-a.b.000.mp4') == '-a.b'
    assert video_of('clip.mp4') == 'clip'
    assert video_of('clip') == 'clip'
    assert video_of('a.000.mp4') == video_of('a.005.mp4')


# --- the real labels ---------------------------------------------------------

def test_real_labels(samples):
    folder = os.path.join(samples, 'labels')
    first = read_labels(os.path.join(folder, 'training_gt.csv'))
    second = read_labels(os.path.join(folder, 'annotation_training.pkl'))
    validation = read_labels(
        os.path.join(folder, 'annotation_validation.pkl'))
    assert (len(first), len(second), len(validation)) == (6000, 6000, 2000)
    assert set(first) == set(second)
    for name in first:
        assert list(first[name]) == list(second[name]), name
    assert not set(second) & set(validation)
    assert first['eI_7SimPnnQ.001.mp4'][0] == 0.5420560747663552


def test_real_labels_agree_with_pickles_own_reader(samples):
    path = os.path.join(samples, 'labels', 'annotation_validation.pkl')
    with open(path, 'rb') as file:
        content = pickle.load(io.BytesIO(file.read()), encoding='latin-1')
    labels = read_labels(path)
    for i, trait in enumerate(TRAITS):
        assert {n: float(v) for n, v in content[trait].items()} == \
            {n: v[i] for n, v in labels.items()}


def test_neuroticism_is_labelled_the_other_way_round(samples):
    values = numpy.array(list(read_labels(os.path.join(
        samples, 'labels', 'training_gt.csv')).values()))
    correlation = numpy.corrcoef(values.T)[0, 3]
    assert correlation == pytest.approx(0.80, abs=0.01)


def test_names_that_are_admitted():
    # Whoever adds a name here, read what the function does with bad input.
    assert set(labels_module._NumbersOnly._ADMITTED) == {
        ('numpy', 'dtype'), ('numpy.core.multiarray', 'scalar'),
        ('numpy._core.multiarray', 'scalar'), ('_codecs', 'encode')}
