"""The random training example, its order, and whole clips."""

import collections
import concurrent.futures
import pickle
import random
import shutil
import textwrap
import warnings

import chainer
import numpy
import pytest

from chainer_impression.datasets import clip_dataset
from chainer_impression.datasets.clip_cache import (
    CachedClip, CacheError, write)
from chainer_impression.datasets.clip_dataset import (
    AUDIO_CROP, CROP, EpochOrder, TrainingExamples, WholeClips, match_labels)
from chainer_impression.datasets.labels import write_csv, write_pickle
from chainer_impression.errors import ImpressionError

NAMES = ['a.000.mp4', 'a.001.mp4', 'b.000.mp4', 'c.000.mp4', 'd.000.mp4']
SEED = 7


@pytest.fixture(scope='module')
def cache(make_clip, tmp_path_factory):
    """A folder of five cached clips, all longer than the audio crop."""
    folder = tmp_path_factory.mktemp('cache')
    for i, name in enumerate(NAMES):
        source = make_clip(folder / name, seconds=3.3 + 0.2 * i,
                           size='{}x72'.format(96 + 8 * i),
                           sample_rate=16000, options=('-r', 5))
        write(source, folder / (name + '.avi'))
    return folder


@pytest.fixture(scope='module')
def clips(cache):
    return {name: str(cache / (name + '.avi')) for name in NAMES}


@pytest.fixture(scope='module')
def labels():
    values = numpy.random.RandomState(0).uniform(size=(len(NAMES), 5))
    return dict(zip(NAMES, values))


@pytest.fixture
def examples(clips, labels):
    return TrainingExamples(clips, labels, SEED)


def fingerprint(example):
    return tuple(array.tobytes() for array in example)


# --- one example -------------------------------------------------------------

def test_shapes_types_and_ranges(examples, labels):
    assert len(examples) == 5
    for i in range(10):
        audio, frame, traits = examples[i]
        assert audio.shape == (1, 1, 50176)
        assert frame.shape == (3, 224, 224)
        assert traits.shape == (5,)
        for array in (audio, frame, traits):
            assert type(array) is numpy.ndarray
            assert array.dtype == numpy.float32
            assert array.flags.c_contiguous
        assert 0.1 < abs(audio).max() <= 1
        assert 0 <= frame.min() < 60 and 200 < frame.max() <= 255
        assert (frame == numpy.rint(frame)).all()
        numpy.testing.assert_array_equal(
            traits, labels[NAMES[i % 5]].astype(numpy.float32))


def test_crops_are_parts_of_the_clip(examples, clips):
    flips = set()
    for i in range(10):
        audio, frame, _ = examples[i]
        clip = CachedClip(clips[NAMES[i % 5]])
        whole = clip.read_audio()
        starts = [s for s in numpy.flatnonzero(whole[:-AUDIO_CROP + 1 or None]
                                               == audio[0, 0, 0])
                  if numpy.array_equal(whole[s:s + AUDIO_CROP], audio[0, 0])]
        assert len(starts) >= 1
        flips.add(_find(frame.transpose(1, 2, 0), clip))
    assert flips == {False, True}


def _find(crop, clip):
    """Whether a crop was flipped; it must be in a frame of the clip."""
    for k in range(clip.n_frames):
        picture = clip.read_frame(k).astype(numpy.float32)
        for flipped, candidate in ((False, crop), (True, crop[:, ::-1])):
            rows = numpy.lib.stride_tricks.sliding_window_view(
                picture[:, :, 0], (1, CROP))[:33, :, 0]
            hits = (rows == candidate[0, :, 0]).all(axis=2)
            for top, left in zip(*numpy.nonzero(hits)):
                if numpy.array_equal(
                        picture[top:top + CROP, left:left + CROP], candidate):
                    return flipped
    raise AssertionError('the crop is in no frame')


def test_traits_follow_the_names_and_not_the_order_of_dictionaries(
        clips, labels):
    backwards = TrainingExamples(
        dict(reversed(clips.items())), dict(reversed(labels.items())), SEED)
    forwards = TrainingExamples(clips, labels, SEED)
    for i in range(5):
        assert fingerprint(backwards[i]) == fingerprint(forwards[i])


def test_labels_of_other_clips_do_no_harm(clips, labels):
    more = {**labels, 'z.mp4': numpy.zeros(5), '0.mp4': numpy.ones(5)}
    assert fingerprint(TrainingExamples(clips, more, SEED)[3]) == \
        fingerprint(TrainingExamples(clips, labels, SEED)[3])


# --- a function of (seed, epoch, clip), and of nothing else ------------------

def test_neither_order_nor_repetition_matters(clips, labels):
    indices = list(range(5, 25))
    examples = TrainingExamples(clips, labels, SEED)
    wanted = {i: fingerprint(examples[i]) for i in indices}
    again = TrainingExamples(clips, labels, SEED)
    choose = random.Random(0)
    for _ in range(2):
        choose.shuffle(indices)
        for i in indices:
            assert fingerprint(again[i]) == wanted[i]


def test_neither_threads_nor_processes_matter(
        clips, labels, examples, run_python):
    indices = list(range(5, 17))
    wanted = [fingerprint(examples[i]) for i in indices]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = pool.map(lambda i: fingerprint(examples[i]), indices * 3)
        assert list(got) == wanted * 3
    # A process that inherits nothing, not even how strings are hashed.
    code = textwrap.dedent('''
        import pickle, sys
        examples = pickle.loads(bytes.fromhex(sys.argv[1]))
        for i in map(int, sys.argv[2:]):
            print(*(array.tobytes().hex() for array in examples[i]))
    ''')
    done = run_python('-c', code, pickle.dumps(examples).hex(),
                      *reversed(indices), PYTHONHASHSEED=123)
    assert done.returncode == 0, done.stderr
    assert [tuple(map(bytes.fromhex, line.split()))
            for line in done.stdout.splitlines()][::-1] == wanted


def test_neither_the_other_clips_nor_the_place_matter(clips, labels):
    """An example is its clip's, also where the data set lacks some clips."""
    everything = TrainingExamples(clips, labels, SEED)
    some = {name: clips[name] for name in NAMES[1::2]}
    part = TrainingExamples(some, labels, SEED)
    for epoch in (1, 2, 900):
        for i, name in enumerate(NAMES[1::2]):
            assert fingerprint(part[epoch * len(part) + i]) == fingerprint(
                everything[epoch * 5 + NAMES.index(name)])


def test_the_place_of_the_cache_does_not_matter(clips, labels, tmp_path):
    moved = {name: shutil.copy(path, tmp_path / 'x{}'.format(i))
             for i, (name, path) in enumerate(clips.items())}
    for i in range(5):
        assert fingerprint(TrainingExamples(moved, labels, SEED)[i]) == \
            fingerprint(TrainingExamples(clips, labels, SEED)[i])


def test_numpy_state_is_neither_read_nor_changed(examples):
    numpy.random.seed(1)
    before = numpy.random.get_state()[1].copy()
    first = fingerprint(examples[6])
    numpy.testing.assert_array_equal(numpy.random.get_state()[1], before)
    numpy.random.seed(2)
    assert fingerprint(examples[6]) == first


def test_every_kind_of_integer_is_an_index(examples):
    wanted = fingerprint(examples[8])
    for kind in (numpy.int32, numpy.int64, numpy.uint64):
        assert fingerprint(examples[kind(8)]) == wanted


def test_known_values():
    """A later version must crop as this one did, or runs do not resume."""
    random_ = numpy.random.Generator(numpy.random.PCG64(
        [SEED, 3, clip_dataset._stable_number('a.000.mp4')]))
    assert clip_dataset._stable_number('a.000.mp4') == \
        int.from_bytes(bytes.fromhex(KNOWN_HASH), 'little')
    assert [int(random_.integers(n)) for n in (100000, 383, 33, 233, 2)] == \
        KNOWN_VALUES


KNOWN_HASH = '728c4182d2805d89'
KNOWN_VALUES = [51810, 382, 17, 185, 1]


# --- its distribution, on clips that say where they were cropped -------------

class Ruler:
    """Stands in for a cached clip: each value tells its place."""

    n_frames = 12
    n_samples = AUDIO_CROP + 9

    def __init__(self, path):
        self.path = path

    def read_audio(self, start, stop):
        return numpy.arange(start, stop, dtype=numpy.float32)

    def read_frame(self, k):
        picture = numpy.empty((256, 456, 3), numpy.uint8)
        picture[:, :, 0] = k
        picture[:, :, 1] = numpy.arange(256)[:, None]
        picture[:, :, 2] = numpy.arange(456) // 2
        return picture


Crop = collections.namedtuple('Crop', 'start k top left flipped')


@pytest.fixture
def crops(monkeypatch):
    """The crops of a ruler's examples: ``crops(name, seed, epochs)``."""
    monkeypatch.setattr(clip_dataset, 'CachedClip', Ruler)

    def crops(name, seed, epochs):
        examples = TrainingExamples(
            {name: ''}, {name: numpy.zeros(5)}, seed)
        for epoch in epochs:
            audio, frame, _ = examples[epoch]
            flipped = frame[2, 0, 0] > frame[2, 0, -1]
            yield Crop(int(audio[0, 0, 0]), int(frame[0, 0, 0]),
                       int(frame[1, 0, 0]), int(frame[2, 0].min()),
                       bool(flipped))
    return crops


def chi_square(values, n):
    """Of the hypothesis that values are uniform on 0 … n - 1."""
    counts = numpy.bincount(values, minlength=n)
    assert len(counts) == n, 'a value out of range'
    expected = len(values) / n
    return ((counts - expected) ** 2 / expected).sum() / (n - 1)


def test_crops_are_uniform_up_to_the_last_position(crops):
    drawn = list(crops('x.mp4', SEED, range(1, 2401)))
    for values, n in ((([c.start for c in drawn]), 10),
                      ([c.k for c in drawn], 12),
                      ([c.top for c in drawn], 33),
                      ([c.flipped for c in drawn], 2)):
        assert set(values) == set(range(n))
        # About 1 if uniform; 3 would be one in a thousand for n = 2 even.
        assert chi_square(numpy.array(values, int), n) < 3
    # 233 positions, seen through halves: 0 … 116, the last half as often.
    lefts = numpy.bincount([c.left for c in drawn], minlength=117)
    assert len(lefts) == 117
    assert lefts.min() > 0
    assert abs(lefts.mean() - 2400 / 117) < 1e-9
    assert 0.45 < numpy.mean([c.left < 58 for c in drawn]) < 0.55
    assert 0.46 < numpy.mean([c.flipped for c in drawn]) < 0.54


@pytest.mark.parametrize('one, other', [
    (('x.mp4', 1, range(1, 401)), ('x.mp4', 1, range(2, 402))),
    (('x.mp4', 1, range(1, 401)), ('x.mp4', 2, range(1, 401))),
    (('x.mp4', 1, range(1, 401)), ('y.mp4', 1, range(1, 401))),
    (('x.mp4', 1, range(2, 402)), ('x.mp4', 2, range(1, 401))),
], ids=['epochs', 'seeds', 'clips', 'seed and epoch changed places'])
def test_examples_are_independent(crops, one, other):
    one = numpy.array(list(crops(*one)), float)
    other = numpy.array(list(crops(*other)), float)
    matrix = numpy.corrcoef(one.T, other.T)
    numpy.fill_diagonal(matrix, 0)
    # The standard error of a correlation of 400 pairs is 0.05.
    assert abs(matrix).max() < 0.2


def test_long_runs_and_large_seeds(crops):
    for seed in (0, 2 ** 31, 2 ** 32, 2 ** 63):
        assert len(set(crops('x.mp4', seed, range(880, 920)))) > 35


# --- short clips -------------------------------------------------------------

@pytest.fixture
def short_clip(clip, tmp_path):
    write(clip, tmp_path / 's.mp4.avi')
    return str(tmp_path / 's.mp4.avi')


def test_short_clip_is_padded_with_silence(short_clip, labels):
    with pytest.warns(UserWarning, match='padded with silence'):
        examples = TrainingExamples(
            {'s.mp4': short_clip}, {'s.mp4': numpy.zeros(5)}, SEED)
    sound = CachedClip(short_clip).read_audio()
    for i in range(5):
        audio, frame, _ = examples[i]
        assert audio.shape == (1, 1, AUDIO_CROP)
        assert audio.dtype == numpy.float32
        numpy.testing.assert_array_equal(audio[0, 0, :len(sound)], sound)
        assert not audio[0, 0, len(sound):].any()
        assert frame.shape == (3, CROP, CROP)


def test_short_clips_are_said_once(short_clip, clips, labels):
    more = {'s{}.mp4'.format(i): short_clip for i in range(4)}
    traits = {**labels, **{name: numpy.zeros(5) for name in more}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        examples = TrainingExamples({**clips, **more}, traits, SEED)
        iterators = [
            chainer.iterators.SerialIterator(
                examples, 3, order_sampler=EpochOrder(SEED)),
            chainer.iterators.MultithreadIterator(
                examples, 3, n_threads=3, order_sampler=EpochOrder(SEED))]
        for iterator in iterators:
            for _ in range(7):
                iterator.next()
            iterator.finalize()
    said = [str(w.message) for w in caught if 'silence' in str(w.message)]
    assert len(said) == 1
    assert said[0].startswith('4 of 9 clips are shorter than the audio crop '
                              'of 3.1 s')
    assert 's0.mp4, s1.mp4, s2.mp4, …' in said[0]


def test_nothing_is_said_of_clips_that_are_long_enough(clips, labels,
                                                       monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        TrainingExamples(clips, labels, SEED)
        monkeypatch.setattr(clip_dataset, 'CachedClip', Ruler)
        monkeypatch.setattr(Ruler, 'n_samples', AUDIO_CROP)
        examples = TrainingExamples(clips, labels, SEED)
        assert examples[0][0][0, 0, 0] == 0
        assert examples[0][0][0, 0, -1] == AUDIO_CROP - 1


def test_damaged_clip_is_named_before_training(clips, labels, tmp_path):
    content = open(clips[NAMES[2]], 'rb').read()
    damaged = tmp_path / 'b.000.mp4.avi'
    damaged.write_bytes(content[:len(content) // 2])
    with pytest.raises(CacheError, match='b.000.mp4.avi.*cache_clips again'):
        TrainingExamples({**clips, NAMES[2]: str(damaged)}, labels, SEED)


@pytest.mark.parametrize('make', [
    lambda examples: chainer.iterators.SerialIterator(examples, 2),
    # Chainer's MultiprocessIterator loses what a process raises.
    lambda examples: chainer.iterators.MultithreadIterator(examples, 2),
], ids=['serial', 'threads'])
def test_clip_damaged_during_training_is_named(clips, labels, tmp_path, make):
    path = tmp_path / 'b.000.mp4.avi'
    shutil.copy(clips[NAMES[2]], path)
    examples = TrainingExamples({NAMES[2]: str(path)}, labels, SEED)
    path.write_bytes(path.read_bytes()[:5000])
    iterator = make(examples)
    try:
        with pytest.raises(CacheError, match='b.000.mp4.avi'):
            iterator.next()
    finally:
        iterator.finalize()


# --- the order of the examples -----------------------------------------------

@pytest.mark.parametrize('n', [1, 2, 20, 6000])
def test_each_epoch_is_a_permutation(n):
    order = numpy.arange(n)
    sampler = EpochOrder(SEED)
    seen = set()
    for epoch in range(1, 21):
        order = sampler(order, n)
        assert sorted(order) == list(range(epoch * n, (epoch + 1) * n))
        seen.add(tuple(order % n))
    assert len(seen) == {1: 1, 2: 2}.get(n, 20)


def test_order_is_a_function_of_seed_and_epoch():
    for seed in (0, 1, 2 ** 40):
        first = EpochOrder(seed)(numpy.arange(50), 0)
        second = EpochOrder(seed)(first, 50)
        numpy.testing.assert_array_equal(
            EpochOrder(seed)(numpy.arange(50), 0), first)
        # Whatever the order was within the epoch before, and from a fresh
        # sampler, as after resuming.
        numpy.testing.assert_array_equal(
            EpochOrder(seed)(numpy.sort(first), 7), second)
    orders = [tuple(EpochOrder(seed)(numpy.arange(50), 0))
              for seed in range(30)]
    assert len(set(orders)) == 30


def test_first_places_are_uniform():
    first = []
    for seed in range(40):
        order = numpy.arange(5)
        for _ in range(20):
            order = EpochOrder(seed)(order, 5)
            first.append(order[0] % 5)
    assert chi_square(numpy.array(first), 5) < 4


# --- Chainer's iterators -----------------------------------------------------

ITERATORS = {
    'serial': lambda examples, size: chainer.iterators.SerialIterator(
        examples, size, order_sampler=EpochOrder(SEED)),
    'threads': lambda examples, size: chainer.iterators.MultithreadIterator(
        examples, size, n_threads=3, order_sampler=EpochOrder(SEED)),
    'processes': lambda examples, size: chainer.iterators.MultiprocessIterator(
        examples, size, n_processes=2, n_prefetch=3,
        order_sampler=EpochOrder(SEED)),
}


def take(iterator, n):
    return [[fingerprint(example) for example in iterator.next()]
            for _ in range(n)]


@pytest.fixture(scope='module')
def sequence(clips, labels):
    """The first 12 batches of 2 out of 5: almost five epochs."""
    iterator = ITERATORS['serial'](TrainingExamples(clips, labels, SEED), 2)
    return take(iterator, 12)


def test_each_epoch_has_each_clip_once_and_crops_it_anew(
        clips, labels, sequence):
    examples = TrainingExamples(clips, labels, SEED)
    flat = [example for batch in sequence for example in batch]
    assert len(set(flat)) == len(flat)
    for epoch in range(1, 5):
        wanted = {fingerprint(examples[epoch * 5 + i]) for i in range(5)}
        assert set(flat[5 * epoch - 5:5 * epoch]) == wanted


@pytest.mark.filterwarnings('ignore:setDaemon')
@pytest.mark.parametrize('kind', ITERATORS)
def test_iterators_give_the_same(kind, clips, labels, sequence):
    iterator = ITERATORS[kind](TrainingExamples(clips, labels, SEED), 2)
    try:
        assert take(iterator, 12) == sequence
        assert iterator.epoch == 4
        iterator.reset()
        assert take(iterator, 3) == sequence[:3]
    finally:
        iterator.finalize()


@pytest.mark.filterwarnings('ignore:setDaemon')
@pytest.mark.parametrize('kind', ITERATORS)
def test_resumed_iterators_go_on_as_if_nothing_had_been(
        kind, clips, labels, sequence, tmp_path):
    examples = TrainingExamples(clips, labels, SEED)
    iterator = ITERATORS[kind](examples, 2)
    try:
        for i in range(6):
            take(iterator, 1)
            chainer.serializers.save_npz(
                str(tmp_path / str(i)), iterator, compression=False)
    finally:
        iterator.finalize()
    # Before, at and after the end of an epoch.
    for i in (0, 2, 4, 5):
        resumed = ITERATORS[kind](TrainingExamples(clips, labels, SEED), 2)
        try:
            chainer.serializers.load_npz(str(tmp_path / str(i)), resumed)
            assert take(resumed, 4) == sequence[i + 1:i + 5]
        finally:
            resumed.finalize()


# --- whole clips -------------------------------------------------------------

def test_whole_clips(clips):
    whole = WholeClips(clips)
    assert len(whole) == 5
    assert whole.names == NAMES
    for i, (name, audio, frames) in enumerate(whole):
        clip = CachedClip(clips[name])
        assert name == NAMES[i]
        numpy.testing.assert_array_equal(audio, clip.read_audio())
        assert audio.dtype == numpy.float32 and audio.ndim == 1
        chunks = list(frames)
        assert all(c.dtype == numpy.uint8 for c in chunks)
        assert all(c.shape[1:] == (3, 256, 456) for c in chunks)
        assert sum(map(len, chunks)) == clip.n_frames
        assert len(chunks) > 1
        if i == 0:
            for k in (0, 40, clip.n_frames - 1):
                numpy.testing.assert_array_equal(
                    numpy.concatenate(chunks)[k],
                    clip.read_frame(k).transpose(2, 0, 1))


def test_frames_of_whole_clips_are_a_stream(clips, monkeypatch):
    decoded = []
    decode = CachedClip._decode

    def count(self, file, k):
        decoded.append(k)
        return decode(self, file, k)
    monkeypatch.setattr(CachedClip, '_decode', count)
    _, _, frames = WholeClips(clips)[0]
    assert decoded == []
    next(iter(frames))
    assert 0 < len(decoded) <= 32


# --- clips and labels --------------------------------------------------------

@pytest.fixture
def some_cache(tmp_path):
    def make(names):
        folder = tmp_path / 'cache'
        folder.mkdir()
        for name in names:
            (folder / (name + '.avi')).touch()
        return folder
    return make


def csv_of(path, names):
    write_csv(path, {name: [0.1, 0.2, 0.3, 0.4, i / 10]
                     for i, name in enumerate(names)})
    return path


@pytest.mark.parametrize('kind', ['csv', 'pickle'])
def test_match(some_cache, tmp_path, kind):
    path = tmp_path / 'labels'
    names = ['b.mp4', 'a.mp4', '-c é.mp4']
    if kind == 'csv':
        csv_of(path, names)
    else:
        write_pickle(path, {
            name: [0.1, 0.2, 0.3, 0.4, i / 10]
            for i, name in enumerate(names)}, dict.fromkeys(names, 0.5))
    folder = some_cache(names)
    clips, labels = match_labels(folder, path)
    assert list(clips) == list(labels) == sorted(names)
    for name, path in clips.items():
        assert path == str(folder / (name + '.avi'))
    numpy.testing.assert_array_equal(
        labels['a.mp4'], [0.1, 0.2, 0.3, 0.4, 0.1])


def test_clips_without_labels(some_cache, tmp_path):
    folder = some_cache(['{}.mp4'.format(i) for i in range(6)])
    path = csv_of(tmp_path / 'l.csv', ['5.mp4'])
    with pytest.raises(ImpressionError) as caught:
        match_labels(folder, path)
    assert str(caught.value) == (
        '5 clips of {} have no labels in {} (0.mp4, 1.mp4, 2.mp4, …); pass '
        '--allow-unmatched to go on without them'.format(folder, path))
    clips, labels = match_labels(folder, path, allow_unmatched=True)
    assert list(clips) == list(labels) == ['5.mp4']


def test_labels_without_clips(some_cache, tmp_path):
    folder = some_cache(['5.mp4'])
    path = csv_of(tmp_path / 'l.csv', ['4.mp4', '5.mp4', '6.mp4'])
    with pytest.raises(ImpressionError) as caught:
        match_labels(folder, path)
    assert str(caught.value) == (
        '2 clips of {} are not in the cache {} (4.mp4, 6.mp4); pass '
        '--allow-unmatched to go on without them'.format(path, folder))
    clips, labels = match_labels(folder, path, allow_unmatched=True)
    assert list(clips) == list(labels) == ['5.mp4']


def test_nothing_in_common(some_cache, tmp_path):
    folder = some_cache(['a.mp4'])
    path = csv_of(tmp_path / 'l.csv', ['a', 'A.mp4'])
    for allow in (False, True):
        with pytest.raises(ImpressionError, match='no clip in common'):
            match_labels(folder, path, allow)


def test_no_cache_or_no_labels(some_cache, tmp_path):
    path = csv_of(tmp_path / 'l.csv', ['a.mp4'])
    with pytest.raises(ImpressionError, match='missing: the cache cannot be'):
        match_labels(tmp_path / 'missing', path)
    folder = some_cache([])
    with pytest.raises(ImpressionError, match='holds no cached clip'):
        match_labels(folder, path)
    (folder / 'a.mp4.avi').touch()
    with pytest.raises(ImpressionError, match='labels cannot be read'):
        match_labels(folder, tmp_path / 'missing.csv')
