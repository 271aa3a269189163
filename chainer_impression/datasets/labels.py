"""The labels of the First Impressions data set, in both of its formats.

The first round came as CSV, the second as pickles written by Python 2. Which
of them a file is shows in its content. Labels are dictionaries from the name
of a clip to its five traits, float64 (5,), in the order of
:data:`chainer_impression.traits.TRAITS`; every value lies in [0, 1].
"""

import csv
import io
import os
import pickle
import re
import reprlib
import struct

import numpy

from chainer_impression.errors import ImpressionError
from chainer_impression.files import replace_when_done
from chainer_impression.traits import TRAITS

NAME_COLUMN = 'VideoName'
#: Columns of the CSV, misspelt as in the real files.
TRAIT_COLUMNS = {
    'extraversion': 'ValueExtraversion',
    'agreeableness': 'ValueAgreeableness',
    'conscientiousness': 'ValueConscientiousness',
    'neuroticism': 'ValueNeurotisicm',
    'openness': 'ValueOpenness',
}
#: What the pickles hold besides the traits: whether the person would be
#: invited to a job interview. The network does not predict it.
INTERVIEW = 'interview'

_CLIP_NAME = re.compile(r'(?P<video>.+)\.(?P<number>\d+)\.mp4', re.DOTALL)


def video_of(clip_name):
    """The video that a clip was cut from: ``VIDEOID`` of ``VIDEOID.NNN.mp4``.

    A clip under any other name is taken for a video of its own.
    """
    match = _CLIP_NAME.fullmatch(clip_name)
    return match['video'] if match else os.path.splitext(clip_name)[0]


def read_labels(path, traits=TRAITS):
    """Read labels in either format.

    Args:
        path: a CSV of the first round or a pickle of the second.
        traits: the traits that a file of predictions has columns for.

    Returns:
        dict: clip name to float64 (n_traits,), in the file's order.

    Raises:
        ImpressionError: the file cannot be read, is of neither format, lacks
            a trait of a clip, names a clip twice, holds no clip, or holds a
            value that is no number in [0, 1].
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        raise ImpressionError('{}: the labels cannot be read ({})'.format(
            path, error.strerror)) from error
    if content.removeprefix(b'\xef\xbb\xbf').startswith(NAME_COLUMN.encode()):
        rows = _csv_rows(path, content, traits)
    elif content[:1] in (b'\x80', b'(', b'}'):  # how a pickled dict begins
        rows = _pickle_rows(path, content)
    else:
        raise ImpressionError(
            '{}: holds neither the CSV of the challenge\'s first round (its '
            'first line begins with {}) nor a pickle of its second round'
            .format(path, NAME_COLUMN))
    labels = {}
    for place, name, values in rows:
        if not name:
            raise ImpressionError('{}: holds a clip without a name{}'.format(
                path, place))
        if name in labels:
            raise ImpressionError('{}: names {} twice{}'.format(
                path, name, place))
        labels[name] = numpy.array([
            _checked(path, place, name, trait, value)
            for trait, value in zip(traits, values, strict=True)])
    if not labels:
        raise ImpressionError('{}: holds the labels of no clip'.format(path))
    return labels


def _checked(path, place, name, trait, value):
    # Not float(): it takes text in a pickle, and truth values, for numbers.
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ImpressionError(
            '{}: {} of {} is {}, not a number from 0 to 1{}'.format(
                path, trait, name, _shown(value), place))
    return float(value)


def _shown(value):
    """A value as a message shows it, whatever it is and however large."""
    # repr() writes lists that hold one another out in full, and fails for
    # integers of thousands of digits and for what is nested too deeply.
    try:
        return reprlib.repr(value)[:40]
    except ValueError:
        return 'a gigantic number'


# --- first round: CSV -------------------------------------------------------

def _csv_rows(path, content, traits):
    """Yield (place, clip name, values) for each line of a CSV."""
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ImpressionError('{}: is not text in UTF-8 ({})'.format(
            path, error.reason)) from error
    reader = csv.reader(io.StringIO(text, newline=''), strict=True)
    try:
        header = [column.strip() for column in next(reader)]
        columns = [NAME_COLUMN, *map(TRAIT_COLUMNS.get, traits)]
        if sorted(header) != sorted(columns):
            raise ImpressionError(
                '{}: its columns are {}, but must be {}'.format(
                    path, ', '.join(header), ', '.join(columns)))
        for row in reader:
            place = ' (line {})'.format(reader.line_num)
            if not row:
                continue
            if len(row) != len(header):
                raise ImpressionError('{}: {} values instead of {}{}'.format(
                    path, len(row), len(header), place))
            fields = dict(zip(header, row))
            yield (place, fields[NAME_COLUMN],
                   [_number(fields[TRAIT_COLUMNS[trait]])
                    for trait in traits])
    except csv.Error as error:
        raise ImpressionError('{}: is no proper CSV ({}, line {})'.format(
            path, error, reader.line_num)) from error


def _number(text):
    """The number that a field of a CSV is, or the text if it is none."""
    try:
        # Python alone reads 0_1, as 1.
        return text if '_' in text else float(text)
    except ValueError:
        return text


def write_csv(path, labels, traits=TRAITS):
    """Write labels, or predictions, in the format of the first round.

    Args:
        path: the file to write; it is replaced when the new one is complete.
        labels (dict): clip name to a value of each trait. Every digit is
            kept.
        traits: the traits and their order, all five by default.
    """
    with replace_when_done(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow([NAME_COLUMN, *map(TRAIT_COLUMNS.get, traits)])
        for name, values in labels.items():
            writer.writerow([name, *(repr(float(v)) for v in values)])


# --- second round: pickles ---------------------------------------------------

class _Float:
    """Stands in for ``numpy.dtype`` in a label pickle: a kind of float."""

    _FORMATS = {'f2': 'e', 'f4': 'f', 'f8': 'd'}

    def __init__(self, kind, *_):
        if not isinstance(kind, str) or kind not in self._FORMATS:
            raise pickle.UnpicklingError(
                'it holds values of the type {!r}'.format(kind))
        self.format = '<' + self._FORMATS[kind]

    def __setstate__(self, state):
        # NumPy's state begins with the version and the order of the bytes.
        self.format = {'<': '<', '>': '>'}[state[1]] + self.format[1]


def _float_scalar(dtype, raw):
    """Stands in for NumPy's function that makes a scalar from its bytes."""
    raw = raw.encode('latin-1') if isinstance(raw, str) else raw
    value, = struct.unpack(dtype.format, raw)
    return value


def _latin_1_bytes(text, encoding):
    """Stands in for the function by which Python 3 pickles bytes for 2."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError('it holds bytes in {}'.format(encoding))
    return text.encode('latin-1')


class _NumbersOnly(pickle.Unpickler):
    """Admits nothing but what a NumPy float needs; a pickle can run code."""

    _ADMITTED = {
        ('numpy', 'dtype'): _Float,
        ('numpy.core.multiarray', 'scalar'): _float_scalar,
        ('numpy._core.multiarray', 'scalar'): _float_scalar,
        ('_codecs', 'encode'): _latin_1_bytes,
    }

    def find_class(self, module, name):
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                'it asks for {}.{}, which labels do not need and which may '
                'be an attempt to run code'.format(module, name)) from None

    def persistent_load(self, pid):
        raise pickle.UnpicklingError('it refers to something outside')


def _pickle_rows(path, content):
    """Yield (place, clip name, five values) for each clip of a pickle."""
    def refuse(reason):
        return ImpressionError(
            '{}: is refused, {}; a label file is a pickle of {{trait: '
            '{{clip name: number}}}}'.format(path, reason))
    try:
        # Python 2 wrote its strings as bytes.
        by_trait = _NumbersOnly(io.BytesIO(content), encoding='latin-1').load()
    except pickle.UnpicklingError as error:
        raise refuse(error) from error
    except Exception as error:  # what a damaged pickle can raise is no list
        raise refuse('it is damaged ({})'.format(
            str(error) or type(error).__name__)) from error
    if not isinstance(by_trait, dict) or not all(
            isinstance(clips, dict) for clips in by_trait.values()):
        raise refuse('it holds something else')
    unknown = set(by_trait) - {*TRAITS, INTERVIEW}
    missing = set(TRAITS) - set(by_trait)
    if unknown or missing:
        raise refuse('its traits are {}'.format(', '.join(sorted(
            trait if isinstance(trait, str) else _shown(trait)
            for trait in by_trait))))
    names = by_trait[TRAITS[0]]
    for trait in TRAITS:
        for name in by_trait[trait]:
            if not isinstance(name, str):
                raise refuse('{} is no clip name'.format(_shown(name)))
        for name in by_trait[trait].keys() ^ names.keys():
            raise refuse('{} has {} in some traits and not in others'.format(
                trait, name))
    for name in names:
        yield '', name, [by_trait[trait][name] for trait in TRAITS]


def write_pickle(path, labels, interview):
    """Write labels in the format of the second round.

    Args:
        path: the file to write; it is replaced when the new one is complete.
        labels (dict): clip name to five values in the order of
            :data:`~chainer_impression.traits.TRAITS`.
        interview (dict): clip name to the value of the sixth entry.
    """
    by_trait = {
        trait: {name: numpy.float64(values[i])
                for name, values in labels.items()}
        for i, trait in enumerate(TRAITS)}
    by_trait[INTERVIEW] = {
        name: numpy.float64(interview[name]) for name in labels}
    with replace_when_done(path, 'wb') as file:
        pickle.dump(by_trait, file, protocol=2)
