"""From embeddings to numbers: exact ranking, and metrics as pure functions of it."""

from harness.evaluation.embedding import Embeddings, embed
from harness.evaluation.evaluate import (
    Evaluation,
    as_embeddings,
    evaluate,
    evaluate_embeddings,
)
from harness.evaluation.neighbours import rank
from harness.evaluation.queries import query_rows
from harness.evaluation.ranking import Ranking

__all__ = [
    "Embeddings",
    "Evaluation",
    "Ranking",
    "as_embeddings",
    "embed",
    "evaluate",
    "evaluate_embeddings",
    "query_rows",
    "rank",
]
