"""Predictions for many clips, decoding and network at the same time."""

from chainer_impression.command_line import Progress


def predict_clips(predictor, clips, description='predicting'):
    """Predict the traits of whole clips.

    Args:
        predictor: what has ``predict(audio, frames)``.
        clips: yields (name, audio, frames), such as
            :class:`~chainer_impression.datasets.clip_dataset.WholeClips`.
        description (str): what the progress bar says.

    Returns:
        dict: clip name to float32 (n_traits,), in the order of ``clips``.
    """
    predictions = {}
    with Progress(len(clips), 'clips', description) as progress:
        for name, audio, frames in (clips[i] for i in range(len(clips))):
            predictions[name] = predictor.predict(audio, frames)
            progress.advance()
    return predictions
