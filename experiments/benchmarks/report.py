"""What was measured, for a terminal, for the README and as a picture."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess

from benchmarks.measure import format_seconds
from chainer_impression import media
from chainer_impression.figures import canvas

_PACKAGES = ('chainer', 'numpy', 'numba', 'openvino', 'onnxruntime', 'torch',
             'pillow', 'soxr', 'cupy-cuda12x', 'cupy-cuda13x')


def machine(threads):
    """Where and with what the measuring is done.

    Args:
        threads (int): cores and threads that each peer gets.

    Returns:
        dict: ``date``, ``processor``, ``cores``, ``memory`` (bytes),
        ``system``, ``versions``.
    """
    versions = {'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    first = subprocess.run(
        [media.ffmpeg_binary(), '-version'], stdout=subprocess.PIPE,
        encoding='utf-8', errors='replace').stdout.split('\n')[0]
    match = re.search(r'version (\S+)', first)
    versions['ffmpeg'] = match[1] if match else 'unknown'
    return {
        'date': datetime.date.today().isoformat(),
        'processor': _processor(), 'cores': threads,
        'memory': _memory(), 'system': platform.platform(terse=True),
        'versions': versions}


def _processor():
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            text = file.read()
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r'^model name\s*: (.*)$', text, re.MULTILINE)
    flags = set(re.search(r'^flags\s*: (.*)$', text, re.MULTILINE)[1].split()
                ) if '\nflags' in text else set()
    extensions = [name for flag, name in (
        ('avx2', 'AVX2'), ('avx512f', 'AVX-512'),
        ('avx512_bf16', 'AVX-512 bfloat16'), ('amx_bf16', 'AMX bfloat16'))
        if flag in flags]
    return '{} ({})'.format(match[1] if match else platform.machine(),
                            ', '.join(extensions) or 'no vector extension')


def _memory():
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (ValueError, OSError):
        return None


def _number(value):
    """Three digits, as people write them."""
    if value == 0:
        return '0'
    if abs(value) >= 100:
        return '{:,.0f}'.format(value)
    if abs(value) < 0.001:
        return '{:.1e}'.format(value)
    # A correlation is told from 1 by digits that do not count elsewhere.
    if 0.99 <= abs(value) < 1:
        return '{:.5f}'.format(value)
    return '{:.3g}'.format(value)


def _cells(row):
    """A row as texts: what, figure, lowest to highest, goal, note."""
    figure = '{} {}'.format(_number(row['value']), row['unit']).strip()
    spread = '' if row['n'] == 1 else '{}–{} ({})'.format(
        _number(row['low']), _number(row['high']), row['n'])
    goal = ''
    if row['goal']:
        (kind, bound), = row['goal'].items()
        goal = '{} {}: {}'.format(kind.replace('at least', '≥').replace(
            'at most', '≤'), _number(bound), 'met' if row['met']
            else 'MISSED')
    return row['what'], figure, spread, goal, row['note']


_HEADER = ('measured', 'median', 'lowest–highest (runs)', 'goal', 'conditions')


def _about(result):
    m = result['machine']
    lines = ['{}, {}, {} cores used{}, {}'.format(
        m['date'], m['processor'], m['cores'],
        ', {:.0f} GB of memory'.format(m['memory'] / 1e9)
        if m['memory'] else '', m['system']),
        ', '.join('{} {}'.format(*item) for item in m['versions'].items())]
    return lines + result['conditions']


def to_text(result):
    """The tables for a terminal.

    Args:
        result (dict): what ``experiments/benchmark.py --json`` prints.
    """
    lines = _about(result)
    for part in result['parts']:
        lines += ['', part['title']]
        table = [_cells(row) for row in part['rows']]
        widths = [max(map(len, column)) for column in zip(*table)] or [0] * 5
        for cells in table:
            lines.append('  ' + '  '.join(
                cell.ljust(width) for cell, width in zip(
                    cells[:4], widths)).rstrip()
                + ('  [{}]'.format(cells[4]) if cells[4] else ''))
        for growth in part['growth']:
            lines += ['', '  {}, by {}'.format(
                growth['what'], growth['axis'])]
            lines += ['    ' + line for line in _growth_lines(growth)]
    if result['missing']:
        lines += ['', 'Not compared with:']
        lines += ['  ' + sentence for sentence in result['missing'].values()]
    return '\n'.join(lines)


def to_markdown(result):
    """The tables for the README."""
    lines = ['; '.join(_about(result)) + '.', '']
    for part in result['parts']:
        lines += ['**{}**'.format(part['title']), '',
                  '| {} |'.format(' | '.join(_HEADER)),
                  '|' + ' --- |' * len(_HEADER)]
        lines += ['| {} |'.format(' | '.join(_cells(row)))
                  for row in part['rows']]
        for growth in part['growth']:
            sizes = _sizes(growth)
            lines += ['', '| {}, by {} | {} |'.format(
                growth['what'], growth['axis'],
                ' | '.join(map(_number, sizes))),
                '|' + ' --- |' * (1 + len(sizes))]
            lines += ['| {} | {} |'.format(name, ' | '.join(cells))
                      for name, cells in _growth_cells(growth)]
        lines.append('')
    lines += ['Not compared with: {}'.format(sentence)
              for sentence in result['missing'].values()]
    return '\n'.join(lines).rstrip() + '\n'


def _sizes(growth):
    return sorted({point[0] for points in growth['peers'].values()
                   for point in points})


def _growth_cells(growth):
    """Yield (peer, a text for each size)."""
    for name, points in growth['peers'].items():
        at = {size: (seconds, peak) for size, seconds, peak in points}
        yield name, [
            '–' if size not in at else format_seconds(at[size][0]) + (
                ', {:.0f} MB'.format(at[size][1] / 1e6)
                if at[size][1] else '') for size in _sizes(growth)]


def _growth_lines(growth):
    table = [('', *map(_number, _sizes(growth)))]
    table += [(name, *cells) for name, cells in _growth_cells(growth)]
    widths = [max(map(len, column)) for column in zip(*table)]
    return ['  '.join(cell.rjust(width) if i else cell.ljust(width)
                      for i, (cell, width) in enumerate(zip(line, widths)))
            for line in table]


def plot(result, path):
    """Draw how time and memory grow.

    Args:
        result (dict): what ``experiments/benchmark.py --json`` prints.
        path: the PNG file to write.
    """
    growths = [g for part in result['parts'] for g in part['growth']]
    panels = [(g, 1, 'seconds') for g in growths]
    panels += [(g, 2, 'peak memory, MB') for g in growths
               if any(p[2] for points in g['peers'].values() for p in points)]
    columns = min(3, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    figure = canvas.new_figure(5 * columns, 3.6 * rows, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (growth, which, label) in zip(axes, panels):
        for name, points in growth['peers'].items():
            shown = [(p[0], p[which] / (1e6 if which == 2 else 1))
                     for p in points if p[which]]
            if shown:
                axis.plot(*zip(*shown), 'o-', label=name, markersize=4)
        axis.set(title=growth['what'], xlabel=growth['axis'], ylabel=label)
        axis.set_xscale('log', base=2)
        axis.set_xticks(_sizes(growth), map(_number, _sizes(growth)))
        axis.minorticks_off()
        if which == 1 and len(growth['peers']) > 1:
            axis.set_yscale('log')
        else:
            axis.set_ylim(0, None)
        axis.grid(alpha=0.3)
        axis.legend(fontsize='small')
    for axis in axes[len(panels):]:
        axis.remove()
    canvas.save(figure, path)
