import torch
from torch import Tensor, nn

from harness.api import Batch, BuildContext, Progress


class Scaled(nn.Module):
    def __init__(self, context: BuildContext) -> None:
        super().__init__()
        self.scale = torch.rand((), generator=context.generator).item()  # no buffer: not saved

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        return self.scale * torch.pdist(batch.embeddings).square().sum()
