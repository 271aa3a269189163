"""The page: readable by itself, safe with any name, and true to the results.
"""

import html.parser
import json
import re

import made_up_results
import pytest

from chainer_impression.errors import ImpressionError
from chainer_impression.report import scale, tables
from chainer_impression.report.page import write_report

NASTY = '<script>alert("x")</script>&\'</td>.mp4'
#: Elements that have no end.
VOID = {'meta', 'link', 'img', 'br', 'hr', 'input'}


class Page(html.parser.HTMLParser):
    """What a page is made of; fails where elements do not nest."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding='utf-8')
        self.elements, self.open, self.text = [], [], ''
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if 'style' not in self.open:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements
                if name == tag]


def write(folder, **options):
    folder.mkdir()
    sources, steps = made_up_results.make(folder, **options)
    write_report(folder / 'report.html', sources, steps)
    return Page(folder / 'report.html')


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    return write(tmp_path_factory.mktemp('report') / 'results')


def test_the_page_loads_nothing(page):
    for tag, attributes, _ in page.elements:
        for name in ('src', 'href', 'srcset', 'action', 'poster'):
            if name in attributes:
                assert re.match('data:|#', attributes[name]), (tag, attributes)
    assert not {'script', 'iframe', 'object', 'embed'} & {
        tag for tag, _, _ in page.elements}
    assert 'http:' not in page.source and 'https:' not in page.source
    assert '@import' not in page.source and 'url(' not in page.source
    policy, = (a['content'] for a in page.all('meta')
               if a.get('http-equiv') == 'Content-Security-Policy')
    assert policy.startswith("default-src 'none'")
    assert len(page.all('img')) == 3


def test_the_page_can_be_read_by_anybody(page):
    assert page.all('html')[0]['lang'] == 'en'
    assert 'Deep Impression, reproduced' in page.text
    assert len(page.all('title')) == len(page.all('h1')) == 1
    assert all(len(image['alt']) > 40 for image in page.all('img'))
    assert len(page.all('caption')) == len(page.all('table'))
    assert all('scope' in cell for cell in page.all('th'))
    ids = [a['id'] for _, a, _ in page.elements if 'id' in a]
    assert len(ids) == len(set(ids))
    for link in page.all('a'):
        assert link['href'].removeprefix('#') in ids
    for box in page.all('div'):
        if box.get('class') == 'scroll':
            assert box['tabindex'] == '0'
            assert box.get('aria-labelledby', ids[0]) in ids
    # Whatever is wide scrolls in a box of its own.
    assert all('div' in parents for tag, _, parents in page.elements
               if tag in ('table', 'img'))


def test_the_numbers_are_the_results(page, tmp_path):
    sources, _ = made_up_results.make(tmp_path)
    with open(sources.table3, encoding='utf-8') as file:
        row = json.load(file)['rows'][1]
    for part in ('accuracy', 'seen', 'unseen', 'paper'):
        assert '{:.6f}'.format(row[part]['openness']) in page.text
    assert '{:.4f}–{:.4f}'.format(
        row['low']['average'], row['high']['average']) in page.text
    assert '{:.4f}'.format(row['concordance']['extraversion']) in page.text
    for expected in ('0.912968', '0.912158', '0.906461',  # tables 2, 3, 1
                     'shrunken video mean', 'a high value means emotionally',
                     '51.2', 'batches of 10', 'weight-decay', '0.0002',
                     'scaled-down', '30 training clips instead of 6,000'):
        assert expected in page.text


def test_names_cannot_become_elements(tmp_path):
    page = write(tmp_path / 'nasty', clip_name=NASTY,
                 environment={NASTY: NASTY})
    assert 'script' not in {tag for tag, _, _ in page.elements}
    # In the command, in a setting of three runs, as a version and its name.
    assert page.text.count('alert("x")') == 6
    assert '<script' not in page.source


def test_names_that_are_no_text_do_not_stop_the_page(tmp_path):
    page = write(tmp_path / 'broken', clip_name='broken\udcff.mp4')
    assert 'broken?.mp4' in page.text


def test_two_pages_differ_in_nothing_but_times(page, tmp_path):
    other = write(tmp_path / 'results')

    def without_times(page):
        source = re.sub(r'<(\w+) class="time">[^<]*</\1>', '', page.source)
        # The folders are parts of no result, but of the steps' commands.
        assert str(tmp_path) not in source
        return source
    assert without_times(page) == without_times(other)


def test_without_test_labels_the_page_says_so(tmp_path):
    page = write(tmp_path / 'unlabelled', test_labels=False)
    assert 'There is no Table 2' in page.text
    assert '0.912968' not in page.text


def test_steps_of_several_machines_are_told_apart(tmp_path):
    sources, [(step, record)] = made_up_results.make(tmp_path)
    other = step._replace(title='Figures')
    write_report(tmp_path / 'report.html', sources, [
        (step, record),
        (other, {**record, 'environment': {'python': '3.10.0'}})])
    text = Page(tmp_path / 'report.html').text
    assert 'Challenge model.' in text and 'Figures.' in text
    assert '3.10.0' in text


def test_a_missing_result_is_one_sentence(tmp_path):
    sources, steps = made_up_results.make(tmp_path)
    (tmp_path / 'table3.json').write_text('{', encoding='utf-8')
    with pytest.raises(ImpressionError, match='table3.json: cannot be read'):
        write_report(tmp_path / 'report.html', sources, steps)
    assert not (tmp_path / 'report.html').exists()


def test_what_was_scaled_down_is_said():
    paper = {'training': 6000, 'validation': 2000, 'test': 2000}
    schedule = {'epoch': 900, 'stage-length': 300, 'batchsize': 32,
                'alpha': 0.0002, 'weight-decay': 0.0}
    assert scale.sentence(scale.differences(
        False, paper, schedule, schedule)).startswith('Nothing was scaled')
    found = scale.differences(
        True, {**paper, 'test': 6}, {**schedule, 'epoch': 45},
        {**schedule, 'epoch': 20})
    assert found == [
        'drawn people instead of the clips of the challenge',
        '6 test clips instead of 2,000', '45 epochs instead of 900',
        'the networks for one trait trained up to epoch 20 instead of 900']
    assert scale.sentence(found).count(' and ') == 1


def test_a_difference_within_the_interval_is_marked():
    row = {'low': {'average': .90}, 'high': {'average': .92},
           'paper': {'average': .91}}
    assert tables.is_within(row)
    assert not tables.is_within({**row, 'paper': {'average': .93}})
    assert not tables.is_within({**row, 'low': {'average': None}})


def test_the_template_is_installed(run_python, tmp_path):
    done = run_python('setup.py', '--quiet', 'build_py', '--build-lib',
                      tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / 'chainer_impression' / 'report'
    assert {'page.html', 'page.css', 'page.py'} <= {
        path.name for path in folder.iterdir()}
