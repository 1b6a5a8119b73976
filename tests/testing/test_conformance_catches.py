"""Each check catches the mistake it is named after."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.contracts import Batch, BuildContext, LossParts, Pairs, ParamGroup, Progress, Triplets
from harness.specs import LossSpec, MinerSpec, NoParams
from harness.testing.conformance import check_loss, check_miner


class Proxies(nn.Module):
    """A sound loss, as a start: cross-entropy against one proxy per class."""

    def __init__(self, context: BuildContext, generator: torch.Generator | None) -> None:
        super().__init__()
        shape = context.num_classes, context.embedding_dim
        self.proxies = nn.Parameter(torch.randn(shape, generator=generator))

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        return nn.functional.cross_entropy(batch.embeddings @ self.proxies.T, batch.labels)


class IdleParameter(Proxies):
    def __init__(self, context, generator):
        super().__init__(context, generator)
        self.idle = nn.Parameter(torch.zeros(1))


class FirstSampleCountsDouble(Proxies):
    def forward(self, batch, progress):
        return super().forward(batch, progress) + batch.embeddings[0].square().sum()


class FailsOnOneClass(Proxies):
    def forward(self, batch, progress):
        negatives = batch.labels[:, None] != batch.labels
        return super().forward(batch, progress) + (batch.embeddings.sum() * 0) / negatives.sum()


class FailsOnSingletons(Proxies):
    def forward(self, batch, progress):
        positives = (batch.labels[:, None] == batch.labels).sum() - len(batch.labels)
        return super().forward(batch, progress) + (batch.embeddings.sum() * 0) / positives


class WritesIntoEmbeddings(Proxies):
    def forward(self, batch, progress):
        loss = super().forward(batch, progress)
        batch.embeddings.data.mul_(2)
        return loss


class ForgetsItsScale(Proxies):
    def __init__(self, context, generator):
        super().__init__(context, generator)
        self.scale = torch.rand((), generator=generator).item()  # not a buffer

    def forward(self, batch, progress):
        return self.scale * super().forward(batch, progress)


class Detached(Proxies):
    def forward(self, batch, progress):
        return super().forward(batch, progress).detach()


class OnePerSample(Proxies):
    def forward(self, batch, progress):
        return nn.functional.cross_entropy(
            batch.embeddings @ self.proxies.T, batch.labels, reduction="none"
        )


class LikesLowLabels(nn.Module):
    def forward(self, batch, progress):
        return (batch.embeddings.square().sum(1) * batch.labels).mean()


def card(objective: Callable[..., nn.Module], *, learnable: bool = True) -> LossSpec:
    def build(params: NoParams, context: BuildContext) -> LossParts:
        return LossParts(objective(context, context.generator))

    return LossSpec(name="broken", summary="", build=build, learnable=learnable)


def checks_that_fail(spec: LossSpec) -> set[str]:
    return {finding.check for finding in check_loss(spec)}


def test_a_sound_loss_has_no_findings():
    assert check_loss(card(Proxies)) == ()


@pytest.mark.parametrize(
    ("objective", "check"),
    [
        (OnePerSample, "loss_is_a_finite_scalar"),
        (Detached, "loss_is_a_finite_scalar"),
        (IdleParameter, "every_parameter_gets_a_gradient"),
        (FirstSampleCountsDouble, "order_of_the_batch_does_not_matter"),
        (FailsOnOneClass, "one_class_gives_a_finite_loss_or_an_error"),
        (FailsOnSingletons, "singletons_give_a_finite_loss_or_an_error"),
        (WritesIntoEmbeddings, "inputs_are_left_as_they_are"),
        (ForgetsItsScale, "state_survives_a_checkpoint"),
        (lambda context, _: Proxies(context, None), "weights_come_from_the_generator"),
    ],
)
def test_mistake_is_caught(objective: Callable[..., nn.Module], check: str):
    assert check in checks_that_fail(card(objective))


def test_dependence_on_the_names_of_classes_is_caught():
    spec = card(lambda context, generator: LikesLowLabels(), learnable=False)

    assert "names_of_classes_do_not_matter" in checks_that_fail(spec)


def test_undeclared_parameters_are_caught():
    assert "parameters_are_declared" in checks_that_fail(card(Proxies, learnable=False))


def test_parameter_in_two_groups_is_caught():
    def build(params: NoParams, context: BuildContext) -> LossParts:
        objective = Proxies(context, context.generator)
        groups = tuple(ParamGroup(name, [objective.proxies]) for name in ("a", "b"))
        return LossParts(objective, param_groups=groups)

    spec = LossSpec(name="broken", summary="", build=build, learnable=True)

    assert "parameters_are_declared" in checks_that_fail(spec)


def test_expected_failure_that_passes_is_a_finding():
    reasons = {"loss_is_a_finite_scalar": "it is not", "no_such": "typo"}

    findings = check_loss(card(Proxies), expected_failures=reasons)

    assert [str(finding) for finding in findings] == [
        "loss broken: loss_is_a_finite_scalar: passes, yet is declared to fail: it is not",
        "loss broken: no_such: no such check",
    ]


ONE, TWO, FOUR = (torch.tensor([value]) for value in (1, 2, 4))


@pytest.mark.parametrize(
    ("tuples", "problem"),
    [
        (Pairs(ONE, TWO, ONE, FOUR), "promises triplets"),
        (Triplets(ONE, TWO, torch.tensor([99])), "outside the batch"),
        (Triplets(ONE, FOUR, FOUR), "a positive is not another image"),
        (Triplets(ONE, ONE, FOUR), "a positive is not another image"),
        (Triplets(ONE, TWO, TWO), "a negative is of the anchor's class"),
        (Triplets(ONE, TWO, torch.tensor([4, 5])), "differ in length"),
        (Triplets(ONE, TWO, FOUR.float()), "not int64"),
    ],
)
def test_wrong_tuples_are_caught(tuples, problem: str):
    spec = MinerSpec(name="broken", summary="", build=lambda p, c: lambda batch, progress: tuples)

    (finding,) = check_miner(spec)

    assert problem in finding.problem
