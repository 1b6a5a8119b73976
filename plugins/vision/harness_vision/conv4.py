"""The four-layer network of few-shot learning."""

from __future__ import annotations

from torch import Tensor, nn

from harness.api import HarnessError

NUM_LAYERS = 4
SMALLEST_SIDE = 2**NUM_LAYERS  # each layer halves it


class Conv4(nn.Module):
    """Four layers of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, of `width` channels.

    As in Prototypical Networks (arXiv:1703.05175, §3.1), without the convolutions' biases, which
    batch norm would cancel.
    """

    def __init__(self, *, channels: int, width: int = 64) -> None:
        super().__init__()
        inputs = (channels, *(width for _ in range(NUM_LAYERS - 1)))
        self.layers = nn.Sequential(*(_layer(given, width) for given in inputs))

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (B, width, H // 16, W // 16).

        Raises:
            HarnessError: Images with fewer than 16 pixels a side.
        """
        height, width = images.shape[-2:]
        if min(height, width) < SMALLEST_SIDE:
            raise HarnessError(
                f"conv4 cannot take images of {height} x {width} pixels",
                hint=f"resize them to {SMALLEST_SIDE} pixels or more in transforms",
            )
        return self.layers(images)


def _layer(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
