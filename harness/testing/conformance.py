"""Checks that every loss and every miner should pass, for plugins of third parties too.

    findings = check_loss(card)
    assert not findings, findings

A check that a component cannot pass is declared with its reason; one that is declared and passes
is a finding as well, so that reasons do not outlive their cause.

Shapes: B batch, D embedding, F features, C training classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts import Batch, BuildContext, LossParts, Pairs, Progress, Triplets, Tuples
from harness.errors import HarnessError
from harness.specs import LossSpec, MinerSpec, Params

NUM_CLASSES, EMBEDDING_DIM, FEATURE_DIM = 6, 16, 24
BALANCED = (0, 0, 0, 0, 2, 2, 2, 2, 3, 3, 3, 3, 5, 5, 5, 5)
ONE_CLASS = (2,) * 8
SINGLETONS = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that a component did not pass."""

    component: str
    check: str
    problem: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.component}: {self.check}: {self.problem}"


@dataclass(frozen=True, slots=True)
class LossTrial:
    """A loss under test: builds it, and runs it on toy batches in double precision."""

    card: LossSpec
    params: Params

    def build(self, seed: int = 0) -> LossParts:
        """Return the loss with weights drawn from a generator of this seed."""
        context = BuildContext(
            num_classes=NUM_CLASSES,
            embedding_dim=EMBEDDING_DIM,
            feature_dim=FEATURE_DIM,
            generator=torch.Generator().manual_seed(seed),
            class_counts=(8,) * NUM_CLASSES,
            num_samples=8 * NUM_CLASSES,
            batch_size=len(BALANCED),
            total_epochs=2,
        )
        parts = self.card.build(self.params, context)
        parts.objective.double()
        return parts

    def batch(self, labels: Sequence[int] = BALANCED) -> Batch:
        """Return a batch; embeddings are a leaf, and tuples are there where mining is required."""
        generator = torch.Generator().manual_seed(11)
        size = len(labels)
        make = lambda width: torch.randn(size, width, generator=generator).double()  # noqa: E731
        embeddings = make(EMBEDDING_DIM).requires_grad_()
        ids = torch.tensor(labels)
        tuples = all_tuples(ids, self.card.takes[0]) if self.card.mining_required else None
        return Batch(embeddings, ids, make(FEATURE_DIM), torch.arange(size), tuples)


def loss_of(parts: LossParts, batch: Batch) -> Tensor:
    """Return the scalar to minimise; what is random while a loss runs is seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        terms = parts.objective(batch, Progress())
    return terms["loss"] if isinstance(terms, Mapping) else terms


def all_tuples(labels: Tensor, sort: str) -> Tuples:
    """Return every pair or triplet of a batch."""
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool)
    if sort == "pairs":
        return Pairs(*positive.nonzero(as_tuple=True), *(~same).nonzero(as_tuple=True))
    triplets = positive[:, :, None] & ~same[:, None, :]
    return Triplets(*triplets.nonzero(as_tuple=True))


# --- checks of a loss: None, or what is wrong ----------------------------------------------------


def loss_is_a_finite_scalar(trial: LossTrial) -> str | None:
    """Expect one finite number that depends on the embeddings."""
    return _sound(trial, BALANCED)


def one_class_gives_a_finite_loss_or_an_error(trial: LossTrial) -> str | None:
    """Expect no NaN, no crash and no detached zero when a batch has a single class."""
    return _sound_or_refused(trial, ONE_CLASS)


def singletons_give_a_finite_loss_or_an_error(trial: LossTrial) -> str | None:
    """Expect no NaN, no crash and no detached zero when no image has a partner."""
    return _sound_or_refused(trial, SINGLETONS)


def _sound_or_refused(trial: LossTrial, labels: Sequence[int]) -> str | None:
    try:
        return _sound(trial, labels)
    except HarnessError:
        return None


def _sound(trial: LossTrial, labels: Sequence[int]) -> str | None:
    batch = trial.batch(labels)
    loss = loss_of(trial.build(), batch)
    if loss.ndim != 0:
        return f"the loss has shape {tuple(loss.shape)}, not that of a number"
    if not loss.isfinite():
        return f"the loss is {loss.item()}"
    if not loss.requires_grad:
        return "the loss is not connected to the embeddings"
    (gradient,) = torch.autograd.grad(loss, [batch.embeddings], materialize_grads=True)
    return None if gradient.isfinite().all() else "a gradient is not finite"


def every_parameter_gets_a_gradient(trial: LossTrial) -> str | None:
    """Expect that nothing learnable is left out of the loss."""
    parts = trial.build()
    loss_of(parts, trial.batch()).backward()
    idle = [n for n, p in parts.objective.named_parameters() if p.requires_grad and p.grad is None]
    return f"no gradient reaches {', '.join(idle)}" if idle else None


def parameters_are_declared(trial: LossTrial) -> str | None:
    """Expect `learnable` to be true, and groups to name parameters of the objective once."""
    parts = trial.build()
    own = {id(parameter) for parameter in parts.objective.parameters()}
    if bool(own) != trial.card.learnable:
        return (
            f"the card says learnable={trial.card.learnable}, but there are {len(own)} parameters"
        )
    named = [id(parameter) for group in parts.param_groups for parameter in group.params]
    if len(named) != len(set(named)):
        return "a parameter is in two groups"
    return None if set(named) <= own else "a group has a parameter that the objective has not"


def order_of_the_batch_does_not_matter(trial: LossTrial) -> str | None:
    """Expect the same loss, and gradients that follow, when a batch is shuffled."""
    batch = trial.batch()
    order = torch.randperm(len(batch.labels), generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    shuffled = Batch(
        batch.embeddings.detach()[order].requires_grad_(),
        batch.labels[order],
        None if batch.features is None else batch.features[order],
        None if batch.sample_index is None else batch.sample_index[order],
        None if batch.tuples is None else type(batch.tuples)(*(place[i] for i in batch.tuples)),
    )
    return _different(
        _value_and_gradient(trial, batch), _value_and_gradient(trial, shuffled), order
    )


def names_of_classes_do_not_matter(trial: LossTrial) -> str | None:
    """Expect the same loss under other labels, where the objective has no state per class."""
    if trial.build().objective.state_dict():
        return None
    renamed = trial.batch([NUM_CLASSES - 1 - label for label in BALANCED])
    return _different(
        _value_and_gradient(trial, trial.batch()), _value_and_gradient(trial, renamed)
    )


def _value_and_gradient(trial: LossTrial, batch: Batch) -> tuple[Tensor, Tensor]:
    loss = loss_of(trial.build(), batch)
    (gradient,) = torch.autograd.grad(loss, [batch.embeddings])
    return loss, gradient


def _different(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], order: Tensor | None = None
) -> str | None:
    expected = one[1] if order is None else one[1][order]
    if not torch.allclose(one[0], other[0], rtol=1e-6, atol=1e-9):
        return f"the loss is {other[0].item():.9g} instead of {one[0].item():.9g}"
    return None if torch.allclose(expected, other[1], rtol=1e-5, atol=1e-8) else "gradients differ"


def inputs_are_left_as_they_are(trial: LossTrial) -> str | None:
    """Expect that a loss writes into none of its inputs."""
    batch = trial.batch()
    before = {n: getattr(batch, n).detach().clone() for n in ("embeddings", "labels", "features")}
    loss_of(trial.build(), batch)
    changed = [n for n, value in before.items() if not torch.equal(value, getattr(batch, n))]
    return f"{', '.join(changed)} changed in place" if changed else None


def state_survives_a_checkpoint(trial: LossTrial) -> str | None:
    """Expect that an objective which loads the state of another goes on as that one does."""
    first, second = trial.build(seed=1), trial.build(seed=2)
    loss_of(first, trial.batch()).backward()
    with torch.no_grad():
        for parameter in first.objective.parameters():
            parameter.sub_(0 if parameter.grad is None else 0.01 * parameter.grad)
    second.objective.load_state_dict(first.objective.state_dict())
    batch = trial.batch()
    expected, found = loss_of(first, batch), loss_of(second, batch)
    if torch.equal(expected, found):
        return None
    return f"the next loss is {found.item():.9g} instead of {expected.item():.9g}"


def weights_come_from_the_generator(trial: LossTrial) -> str | None:
    """Expect equal weights for equal generators, and an untouched global stream."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        before = torch.get_rng_state()
        first = trial.build(seed=5).objective.state_dict()
        if not torch.equal(before, torch.get_rng_state()):
            return "building draws from torch's global stream"
        torch.default_generator.manual_seed(2)
        second = trial.build(seed=5).objective.state_dict()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    return f"two builds with one seed differ in {', '.join(differing)}" if differing else None


LOSS_CHECKS: tuple[Callable[[LossTrial], str | None], ...] = (
    loss_is_a_finite_scalar,
    every_parameter_gets_a_gradient,
    parameters_are_declared,
    order_of_the_batch_does_not_matter,
    names_of_classes_do_not_matter,
    one_class_gives_a_finite_loss_or_an_error,
    singletons_give_a_finite_loss_or_an_error,
    inputs_are_left_as_they_are,
    state_survives_a_checkpoint,
    weights_come_from_the_generator,
)


def check_loss(
    card: LossSpec,
    params: Params | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> tuple[Finding, ...]:
    """Run every check on a loss.

    Args:
        card: What the plugin registers.
        params: None takes the defaults.
        expected_failures: Name of a check to the reason why this loss cannot pass it.
    """
    trial = LossTrial(card, params or card.params())
    expected = expected_failures or {}
    findings: list[Finding] = []
    for check in LOSS_CHECKS:
        problem = _outcome(check, trial)
        if check.__name__ in expected:
            problem = (
                None if problem else f"passes, yet is declared to fail: {expected[check.__name__]}"
            )
        if problem:
            findings.append(Finding(f"loss {card.name}", check.__name__, problem))
    unknown = set(expected) - {check.__name__ for check in LOSS_CHECKS}
    findings += [Finding(f"loss {card.name}", name, "no such check") for name in sorted(unknown)]
    return tuple(findings)


def _outcome(check: Callable[[LossTrial], str | None], trial: LossTrial) -> str | None:
    try:
        return check(trial)
    except Exception as error:  # noqa: BLE001 - the plugin border: any error is the finding
        return f"{type(error).__name__}: {error}"


# --- miners -------------------------------------------------------------------------------------


def check_miner(card: MinerSpec, params: Params | None = None) -> tuple[Finding, ...]:
    """Check that a miner returns valid tuples of the promised sort."""
    labels = torch.tensor(BALANCED)
    generator = torch.Generator().manual_seed(11)
    embeddings = torch.randn(len(labels), EMBEDDING_DIM, generator=generator)
    context = BuildContext(NUM_CLASSES, EMBEDDING_DIM, generator=generator)
    found = card.build(params or card.params(), context)(Batch(embeddings, labels), Progress())
    problem = tuple_problem(found, labels, card.gives)
    return (Finding(f"miner {card.name}", "tuples_are_valid", problem),) if problem else ()


def tuple_problem(found: object, labels: Tensor, sort: str) -> str | None:
    """Return what is wrong with mined tuples, or None."""
    if not isinstance(found, Triplets if sort == "triplets" else Pairs):
        return f"the card promises {sort}, the miner returned {type(found).__name__}"
    if any(index.dtype != torch.int64 for index in found):
        return "indices are not int64"
    if any(index.numel() and not 0 <= index.min() <= index.max() < len(labels) for index in found):
        return "an index is outside the batch"
    triplets = isinstance(found, Triplets)
    anchors, positives = found[0], found[1]
    others, negatives = (anchors, found[2]) if triplets else (found[2], found[3])
    if len(anchors) != len(positives) or len(others) != len(negatives):
        return "index tensors differ in length"
    if (labels[anchors] != labels[positives]).any() or (anchors == positives).any():
        return "a positive is not another image of the anchor's class"
    return (
        "a negative is of the anchor's class"
        if (labels[others] == labels[negatives]).any()
        else None
    )
