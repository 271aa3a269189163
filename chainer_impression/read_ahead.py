"""Clips decoded while the network is busy with what came before.

ffmpeg's pipe holds less than one frame, so a decoder whose output nobody reads
stands still. Here a thread reads it, a few chunks of frames ahead; the first
chunks of the next clip too, while the last of this one are in the network.
"""

import collections
import queue
import threading

from chainer_impression import media

#: Chunks of :data:`media.CHUNK` frames, 11 MB each, that wait at most.
N_CHUNKS = 2


class ReadAhead:
    """An iterator over what a thread takes from another iterator.

    The thread starts at once. What the other iterator raises is raised here,
    in its turn. A context manager; leaving it closes it.

    Args:
        items: an iterable; if it is a generator, it is closed at the end.
        n_ahead (int): items that wait at most.
    """

    def __init__(self, items, n_ahead=N_CHUNKS):
        self._queue = queue.Queue(n_ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._read, args=(items,), daemon=True)
        self._thread.start()

    def _read(self, items):
        try:
            for item in items:
                if self._closed.is_set():
                    break
                self._queue.put((item, None))
            end = StopIteration()
        except BaseException as error:
            end = error
        finally:
            if hasattr(items, 'close'):
                items.close()
        if not self._closed.is_set():
            self._queue.put((None, end))

    def __iter__(self):
        return self

    def __next__(self):
        if self._closed.is_set():
            raise StopIteration
        item, end = self._queue.get()
        if end is not None:
            self._closed.set()
            raise end
        return item

    def close(self):
        """Stop the thread and wait for its end; twice does no harm."""
        self._closed.set()
        # A thread that waits for room finds it, and then that it is closed:
        # there is room for the one item that it may still have in hand.
        while not self._queue.empty():
            self._queue.get()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_clips(clips, open_clip):
    """Open clips one after the other, each before it is asked for.

    Args:
        clips: an iterable of what stands for a clip, such as its path.
        open_clip: called with each; gives (audio, frames), as
            :func:`~chainer_impression.media.read_audio` and
            :func:`~chainer_impression.media.read_frames` do.

    Yields:
        tuple: what stands for the clip, and a :class:`ReadAhead` that is
        closed when the next is asked for. It gives first the clip's audio,
        float32 (n_samples,), then its frames in chunks, uint8 (n, 3, 256,
        456), or raises, when its turn comes, what reading the clip raised.
    """
    opened = collections.deque()
    try:
        for clip in clips:
            opened.append((clip, ReadAhead(_parts(clip, open_clip))))
            if len(opened) > 1:
                yield opened[0]
                opened.popleft()[1].close()
        yield from opened  # the last one
    finally:
        for _, parts in opened:
            parts.close()


def open_file(path):
    """A clip on disk, in any format that ffmpeg reads, for read_clips."""
    return media.read_audio(path), media.read_frames(path)


def _parts(clip, open_clip):
    audio, frames = open_clip(clip)
    yield audio
    yield from frames
