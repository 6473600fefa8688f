"""Mode `exact`: the active party gets the logits of each batch in the clear, so any loss and optimiser works.

widths      sizes of numbers, several side by side in a plaintext
steps       what goes over: pure functions
masks       masks of several passive parties that cancel
source      the source layer: both sides' state, who holds what
optimizers  SGD and Adam in the clear
top         what stands on the layer: a loss, or a neural network
model       VerticalTopModel, the estimator of such a network
metrics     what the active party looks at
messages    the records, and who can read what
active, passive   the drivers

What A can infer, and why it is off by default (`mode = "shared"`), stands in `source` and THREAT_MODEL.md.
"""

from hecore.algorithms.lr.exact.active import ActiveTraining
from hecore.algorithms.lr.exact.model import VerticalTopModel
from hecore.algorithms.lr.exact.passive import PassiveTraining
from hecore.algorithms.lr.exact.top import LinearTop
from hecore.algorithms.lr.side import Outcome, Side


def train(side: Side) -> Outcome:
    """The training of mode `exact`."""
    if side.label is None:
        return PassiveTraining(side).run()
    return ActiveTraining(side, side.label, LinearTop(side.label.objective)).run()


__all__ = ["VerticalTopModel", "train"]
