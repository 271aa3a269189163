"""Reading ahead: in order, bounded, errors in their turn, no thread left."""

import threading
import time

import pytest
from chainer_impression import media, read_ahead
from chainer_impression.read_ahead import ReadAhead


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def wait_for(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_all_items_in_order():
    with ReadAhead(range(100)) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


def test_nothing_at_all():
    with ReadAhead([]) as items:
        assert list(items) == []


def test_starts_before_it_is_asked_and_then_waits():
    taken = []
    with ReadAhead((taken.append(i) or i for i in range(100)), 3) as items:
        wait_for(lambda: len(taken) == 4)  # three wait, one is in hand
        time.sleep(0.02)
        assert len(taken) == 4
        assert next(items) == 0
        wait_for(lambda: len(taken) == 5)


def test_error_in_its_turn():
    def broken():
        yield 1
        raise media.MediaError('cut short')
    with ReadAhead(broken()) as items:
        assert next(items) == 1
        with pytest.raises(media.MediaError, match='cut short'):
            next(items)
        with pytest.raises(StopIteration):
            next(items)


@pytest.mark.parametrize('n_taken', [0, 1, 5])
def test_consumer_stops_early(n_taken):
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread())
    items = ReadAhead(endless())
    for _ in range(n_taken):
        next(items)
    items.close()
    items.close()
    assert len(closed) == 1
    with pytest.raises(StopIteration):
        next(items)


def test_closing_many_times_over():
    # Whatever the thread is at when it is told to stop.
    for i in range(200):
        with ReadAhead(iter(range(5))) as items:
            for _ in range(i % 7):
                next(items, None)


def test_error_of_a_consumer_stops_the_thread():
    with pytest.raises(ZeroDivisionError):
        with ReadAhead(iter(int, 1)) as items:
            1 / next(items)


def test_clips_one_ahead():
    opened = []

    def open_clip(name):
        opened.append(name)
        return name + ' audio', [name + ' frames']
    seen = []
    for name, items in read_ahead.read_clips(iter('abc'), open_clip):
        seen.append((name, list(items)))
        wait_for(lambda: len(opened) == min(3, len(seen) + 1))
    assert seen == [(n, [n + ' audio', n + ' frames']) for n in 'abc']
    assert list(read_ahead.read_clips([], open_clip)) == []


def test_clips_left_early():
    clips = read_ahead.read_clips('abc', lambda _: (0, range(100)))
    name, items = next(clips)
    assert next(items) == 0
    clips.close()


def test_real_files(tmp_path):
    (tmp_path / 'empty.mp4').write_bytes(b'')
    paths = [tmp_path / 'none.mp4', tmp_path / 'empty.mp4']
    for path, items in read_ahead.read_clips(paths, read_ahead.open_file):
        with pytest.raises(media.MediaError, match=path.name):
            next(items)
