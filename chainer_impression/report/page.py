"""The page: what the sources hold, put into the template."""

import datetime
import io
import os
import shlex

from chainer_impression.evaluations.paper_results import TABLE_1
from chainer_impression.figures import canvas
from chainer_impression.figures.learning_curves import draw_learning_curves
from chainer_impression.files import replace_when_done
from chainer_impression.report import scale, tables
from chainer_impression.report.sources import (
    as_address, read_json, read_picture)
from chainer_impression.traits import NEUROTICISM_NOTE

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def write_report(path, sources, steps):
    """Write the page; it holds its pictures and needs nothing else.

    Two pages of the same results differ in nothing but elements of the class
    ``time``.

    Args:
        path: the HTML file to write.
        sources (chainer_impression.report.sources.Sources): the results.
        steps: pairs of a :class:`chainer_impression.steps.Step` and its
            record.

    Raises:
        ImpressionError: a result cannot be read, or the page cannot be
            written.
    """
    # Here, because only this needs it.
    import jinja2
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True).get_template('page.html')
    page = template.render(_contents(sources, steps))
    # A name on disk need not be text; a page must be.
    with replace_when_done(path, encoding='utf-8', errors='replace') as file:
        file.write(page)


def _contents(sources, steps):
    table1, table3 = read_json(sources.table1), read_json(sources.table3)
    table2 = read_json(sources.table2) if sources.table2 else None
    baselines = read_json(sources.baselines)
    settings = {name: read_json(path)
                for name, path in sources.settings.items()}
    n_clips = {split: baselines[split + ' clips']
               for split in ('training', 'validation')}
    ours_on_test = [{**row, 'name': 'DNN'} for row in table2['rows']
                    if 'accuracy' in row] if table2 else []
    if table2:
        n_clips['test'] = ours_on_test[0]['clips']
    models = _models(table1, table3)
    found = scale.differences(
        sources.demo, n_clips, settings['Challenge model'],
        settings['5 × DNN'])
    validated = models + baselines['rows']
    return {
        'scaled_down': scale.sentence(found), 'is_scaled_down': bool(found),
        'demo': sources.demo, 'n_clips': n_clips,
        'seen_share': baselines['validation clips of seen videos']
        / baselines['validation clips'],
        'neuroticism': NEUROTICISM_NOTE[0].upper() + NEUROTICISM_NOTE[1:],
        'dnn': table1['rows'][-1], 'dnn_paper': TABLE_1[900][0],
        'dnn_within': tables.is_within(table1['rows'][-1])
        if 'paper' in table1['rows'][-1] else False,
        'mean': {row['name']: row for row in baselines['rows']}[
            'training mean'],
        'shrinkage': baselines['shrinkage'],
        'within': tables.WITHIN,
        'table1': tables.beside_paper(
            'Table 1. Validation accuracy of the challenge model by epoch.',
            'epoch', table1['rows']),
        'table2': table2 and tables.beside_paper(
            'Table 2. Test accuracy, beside the best of the challenge.',
            'rank', table2['rows']),
        'table3': tables.beside_paper(
            'Table 3. Validation accuracy of the models built after the '
            'challenge.', 'model', table3['rows']),
        'baselines': tables.of_baselines(
            'What the labels alone achieve on the validation clips, without '
            'a look at any.', baselines['rows']),
        'seen': tables.of_seen_videos(
            'Accuracy on validation clips whose video gave training clips as '
            'well (seen) and on the others (unseen).', validated),
        'seen_test': table2 and tables.of_seen_videos(
            'The same on the test clips.', ours_on_test),
        'metrics': tables.of_metrics(
            'R2, Pearson and concordance correlation on the validation '
            'clips.', 'predictor', validated),
        'metrics_test': table2 and tables.of_metrics(
            'The same on the test clips.', 'predictor', ours_on_test),
        'curves': _curves({title: read_json(path)
                           for title, path in sources.logs.items()}),
        'figure1': read_picture(sources.figure1),
        'figure2': read_picture(sources.figure2),
        'timing': read_json(sources.timing),
        'settings': _settings(settings),
        'environments': _environments(steps),
        'steps': [{
            'title': step.title, 'seconds': round(record['seconds']),
            'command': ['python', *map(shlex.quote, (
                *step.command, *step.extra))]} for step, record in steps],
        'written': datetime.datetime.now().astimezone().isoformat(
            ' ', 'seconds'),
    }


def _models(table1, table3):
    """The rows of our models: epochs of the challenge model, and the rest."""
    epochs = [{**row, 'name': 'DNN, epoch {}'.format(row['name'])}
              for row in table1['rows']]
    return epochs + [row for row in table3['rows'][1:] if 'accuracy' in row]


def _curves(logs):
    file = io.BytesIO()
    canvas.save_as(draw_learning_curves(logs), file, 'svg')
    return as_address(file.getvalue(), 'svg')


def _settings(settings):
    """Settings by name: each with a text for each run."""
    names = list(dict.fromkeys(
        name for of_run in settings.values() for name in of_run
        if name != 'experiment'))
    return {'runs': list(settings), 'rows': [
        (name, [_text(of_run[name]) if name in of_run else ''
                for of_run in settings.values()]) for name in names]}


def _text(value):
    return 'only at the ends of stages' if value is None else str(value)


def _environments(steps):
    """The environments that steps ran in, mostly one: [(steps, items)]."""
    found = []
    for step, record in steps:
        for titles, environment in found:
            if environment == record['environment']:
                titles.append(step.title)
                break
        else:
            found.append(([step.title], record['environment']))
    return found
