"""From embeddings to numbers: exact ranking, and metrics as pure functions of it."""

from harness.evaluation.embedding import Embeddings, embed
from harness.evaluation.neighbours import rank
from harness.evaluation.queries import query_rows
from harness.evaluation.ranking import Ranking

__all__ = ["Embeddings", "Ranking", "embed", "query_rows", "rank"]
