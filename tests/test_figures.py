"""The figures: their data are the network's and the predictions' own."""

import os

import matplotlib.text
import numpy
import pytest

from chainer_impression.datasets import clip_cache
from chainer_impression.datasets.labels import write_csv
from chainer_impression.errors import ImpressionError
from chainer_impression.figures import canvas
from chainer_impression.figures.architecture import (
    draw_architecture, in_words, read_architecture)
from chainer_impression.figures.examples import (
    Example, choose_clips, draw_examples)
from chainer_impression.figures.learning_curves import draw_learning_curves
from chainer_impression.traits import TABLE_TRAITS, TRAITS


@pytest.fixture(scope='module')
def architecture(network):
    return read_architecture(network)


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


# --- Figure 1 ----------------------------------------------------------------

def test_shapes_are_the_networks(architecture):
    shapes = {stream: [stage.output for stage in stages]
              for stream, stages in architecture.streams.items()}
    assert shapes['vis'] == [
        (32, 57, 57), (32, 57, 57), (32, 57, 57), (64, 29, 29), (64, 29, 29),
        (128, 15, 15), (128, 15, 15), (256, 8, 8), (256, 8, 8), (256,)]
    assert shapes['aud'] == [
        (32, 1, 3137), (32, 1, 3137), (32, 1, 3137), (64, 1, 785),
        (64, 1, 785), (128, 1, 197), (128, 1, 197), (256, 1, 50),
        (256, 1, 50), (256,)]
    assert [s[0].input for s in architecture.streams.values()] == [
        (1, 1, 50176), (3, 224, 224)]


def test_the_shapes_follow_the_example(network):
    visual = read_architecture(network, 16000, 64).streams['vis']
    assert visual[0].output == (32, 17, 17)


def test_kernels_and_strides_follow_the_papers_rule(architecture):
    for ear, eye in zip(*architecture.streams.values(), strict=True):
        for a, v in zip(sum(ear.main, ear.shortcut),
                        sum(eye.main, eye.shortcut), strict=True):
            assert a.label == v.label
            for one, other in ((a.ksize, v.ksize), (a.stride, v.stride)):
                assert one == (() if not other else (1, other[0] ** 2))


def test_stages_are_in_the_order_in_which_they_are_applied(architecture):
    visual = architecture.streams['vis']
    assert [stage.name for stage in visual] == [
        'conv1', 'res2a', 'res2b', 'res3a', 'res3b', 'res4a', 'res4b',
        'res5a', 'res5b', '']
    changing = {'res3a', 'res4a', 'res5a'}
    assert {s.name for s in visual if s.shortcut} == changing
    words = [[in_words(o) for o in part] for part in visual[3].main]
    assert words == [
        ['3 × 3 conv, 64, stride 2 × 2', 'batch norm', 'ReLU'],
        ['3 × 3 conv, 64', 'batch norm']]
    assert [in_words(o) for o in visual[3].joined[1:]] == ['ReLU']
    assert [in_words(o) for o in architecture.head] == [
        'concatenation', 'fully connected', 'tanh', '+ 1', '÷ 2']
    assert architecture.head[0].output == (512,)


def test_parameters_are_counted(architecture, network):
    assert architecture.n_parameters[''] == 5601989
    assert architecture.n_parameters['aud'] == sum(
        stage.n_parameters for stage in architecture.streams['aud'])
    assert architecture.n_parameters['fc'] == network.fc.count_params()


def test_the_drawing_says_what_was_read(architecture):
    drawn = texts(draw_architecture(architecture))
    for expected in ('input  3 × 224 × 224', '32 × 57 × 57', '32 × 1 × 3137',
                     '3 × 3 max pooling, stride 2 × 2',
                     '1 × 9 max pooling, stride 1 × 4',
                     '5,601,989 parameters in all'):
        assert expected in drawn


@pytest.mark.parametrize('extension, head', [
    ('png', b'\x89PNG'), ('svg', b'<?xml'), ('PDF', b'%PDF')])
def test_a_figure_is_the_same_file_every_time(tmp_path, extension, head):
    files = []
    for name in 'ab':
        path = tmp_path / '{}.{}'.format(name, extension)
        canvas.save(draw_examples([example('x.mp4')]), path)
        files.append(path.read_bytes())
    assert files[0].startswith(head)
    assert files[0] == files[1]


def test_commands_draw_without_pyplot(run_python, tmp_path):
    done = run_python('-c', '''
import runpy, sys
sys.argv = ['plot_architecture.py', '--out', {!r}]
try:
    runpy.run_path('experiments/plot_architecture.py', run_name='__main__')
except SystemExit as end:
    assert end.code is None, end.code
assert 'matplotlib.pyplot' not in sys.modules
'''.format(str(tmp_path / 'figure.svg')))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'figure.svg').stat().st_size > 10000


def test_an_unknown_format_is_one_sentence(run_python, tmp_path):
    done = run_python('experiments/plot_architecture.py', '--out',
                      tmp_path / 'figure.jpeg')
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        'figure.jpeg: a figure is saved as one of .png, .svg, .pdf; give it '
        'such an ending')
    assert len(done.stderr.strip().splitlines()) == 1


# --- Figure 2 ----------------------------------------------------------------

def example(name, label=None):
    return Example(name, numpy.zeros((256, 456, 3), numpy.uint8),
                   numpy.array([.1, .2, .3, .4, .5]), label)


def test_clips_are_spread_over_the_predictions():
    predictions = {'{:02d}.mp4'.format(i): numpy.full(5, (i * 8 % 21) / 21)
                   for i in range(21)}
    means = [round(float(predictions[name][0]) * 21)
             for name in choose_clips(predictions, 5)]
    assert means == [0, 5, 10, 15, 20]
    assert choose_clips(dict(reversed(predictions.items())), 5) == \
        choose_clips(predictions, 5)
    assert len(choose_clips(dict(list(predictions.items())[:3]), 5)) == 3


def test_bars_are_the_predictions_in_the_papers_order():
    label = numpy.array([.9, .8, .7, .6, .55])
    figure = draw_examples([example('a.mp4', label), example('b.mp4')])
    picture, _, bars, unlabelled = figure.axes
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == [[.1, .2, .3, .4, .5][TRAITS.index(t)]
                      for t in TABLE_TRAITS]
    marks, = bars.collections
    assert list(marks.get_offsets()[:, 0]) == [
        label[TRAITS.index(t)] for t in TABLE_TRAITS]
    assert not unlabelled.collections
    assert [t.get_text().split('\n')[0] for t in bars.get_yticklabels()] == \
        list(TABLE_TRAITS)
    assert picture.get_title() == 'a.mp4'


def test_the_figure_says_that_high_neuroticism_means_stable():
    drawn = texts(draw_examples([example('a.mp4')]))
    assert 'neuroticism\n(high: stable)' in drawn
    assert any('a high value means emotionally stable' in t for t in drawn)


@pytest.mark.filterwarnings('ignore:Glyph')
def test_any_name_can_be_drawn(tmp_path):
    for name in ('$\\frac{.mp4', '<b>&amp;.mp4', 'two\nlines\x1b[0m.mp4',
                 'broken\udcff.mp4', '顔.mp4'):
        for extension in canvas.FORMATS:
            canvas.save(draw_examples([example(name)]),
                        tmp_path / ('figure.' + extension))


@pytest.fixture
def predicted(tmp_path, make_clip):
    """A cache of two clips and predictions for them."""
    cache = tmp_path / 'cache'
    cache.mkdir()
    names = '-dash.000.mp4', 'b.000.mp4'
    for name in names:
        clip_cache.write(make_clip(tmp_path / 'clip.mp4'),
                         cache / (name + '.avi'))
        os.unlink(tmp_path / 'clip.mp4')
    path = tmp_path / 'predictions.csv'
    write_csv(path, {names[0]: [.2] * 5, names[1]: [.7] * 5})
    return path, cache


def test_the_command_draws_chosen_and_named_clips(
        predicted, tmp_path, run_python):
    predictions, cache = predicted
    out = tmp_path / 'figure.png'
    arguments = ['experiments/plot_examples.py', '--predictions', predictions,
                 '--cache', cache, '--labels', predictions, '--out', out]
    done = run_python(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(': ')[1] == '-dash.000.mp4, b.000.mp4\n'
    first = out.read_bytes()
    done = run_python(*arguments, '--clips=-dash.000.mp4')
    assert done.stdout.endswith(': -dash.000.mp4\n')
    assert out.read_bytes() != first
    done = run_python(*arguments, '--clips', 'c.mp4')
    assert done.returncode == 1
    assert 'holds no prediction for a clip named c.mp4' in done.stderr
    (cache / 'b.000.mp4.avi').unlink()
    done = run_python(*arguments)
    assert done.returncode == 1
    assert 'holds no clip named b.000.mp4' in done.stderr


# --- learning curves ---------------------------------------------------------

def test_curves_are_drawn_from_logs():
    log = [{'epoch': e, 'main/accuracy': e / 10, 'alpha': 1 / (1 + e // 3),
            **({'validation/accuracy': .5} if e == 2 else {})}
           for e in range(1, 6)]
    figure = draw_learning_curves({'one': log, 'two $': log[:1]})
    first, second = figure.axes
    training, validation, step = first.lines
    assert list(training.get_ydata()) == [.1, .2, .3, .4, .5]
    assert list(validation.get_xdata()) == [2]
    assert list(step.get_xdata()) == [2.5, 2.5]
    assert second.get_title() == 'two $'


def test_saving_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ImpressionError, match='cannot be written'):
        canvas.save(canvas.new_figure(1, 1), tmp_path / 'no' / 'figure.png')
