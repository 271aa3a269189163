"""The recurrent network on top of the layer-5 features (P, DNN + RNN)."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_impression.links.residual_stream import N_FEATURES
from chainer_impression.traits import TRAITS

#: LSTM units in each of the two layers (P).
N_UNITS = 512

#: Time points, seconds, after which backpropagation is truncated (P).
TRUNCATION = 15

#: The paper names dropout but no ratio; this is Chainer's default and the
#: ratio for hidden units of Srivastava et al. 2014, who introduced it.
DROPOUT = 0.5


class RecurrentNetwork(chainer.Chain):
    """Two layers of LSTM units and a layer of linear units (P).

    At each time point the input is the layer-5 features of one second of a
    clip, the output the traits as the network sees them so far.

    The output layer is linear as the paper says, without the tanh that it
    names for the challenge model: nothing bounds the output in training, and
    :meth:`predict` clips to [0, 1] what it averages. Its biases begin at 0.5,
    the middle of the scale, which is where (tanh(0) + 1) / 2 begins.

    Dropout is on what the two hidden layers hand upwards, not on what they
    hand to their own next time point: dropped there, the state could not
    outlast a few seconds (Zaremba et al. 2014).

    Args:
        n_units (int): LSTM units in each layer.
        dropout (float): ratio of the hidden units that are dropped.
        n_traits (int): linear units.
        n_features (int): values of the input at a time point.
    """

    def __init__(self, n_units=N_UNITS, dropout=DROPOUT, n_traits=len(TRAITS),
                 n_features=2 * N_FEATURES):
        super().__init__()
        self.dropout = dropout
        self.n_features = n_features
        with self.init_scope():
            self.lstm1 = L.StatelessLSTM(n_features, n_units)
            self.lstm2 = L.StatelessLSTM(n_units, n_units)
            self.fc = L.Linear(n_units, n_traits, initial_bias=0.5)

    def forward(self, features):
        """The output at every time point.

        Gradients do not reach back over a multiple of :data:`TRUNCATION` time
        points; the state itself goes on.

        Args:
            features: float32 (N, n_time_points, n_features). Time points that
                are only there to fill up a mini-batch come last, where they
                change nothing before them.

        Returns:
            chainer.Variable: float32 (N, n_time_points, n_traits).
        """
        features = chainer.as_variable(features)
        c1 = h1 = c2 = h2 = None
        outputs = []
        for t in range(features.shape[1]):
            if t and t % TRUNCATION == 0:
                c1, h1, c2, h2 = (chainer.as_variable(state.array)
                                  for state in (c1, h1, c2, h2))
            c1, h1 = self.lstm1(c1, h1, features[:, t])
            c2, h2 = self.lstm2(c2, h2, F.dropout(h1, self.dropout))
            outputs.append(self.fc(F.dropout(h2, self.dropout)))
        return F.stack(outputs, axis=1)

    def predict(self, features):
        """Predict the traits of a clip: the mean over its time points (P).

        Without dropout, whatever ``chainer.config.train`` says. The link
        stays on its device; arrays come from the CPU and go back to it.

        Args:
            features: float32 (n_time_points, n_features), the layer-5
                features of each second of the clip.

        Returns:
            numpy.ndarray: float32 (n_traits,) in [0, 1].

        Raises:
            ValueError: the features have another shape, or there are none.
        """
        features = numpy.asarray(features, numpy.float32)
        if features.ndim != 2 or features.shape[1] != self.n_features \
                or len(features) == 0:
            raise ValueError('features must be (n_time_points, {}), not {}'
                             .format(self.n_features, features.shape))
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            outputs = self(self.device.send(features[None])).array[0]
        mean = chainer.backends.cuda.to_cpu(outputs.mean(axis=0))
        return mean.clip(0, 1)
