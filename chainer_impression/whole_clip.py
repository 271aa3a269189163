"""A clip of any length through a stream, in parts that fit in memory (P 2.3).

What computes the parts is handed in, so that the Chainer network and the
engines share what they take, what they refuse and how they average.
"""

import numpy

#: Samples of a piece in which audio is taken through the stream, in units of
#: the stream's total stride: 320 * 1024 samples are 20.5 s, so that a clip of
#: the challenge goes through in one piece (P 2.3), a longer one in several.
PIECE = 320


def pool_audio(audio, feature_maps, kernel, stride, margin, piece=PIECE):
    """Pooled features of a whole clip's audio.

    The stream has no layer that sees more than a stretch of audio, so a long
    clip can go through in overlapping pieces: of each piece only those columns
    of the last feature map are kept that the piece's ends do not reach. The
    columns, and so the average over them, are those of one piece, and memory
    does not grow with the clip.

    Args:
        audio: float32 (n_samples,) in [-1, 1], 16 kHz. Any length.
        feature_maps: called with a float32 (n,) piece of it; returns the last
            feature map, float32 (n_features, n_columns).
        kernel (int): samples of the stream's first kernel.
        stride (int): the stream's total stride, in samples.
        margin (int): how far, in columns, an end of a piece reaches.
        piece (int): columns of a piece.

    Returns:
        numpy.ndarray: float32 (n_features,).

    Raises:
        ValueError: the audio has another shape or dtype, is shorter than the
            first kernel, or holds values that are not finite.
    """
    audio = numpy.asarray(audio)
    if audio.ndim != 1 or audio.dtype.kind != 'f':
        # Integers would be samples as a file holds them, up to 32767.
        raise ValueError(
            'audio must be float32 (n_samples,) in [-1, 1], not {} {}'.format(
                audio.dtype, audio.shape))
    audio = audio.astype(numpy.float32, copy=False)
    if len(audio) < kernel:
        raise ValueError(
            'audio of {} samples is shorter than the first kernel, {}'
            .format(len(audio), kernel))
    if not numpy.isfinite(audio).all():
        raise ValueError('audio holds values that are not finite')
    total, n_columns = 0, 0
    for start, stop, kept in _cut(len(audio), stride, margin, piece):
        columns = feature_maps(audio[start:stop])[:, kept]
        total += columns.sum(axis=1, dtype=numpy.float64)
        n_columns += columns.shape[1]
    return (total / n_columns).astype(numpy.float32)


def _cut(n_samples, stride, margin, piece):
    """Cut audio so that no column of the last feature map is lost.

    Yields:
        tuple: (first sample, end sample, slice of the columns to keep).
    """
    n_pieces = max(1, -(-n_samples // (piece * stride)))
    for i in range(n_pieces):
        # In columns of the last feature map, stride samples apart.
        first, last = i * piece, (i + 1) * piece
        before = min(first, margin)
        start = (first - before) * stride
        if i == n_pieces - 1:
            yield start, n_samples, slice(before, None)
        else:
            yield (start, min(n_samples, (last + margin) * stride),
                   slice(before, before + piece))


def pool_frames(frames, features, kernel, chunk):
    """Pooled features of a clip, averaged over its frames.

    Args:
        frames: uint8 (n_frames, 3, height, width), RGB, or an iterable of
            such arrays. Any number of frames, of any size.
        features: called with such an array of at most ``chunk`` frames;
            returns their pooled features, float32 (n, n_features).
        kernel (tuple of int): (height, width) of the stream's first kernel.
        chunk (int): frames that go through the stream at once.

    Returns:
        numpy.ndarray: float32 (n_features,).

    Raises:
        ValueError: the frames have another shape or dtype, there is none, or
            they are smaller than the first kernel.
    """
    parts = (frames,) if hasattr(frames, 'ndim') else frames
    # Summed in double precision, so that the average does not depend on how
    # the frames were cut into chunks.
    total, n_frames = 0, 0
    for part in parts:
        _check_frames(part, kernel)
        for start in range(0, len(part), chunk):
            total += features(part[start:start + chunk]).sum(
                axis=0, dtype=numpy.float64)
        n_frames += len(part)
    if n_frames == 0:
        raise ValueError('there are no frames')
    return (total / n_frames).astype(numpy.float32)


def _check_frames(frames, kernel):
    if getattr(frames, 'dtype', None) != numpy.uint8 \
            or frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(
            'frames must be uint8 (n_frames, 3, height, width), not {} {}'
            .format(getattr(frames, 'dtype', type(frames).__name__),
                    getattr(frames, 'shape', '')))
    if frames.shape[2] < kernel[0] or frames.shape[3] < kernel[1]:
        raise ValueError(
            'frames of {2}x{3} pixels (height x width) are smaller than '
            'the first kernel, {0}x{1}'.format(*kernel, *frames.shape[2:]))
