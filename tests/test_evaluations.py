"""Accuracy, tables and baselines, against numbers worked out by hand."""

import csv
import io
import json
import os

import numpy
import pytest

from chainer_impression.datasets.labels import read_labels, write_csv
from chainer_impression.evaluations import tables
from chainer_impression.evaluations.accuracy import (
    accuracy, bootstrap_interval, clip_accuracies)
from chainer_impression.evaluations.baselines import Baselines, seen_videos
from chainer_impression.evaluations.paper_results import TABLE_1
from chainer_impression.traits import TRAITS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

TRAINING = {
    'a.000.mp4': [.2] * 5, 'a.001.mp4': [.4] * 5,
    'b.000.mp4': [.6] * 5, 'b.003.mp4': [.8] * 5,
    'c.000.mp4': [.5] * 5,
}
MEAN, MEDIAN = 0.5, 0.5


def test_accuracy_is_one_minus_the_mean_absolute_error():
    predictions = [[.1, .2, .3, .4, .5], [.5, .5, .5, .5, .5]]
    labels = [[.2, .2, .3, .4, .1], [.5, .6, .5, .5, .4]]
    numpy.testing.assert_allclose(
        accuracy(predictions, labels),
        [1 - .7 / 10, .95, .95, 1, 1, .75], atol=1e-12)


@pytest.mark.parametrize('predictions, labels', [
    ([[.1, .2]], [[.1], [.2]]), ([], []), ([[numpy.nan]], [[.5]]),
    ([[.5]], [[numpy.inf]]), ([.5], [.5])])
def test_what_is_no_accuracy(predictions, labels):
    with pytest.raises(ValueError):
        clip_accuracies(predictions, labels)


def test_the_interval_is_that_of_the_normal_approximation():
    values = numpy.random.RandomState(0).normal(.9, .05, (2000, 2))
    interval = bootstrap_interval(values)
    half = 1.96 * values.std(axis=0) / 2000 ** .5
    numpy.testing.assert_allclose(
        interval, numpy.stack([values.mean(0) - half,
                               values.mean(0) + half], axis=1), atol=3e-4)
    numpy.testing.assert_array_equal(interval, bootstrap_interval(values))
    assert numpy.isnan(bootstrap_interval(values[:1])).all()


def test_a_row_has_the_papers_columns_in_its_order():
    labels = numpy.full((3, 5), .5)
    predictions = labels - numpy.array([.01, .02, .03, .04, .05])
    row = tables.row('x', predictions, labels, [True, True, False],
                     TABLE_1[300])
    assert list(row['accuracy']) == [
        'average', 'openness', 'agreeableness', 'conscientiousness',
        'neuroticism', 'extraversion']
    assert list(row['accuracy'].values()) == pytest.approx(
        [.97, .95, .98, .97, .96, .99])
    assert row['paper']['agreeableness'] == 0.911128
    assert row['difference']['agreeableness'] == pytest.approx(.98 - .911128)
    assert (row['seen clips'], row['unseen clips']) == (2, 1)
    json.dumps(row, allow_nan=False)


def test_the_papers_averages_are_those_of_its_traits():
    for average, *traits in TABLE_1.values():
        assert numpy.mean(traits) == pytest.approx(average, abs=1e-6)


def test_all_forms_of_a_table_say_the_same():
    labels = numpy.full((4, 5), .5)
    rows = [tables.row(300, labels - .1, labels, [True] * 4, TABLE_1[300])]
    for text in (tables.to_markdown(rows, 'epoch'),
                 tables.to_text(rows, 'epoch')):
        assert text.count('0.900000') == 12  # accuracy and seen videos
        assert '0.911128' in text and '-0.011128' in text
        assert '–' in text  # there is no unseen video
    lines = list(csv.DictReader(io.StringIO(tables.to_csv(rows, 'epoch'))))
    by_kind = {line['kind']: line for line in lines}
    assert float(by_kind['accuracy']['openness']) == pytest.approx(.9)
    assert by_kind['unseen']['openness'] == ''


def test_seen_videos_are_told_by_the_video_id():
    assert seen_videos(['a.005.mp4', 'z.000.mp4', 'b.mp4'],
                       TRAINING).tolist() == [True, False, True]


def test_baselines_by_hand():
    baselines = Baselines(TRAINING)
    values = baselines.predictions(['a.007.mp4', 'z.000.mp4', 'c.001.mp4'])
    assert values['training mean'][:, 0] == pytest.approx([MEAN] * 3)
    assert values['training median'][:, 0] == pytest.approx([MEDIAN] * 3)
    assert values['video mean'][:, 0] == pytest.approx([.3, MEAN, .5])
    # Leaving one out: .2 from .4, .4 from .2, .6 from .8, .8 from .6. Shrunk
    # by f the errors are |.3 - .1 f| and |.1 - .3 f|, twice each; their sum
    # is least where the second vanishes, at f = 1/3.
    assert baselines.shrinkage == pytest.approx(1 / 3, abs=1e-4)
    assert values['shrunken video mean'][:, 0] == pytest.approx(
        [.5 - .2 / 3, MEAN, .5], abs=1e-4)


def test_single_clips_leave_nothing_to_shrink_by():
    assert Baselines({'a.000.mp4': [.1] * 5,
                      'b.000.mp4': [.9] * 5}).shrinkage == 0


def test_the_shrinkage_does_not_depend_on_validation_labels(
        tmp_path, run_python):
    """The command gives the same factor whatever the validation labels are."""
    write_csv(tmp_path / 'train.csv', TRAINING)
    factors = []
    for value in (.1, .9):
        path = tmp_path / 'validation.csv'
        write_csv(path, {'a.005.mp4': [value] * 5, 'q.000.mp4': [.5] * 5})
        done = run_python(
            os.path.join(ROOT, 'experiments', 'baselines.py'), '--json',
            '--train', tmp_path / 'train.csv', '--validation', path)
        assert done.returncode == 0, done.stderr
        factors.append(json.loads(done.stdout)['shrinkage'])
    assert factors[0] == factors[1] > 0


def test_the_command_refuses_overlapping_splits(tmp_path, run_python):
    write_csv(tmp_path / 'train.csv', TRAINING)
    done = run_python(
        os.path.join(ROOT, 'experiments', 'baselines.py'),
        '--train', tmp_path / 'train.csv',
        '--validation', tmp_path / 'train.csv')
    assert done.returncode == 1
    assert 'have 5 clips in common' in done.stderr
    assert 'Traceback' not in done.stderr


def test_the_real_labels(samples, run_python):
    """The figures of the README, and an independent recomputation."""
    paths = [os.path.join(samples, 'labels', name) for name in (
        'annotation_training.pkl', 'annotation_validation.pkl')]
    done = run_python(os.path.join(ROOT, 'experiments', 'baselines.py'),
                      '--train', paths[0], '--validation', paths[1], '--json')
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    rows = {row['name']: row for row in result['rows']}
    assert result['validation clips of seen videos'] == 1674
    for name, all_clips, seen, unseen in (
            ('training mean', .8834, .8847, .8772),
            ('training median', .8835, .8846, .8775),
            ('video mean', .9050, .9104, .8772),
            ('shrunken video mean', .9090, .9152, .8772)):
        for kind, expected in (('accuracy', all_clips), ('seen', seen),
                               ('unseen', unseen)):
            assert rows[name][kind]['average'] == pytest.approx(
                expected, abs=6e-5)
    train, validation = map(read_labels, paths)
    mean = numpy.mean(list(train.values()), axis=0)
    errors = abs(numpy.array(list(validation.values())) - mean).mean(axis=0)
    for trait, error in zip(TRAITS, errors):
        assert rows['training mean']['accuracy'][trait] == pytest.approx(
            1 - error, abs=1e-12)
