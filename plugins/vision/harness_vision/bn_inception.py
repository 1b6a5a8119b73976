"""BN-Inception (arXiv:1502.03167) as pretrainedmodels ports it from Caffe, less its classifier."""

from __future__ import annotations

import warnings

from torch import Tensor

# Its sources compare literals with "is" and hold odd escapes (a DeprecationWarning up to Python
# 3.11). Python says so whenever it compiles them: on a first import, and on each one where
# compiled files cannot be kept.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    from pretrainedmodels.models.bninception import BNInception


class BNInceptionBody(BNInception):
    """Images (B, 3, H, W), BGR in [0, 255] less the mean, to maps (B, 1024, h, w)."""

    def __init__(self) -> None:
        super().__init__(num_classes=1)
        del self.last_linear

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named by its parent
        """Return the last maps; the encoder pools them over all places, whatever their number."""
        return self.features(input)
