"""Every miner: equal to its class, with typed parameters and valid tuples."""

import inspect

import pytest
import pytorch_metric_learning.miners as pml_miners
import torch
from harness_pml.cards import OURS, PmlMiner
from harness_pml.left_out import MINERS_LEFT_OUT
from harness_pml.miners import MINERS
from pydantic import ValidationError

from harness.api import Batch, BuildContext, Pairs, Progress, Triplets

every_miner = pytest.mark.parametrize("entry", MINERS, ids=lambda entry: entry.name)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(4).repeat_interleave(4)
    return Batch.of(torch.randn(16, 6, generator=generator).requires_grad_(), labels)


@every_miner
def test_defaults_give_the_tuples_of_the_class(entry: PmlMiner):
    miner = entry.build(entry.params(), BuildContext())
    data = batch()

    torch.manual_seed(0)
    ours = miner(data, Progress())

    torch.manual_seed(0)
    theirs = getattr(pml_miners, entry.class_name)()(data.embeddings, data.labels)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@every_miner
def test_tuples_are_of_the_promised_sort_and_agree_with_the_labels(entry: PmlMiner):
    data = batch()

    found = entry.build(entry.params(), BuildContext())(data, Progress())

    assert isinstance(found, Triplets if entry.gives == "triplets" else Pairs)
    anchor_positive, positive = found[0], found[1]
    anchor_negative, negative = (found[0], found[2]) if len(found) == 3 else (found[2], found[3])
    assert len(anchor_positive) > 0
    assert torch.equal(data.labels[anchor_positive], data.labels[positive])
    assert not (data.labels[anchor_negative] == data.labels[negative]).any()
    assert not (anchor_positive == positive).any()


@every_miner
def test_parameters_are_arguments_of_the_class_with_its_defaults(entry: PmlMiner):
    own = inspect.signature(getattr(pml_miners, entry.class_name).__init__).parameters
    fields = {k: v for k, v in entry.params.model_fields.items() if k not in OURS}

    assert set(fields) == set(own) - {"self", "kwargs"}
    assert all(field.default == own[name].default for name, field in fields.items())
    assert all(field.description for field in entry.params.model_fields.values())


def test_every_miner_class_is_offered_or_left_out_with_a_reason():
    classes = {name: value for name, value in vars(pml_miners).items() if inspect.isclass(value)}
    offered = {entry.class_name for entry in MINERS}

    assert offered | set(MINERS_LEFT_OUT) == set(classes)
    assert not offered & set(MINERS_LEFT_OUT)


@pytest.mark.parametrize(
    ("pos", "neg"), [("semihard", "semihard"), ("all", "semihard"), ("semihard", "all")]
)
def test_semihard_needs_a_hard_or_easy_partner(pos: str, neg: str):
    entry = next(entry for entry in MINERS if entry.name == "batch_easy_hard")

    with pytest.raises(ValidationError, match="relative to a hard or easy partner"):
        entry.params(pos_strategy=pos, neg_strategy=neg)
