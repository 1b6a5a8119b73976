"""Every loss: equal to its class, with typed parameters, deterministic to build."""

import inspect
from pathlib import Path

import pytest
import pytorch_metric_learning.losses as pml_losses
import torch
from harness_pml.cards import OURS, PmlLoss
from harness_pml.embedding_losses import EMBEDDING_LOSSES
from harness_pml.left_out import BASE, LOSSES_LEFT_OUT, MINERS_LEFT_OUT
from harness_pml.weight_losses import WEIGHT_LOSSES
from pydantic import ValidationError

from harness.api import Batch, BuildContext, HarnessError, Pairs, Progress, Triplets

LOSSES = (*EMBEDDING_LOSSES, *WEIGHT_LOSSES)
CLASSES, DIM = 5, 8
every_loss = pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.name)
every_weight_loss = pytest.mark.parametrize("entry", WEIGHT_LOSSES, ids=lambda e: e.name)
# What the class has no default for, or what our defaults leave out.
REQUIRED = {"ranked_list": {"margin": 0.4, "Tn": 10.0}}


def context(seed: int = 0) -> BuildContext:
    generator = torch.Generator().manual_seed(seed)
    return BuildContext(num_classes=CLASSES, embedding_dim=DIM, generator=generator)


def batch(*, per_class: int = 3, tuples=None) -> Batch:
    labels = torch.arange(4).repeat_interleave(per_class)
    generator = torch.Generator().manual_seed(7)
    embeddings = torch.randn(len(labels), DIM, generator=generator).requires_grad_()
    return Batch.of(embeddings, labels, tuples=tuples)


def directly(entry: PmlLoss, **arguments) -> torch.nn.Module:
    sizes = {"num_classes": CLASSES, "embedding_dim": DIM}
    arguments |= {theirs: sizes[ours] for theirs, ours in entry.sizes.items()}
    return getattr(pml_losses, entry.class_name)(**arguments, **REQUIRED.get(entry.name, {}))


def value_and_gradients(loss: torch.Tensor, of: list[torch.Tensor]) -> list[torch.Tensor]:
    return [loss, *torch.autograd.grad(loss, of)]


def assert_equal_to_class(parts, theirs: torch.nn.Module, data: Batch) -> None:
    theirs.load_state_dict(parts.objective.loss.state_dict())
    tuples = None if data.tuples is None else tuple(data.tuples)

    ours = value_and_gradients(
        parts.objective(data, Progress()), [data.embeddings, *parts.objective.parameters()]
    )

    expected = value_and_gradients(
        theirs(data.embeddings, data.labels, tuples), [data.embeddings, *theirs.parameters()]
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@every_loss
@pytest.mark.filterwarnings("ignore:Values of Tp or Tn")
def test_defaults_give_the_value_and_gradients_of_the_class(entry: PmlLoss):
    parts = entry.build(entry.params(), context())

    assert_equal_to_class(parts, directly(entry), batch())


TRIPLETS = Triplets(torch.tensor([0, 3, 4]), torch.tensor([1, 5, 3]), torch.tensor([7, 0, 11]))
PAIRS = Pairs(
    torch.tensor([0, 3]), torch.tensor([1, 5]), torch.tensor([0, 0, 3]), torch.tensor([7, 9, 1])
)


@every_loss
@pytest.mark.parametrize("tuples", [TRIPLETS, PAIRS], ids=["triplets", "pairs"])
def test_mined_tuples_reach_the_class(entry: PmlLoss, tuples):
    if not entry.takes_tuples:
        assert entry.card().takes == ()
        return
    parts = entry.build(entry.params(), context())

    assert_equal_to_class(parts, directly(entry), batch(tuples=tuples))


def accepted_arguments(owner: type) -> dict[str, inspect.Parameter]:
    """Return the named arguments of a class and of the bases that its `**kwargs` reach."""
    found: dict[str, inspect.Parameter] = {}
    for base in owner.__mro__:
        if base.__module__.startswith("pytorch_metric_learning.losses"):
            for name, argument in inspect.signature(base.__init__).parameters.items():
                found.setdefault(name, argument)
    return found


@every_loss
def test_parameters_are_arguments_of_the_class_with_its_defaults(entry: PmlLoss):
    accepted = accepted_arguments(getattr(pml_losses, entry.class_name))
    fields = {k: v for k, v in entry.params.model_fields.items() if k not in OURS}

    for name, field in fields.items():
        assert name in accepted
        if name not in REQUIRED.get(entry.name, {}):
            assert field.default == accepted[name].default
    own = inspect.signature(getattr(pml_losses, entry.class_name).__init__).parameters
    named = {name for name in own if name not in {"self", "args", "kwargs", *entry.sizes}}
    assert named - {"num_classes"} <= set(fields)


@every_loss
def test_every_number_has_a_range_and_every_parameter_a_description(entry: PmlLoss):
    for name, field in entry.params.model_fields.items():
        assert field.description, name
        schema = entry.params.model_json_schema()["properties"][name]
        for option in schema.get("anyOf", [schema]):
            if option.get("type") in {"number", "integer"}:
                assert {"minimum", "exclusiveMinimum"} & set(option), name
                assert {"maximum", "exclusiveMaximum"} & set(option), name


@every_weight_loss
def test_weights_come_from_the_generator_alone(entry: PmlLoss):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = entry.build(entry.params(), context(3)).objective.state_dict()
    untouched = torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = entry.build(entry.params(), context(3)).objective.state_dict()
    other = entry.build(entry.params(), context(4)).objective.state_dict()

    assert untouched
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


@every_weight_loss
def test_weights_are_one_group_with_a_factor(entry: PmlLoss):
    parts = entry.build(entry.params(lr_scale=100), context())

    (group,) = parts.param_groups
    assert (group.name, group.lr_scale, group.lr) == ("loss", 100, None)
    assert list(group.params) == list(parts.objective.parameters())
    assert entry.card().learnable


@every_weight_loss
def test_labels_outside_the_classes_are_refused(entry: PmlLoss):
    objective = entry.build(entry.params(), context()).objective
    data = Batch.of(torch.ones(2, DIM), torch.tensor([0, CLASSES]))

    with pytest.raises(HarnessError, match=r"label 5 is outside \[0, 5\)"):
        objective(data, Progress())


def test_every_loss_class_is_offered_or_left_out_with_a_reason():
    classes = {name: value for name, value in vars(pml_losses).items() if inspect.isclass(value)}
    offered = {entry.class_name for entry in LOSSES}

    assert offered | set(LOSSES_LEFT_OUT) == set(classes)
    assert not offered & set(LOSSES_LEFT_OUT)


def test_distance_and_reducer_are_those_of_the_library():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.reducers import MeanReducer

    entry = next(entry for entry in LOSSES if entry.name == "triplet_margin")
    params = entry.params(distance="euclidean", normalize_embeddings=False, reducer="mean")
    theirs = directly(
        entry, distance=LpDistance(normalize_embeddings=False), reducer=MeanReducer()
    )

    assert_equal_to_class(entry.build(params, context()), theirs, batch())


def test_unnormalised_embeddings_need_a_distance():
    entry = next(entry for entry in LOSSES if entry.name == "triplet_margin")

    with pytest.raises(ValidationError, match="needs a distance"):
        entry.params(normalize_embeddings=False)


def test_snr_penalty_is_the_mean_of_absolute_sums():
    entry = next(entry for entry in LOSSES if entry.name == "snr_contrastive")
    data = batch()

    plain = entry.build(entry.params(), context()).objective(data, Progress())
    penalised = entry.build(entry.params(embedding_reg_weight=0.5), context())

    penalty = data.embeddings.sum(1).abs().mean()
    torch.testing.assert_close(penalised.objective(data, Progress()), plain + 0.5 * penalty)


def test_soft_triple_penalty_vanishes_for_equal_centers_and_grows_apart():
    entry = next(entry for entry in LOSSES if entry.name == "soft_triple")
    parts = entry.build(entry.params(centers_per_class=2, weight_reg_weight=1), context())
    plain = entry.build(entry.params(centers_per_class=2), context())
    data = batch()

    with_penalty = parts.objective(data, Progress())

    # eq. 9 of the paper: sum over classes of |w1 - w2| over (C K (K - 1)), with unit centers
    plain.objective.load_state_dict(parts.objective.state_dict())
    centers = torch.nn.functional.normalize(parts.objective.loss.fc.T).view(CLASSES, 2, DIM)
    penalty = (centers[:, 0] - centers[:, 1]).norm(dim=1).sum() / (CLASSES * 2)
    torch.testing.assert_close(with_penalty, plain.objective(data, Progress()) + penalty)


def test_margin_loss_learns_one_boundary_per_class():
    entry = next(entry for entry in LOSSES if entry.name == "margin")
    parts = entry.build(entry.params(learn_beta=True, beta_per_class=True), context())

    (group,) = parts.param_groups

    assert group.params[0].shape == (CLASSES,)


def test_readme_gives_every_reason_for_a_class_that_is_left_out():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

    for name, reason in (LOSSES_LEFT_OUT | MINERS_LEFT_OUT).items():
        assert reason == BASE or f"| `{name}` | {reason} |" in readme
