"""The metrics beside the accuracy, and the tables that show them."""

import json
import math

import numpy
import pytest

from chainer_impression.evaluations import table2, table3, tables
from chainer_impression.evaluations.metrics import METRICS, metrics
from chainer_impression.evaluations.paper_results import (
    TABLE_1, TABLE_2, TABLE_3)
from chainer_impression.datasets.labels import write_csv
from chainer_impression.errors import ImpressionError


@pytest.fixture(scope='module')
def split():
    random = numpy.random.RandomState(0)
    labels = random.uniform(0.2, 0.8, (40, 5))
    predictions = labels + random.normal(0.02, 0.1, labels.shape)
    return predictions.clip(0, 1), labels


def test_metrics_by_their_formulas(split):
    predictions, labels = split
    values = metrics(predictions, labels)
    assert values.keys() == METRICS.keys()
    for i, (p, t) in enumerate(zip(predictions.T, labels.T)):
        p_var, t_var = p.var(), t.var()
        covariance = ((p - p.mean()) * (t - t.mean())).mean()
        assert values['r2'][1 + i] == pytest.approx(
            1 - ((t - p) ** 2).mean() / t_var)
        assert values['pearson'][1 + i] == pytest.approx(
            covariance / math.sqrt(p_var * t_var))
        # Lin 1989, equation 1
        assert values['concordance'][1 + i] == pytest.approx(
            2 * covariance / (p_var + t_var + (p.mean() - t.mean()) ** 2))
    for of_columns in values.values():
        assert of_columns[0] == pytest.approx(of_columns[1:].mean())


def test_perfect_predictions(split):
    _, labels = split
    for values in metrics(labels, labels).values():
        assert values == pytest.approx(numpy.ones(6))


def test_where_a_metric_is_not_defined(split, recwarn):
    predictions, labels = split
    constant = metrics(numpy.full_like(labels, 0.5), labels)
    assert numpy.isnan(constant['pearson']).all()
    assert (constant['r2'] <= 0).all()
    assert constant['concordance'] == pytest.approx(numpy.zeros(6))
    for values in metrics(predictions, numpy.full_like(labels, 0.5)).values():
        assert numpy.isnan(values).all()
    for values in metrics(predictions[:1], labels[:1]).values():
        assert values.shape == (6,) and numpy.isnan(values).all()
    assert not recwarn


def test_the_metrics_are_in_every_form(split):
    row = tables.row('ours', *split, seen=None)
    assert 'seen' not in row
    json.dumps(row, allow_nan=False)
    assert all(key in tables.to_csv([row], 'row') for key in METRICS)
    for text in (tables.metrics_to_text([row], 'row'),
                 tables.metrics_to_markdown([row], 'row')):
        assert all(title in text for title in METRICS.values())
    assert 'R2' not in tables.to_text([row], 'row')


def test_the_paper_s_averages_are_those_of_its_columns():
    for published in (TABLE_1, TABLE_2, TABLE_3):
        for average, *of_traits in published.values():
            assert average == pytest.approx(numpy.mean(of_traits), abs=2e-6)
    assert TABLE_3['DNN'] == TABLE_1[900]


def _labels(values):
    return {'v{}.00{}.mp4'.format(i // 2, i % 2): v
            for i, v in enumerate(values)}


def test_table_2_stands_beside_the_ranks(split, tmp_path):
    predictions, labels = split
    write_csv(tmp_path / 'p.csv', _labels(predictions))
    text = table2.write(tmp_path, tmp_path / 'p.csv', _labels(labels))
    assert '3 (this network)' in text and '0.875889' in text
    assert 'seen' not in text and 'test clips' in text
    table = json.loads((tmp_path / 'table2.json').read_text())
    assert [str(row['name'])[:2].strip() for row in table['rows']] == [
        '1', '2', '3', '10']
    ours = table['rows'][2]
    assert ours['paper']['average'] == TABLE_2[3][0]
    assert ours['accuracy']['openness'] == pytest.approx(
        1 - abs(predictions - labels)[:, 4].mean())
    assert ours['difference']['openness'] == pytest.approx(
        ours['accuracy']['openness'] - TABLE_2[3][1])
    assert '| 1 | paper | 0.912968 |' in (tmp_path / 'table2.md').read_text()
    assert '1,paper,0.912968,' in (tmp_path / 'table2.csv').read_text()


def test_table_3_shows_who_is_missing(split, tmp_path):
    predictions, labels = split
    write_csv(tmp_path / 'p.csv', _labels(predictions))
    table3.write(tmp_path, {table3.FIVE_DNN: tmp_path / 'p.csv'},
                 {'v0.005.mp4': labels[0]}, _labels(labels))
    rows = json.loads((tmp_path / 'table3.json').read_text())['rows']
    assert [row['name'] for row in rows] == list(TABLE_3)
    assert ['accuracy' in row for row in rows] == [False, True, False]
    assert (rows[1]['seen clips'], rows[1]['unseen clips']) == (2, 38)


def test_predictions_for_other_clips_are_refused(split, tmp_path):
    predictions, labels = split
    write_csv(tmp_path / 'p.csv', _labels(predictions[:-1]))
    with pytest.raises(ImpressionError, match='other clips'):
        table2.write(tmp_path, tmp_path / 'p.csv', _labels(labels))


def test_the_command_assembles_table_3(split, tmp_path, capsys):
    import training_factory as factory
    predictions, labels = split
    write_csv(tmp_path / 'validation.csv', _labels(labels))
    write_csv(tmp_path / 'train.csv', {'v0.005.mp4': labels[0]})
    given = []
    for i, name in enumerate(('dnn', 'five-dnn', 'dnn-rnn')):
        path = tmp_path / (name + '.csv')
        write_csv(path, _labels((predictions + i / 100).clip(0, 1)))
        given += ['--' + name, path]
    arguments = ['--train', tmp_path / 'train.csv', '--validation',
                 tmp_path / 'validation.csv', '--out', tmp_path / 'out']
    factory.call('table3.py', *arguments, *given)
    assert 'Table 3' in capsys.readouterr().out
    rows = json.loads((tmp_path / 'out' / 'table3.json').read_text())['rows']
    assert [row['name'] for row in rows] == list(TABLE_3)
    accuracies = [row['accuracy']['average'] for row in rows]
    assert len(set(accuracies)) == 3
    assert accuracies[0] == pytest.approx(1 - abs(predictions - labels).mean())
    with pytest.raises(ImpressionError, match='there are no predictions'):
        factory.call('table3.py', *arguments)
    write_csv(tmp_path / 'one.csv', {'v.mp4': [0.5]}, ('openness',))
    with pytest.raises(ImpressionError, match='its columns are VideoName, '
                       'ValueOpenness, but must be'):
        factory.call('table3.py', *arguments, '--dnn', tmp_path / 'one.csv')
