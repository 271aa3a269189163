"""The examples of the recurrent network: the features of whole clips."""

import chainer
import numpy


class FeatureSequences(chainer.dataset.DatasetMixin):
    """Features of clips, second by second, with the traits as targets.

    Like :class:`~chainer_impression.datasets.clip_dataset.TrainingExamples`
    it takes indices of ``epoch * n + i``; the example is the same in every
    epoch.

    Args:
        features (dict): clip name to float32 (n_time_points, n_features).
        labels (dict): clip name to (5,); it has each of the clips.
    """

    def __init__(self, features, labels):
        self.names = sorted(features)
        self._features = [features[name] for name in self.names]
        self._traits = [numpy.asarray(labels[name], numpy.float32)
                        for name in self.names]

    def __len__(self):
        return len(self.names)

    def get_example(self, index):
        """One example.

        Returns:
            tuple of numpy.ndarray: features float32 (n_time_points,
            n_features); traits float32 (5,).
        """
        i = int(index) % len(self)
        return self._features[i], self._traits[i]

    def __getitem__(self, index):
        # DatasetMixin would wrap indices beyond the length.
        return self.get_example(index)


@chainer.dataset.converter()
def pad(batch, device=None):
    """A mini-batch of clips of any length, filled up with zeros.

    Args:
        batch: list of (features, traits), see :class:`FeatureSequences`.
        device (chainer.backend.Device): where the mini-batch goes.

    Returns:
        tuple of arrays: features float32 (N, n_time_points, n_features), as
        many time points as the longest clip has; mask float32 (N,
        n_time_points), 1 where the clip has the time point; traits float32
        (N, 5).
    """
    lengths = [len(features) for features, _ in batch]
    n_features = batch[0][0].shape[1]
    padded = numpy.zeros((len(batch), max(lengths), n_features), numpy.float32)
    mask = numpy.zeros(padded.shape[:2], numpy.float32)
    for i, (features, _) in enumerate(batch):
        padded[i, :len(features)] = features
        mask[i, :len(features)] = 1
    arrays = padded, mask, numpy.stack([traits for _, traits in batch])
    return arrays if device is None else tuple(map(device.send, arrays))
