"""Each check catches the mistake it is named after: a catalogue of broken components."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from harness.api import (
    BackboneSpec,
    BackendSpec,
    Batch,
    BuildContext,
    ComponentSpec,
    DatasetSpec,
    HarnessError,
    LossParts,
    LossSpec,
    MetricSpec,
    MinerSpec,
    MissingDataError,
    NoParams,
    Pairs,
    ParamGroup,
    Params,
    Preprocessing,
    Progress,
    RecipeSpec,
    ReplaySpec,
    SamplerContext,
    SamplerSpec,
    Search,
    Triplets,
    WeightFile,
)
from harness.testing.conformance import CHECKS, Report, check, check_all
from harness.testing.toys import toy_table


def failed(spec: ComponentSpec) -> dict[str, str]:
    """Name of each check that found something, to what it found."""
    return {finding.check: finding.problem for finding in check(spec).findings}


# --- losses -------------------------------------------------------------------------------------


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


class LosesTheGenerator(Proxies):
    def __init__(self, context, generator):
        super().__init__(context, None)


class WithoutParameters(nn.Module):
    def __init__(self, context, generator):
        super().__init__()


class LikesLowLabels(WithoutParameters):
    def forward(self, batch, progress):
        return (batch.embeddings.square().sum(1) * batch.labels).mean()


class KeepsParametersInAList(nn.Module):
    def __init__(self, context, generator):
        super().__init__()
        shape = context.num_classes, context.embedding_dim
        self.proxies = [torch.randn(shape, generator=generator, dtype=torch.double)]
        self.proxies[0].requires_grad_()

    def forward(self, batch, progress):
        return nn.functional.cross_entropy(batch.embeddings @ self.proxies[0].T, batch.labels)


class KeepsAMeanOutsideItsBuffers(Proxies):
    def __init__(self, context, generator):
        super().__init__(context, generator)
        self.mean = torch.zeros(context.embedding_dim, dtype=torch.double)

    def forward(self, batch, progress):
        self.mean = 0.9 * self.mean + 0.1 * batch.embeddings.detach().mean(0)
        moved = Batch(batch.embeddings - self.mean, batch.labels)
        return super().forward(moved, progress)


class DrawsFromTheGlobalStream(Proxies):
    def forward(self, batch, progress):
        noise = torch.randn_like(batch.embeddings)
        return super().forward(Batch(batch.embeddings + noise, batch.labels), progress)


class ComputesInSinglePrecision(Proxies):
    def forward(self, batch, progress):
        logits = batch.embeddings.float() @ self.proxies.float().T
        return nn.functional.cross_entropy(logits, batch.labels)


class OverflowsInHalfPrecision(Proxies):
    def forward(self, batch, progress):
        return super().forward(batch, progress) + (batch.embeddings * 60_000).square().mean()


class OffByOneLabel(Proxies):
    def forward(self, batch, progress):
        return nn.functional.cross_entropy(batch.embeddings @ self.proxies.T, batch.labels + 1)


class FailsOnALoneImage(Proxies):
    def forward(self, batch, progress):
        same = batch.labels[:, None] == batch.labels
        partners = same.sum(1) - 1
        return super().forward(batch, progress) + 0 * (1 / partners).max()


class NeedsTwoImages(Proxies):
    def forward(self, batch, progress):
        return super().forward(batch, progress) + 0 * batch.embeddings.std(0).sum()


class ComparesNeighboursInTheBatch(WithoutParameters):
    def forward(self, batch, progress):
        return (batch.embeddings[1:] - batch.embeddings[:-1]).square().sum()


class UsesBatchStatistics(Proxies):
    def forward(self, batch, progress):
        centred = batch.embeddings - batch.embeddings.mean(0)
        return super().forward(Batch(centred, batch.labels), progress)


class Sums(Proxies):
    def forward(self, batch, progress):
        return super().forward(batch, progress) * len(batch.labels)


def loss(
    objective: Callable[..., nn.Module], *, learnable: bool = True, per_sample: bool = False
) -> LossSpec:
    def build(params: NoParams, context: BuildContext) -> LossParts:
        return LossParts(objective(context, context.generator))

    return LossSpec(
        name="broken",
        summary="One line.",
        build=build,
        learnable=learnable,
        per_sample=per_sample,
    )


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_sound_loss_has_no_findings(per_sample):
    assert failed(loss(Proxies, per_sample=per_sample)) == {}


BROKEN_LOSSES = [
    (OnePerSample, "loss_is_a_finite_scalar"),
    (Detached, "loss_is_a_finite_scalar"),
    (OffByOneLabel, "loss_is_a_finite_scalar"),
    (IdleParameter, "every_parameter_gets_a_gradient"),
    (KeepsParametersInAList, "everything_learnable_is_registered"),
    (KeepsAMeanOutsideItsBuffers, "state_is_registered"),
    (KeepsAMeanOutsideItsBuffers, "state_survives_a_checkpoint"),
    (ForgetsItsScale, "state_survives_a_checkpoint"),
    (FirstSampleCountsDouble, "order_of_the_batch_does_not_matter"),
    (FailsOnOneClass, "one_class_gives_a_finite_loss_or_an_error"),
    (FailsOnSingletons, "singletons_give_a_finite_loss_or_an_error"),
    (FailsOnALoneImage, "uneven_classes_give_a_finite_loss_or_an_error"),
    (NeedsTwoImages, "one_image_gives_a_finite_loss_or_an_error"),
    (WritesIntoEmbeddings, "inputs_are_left_as_they_are"),
    (LosesTheGenerator, "weights_come_from_the_generator"),
    (DrawsFromTheGlobalStream, "draws_come_from_the_generator"),
    (ComputesInSinglePrecision, "dtype_follows_the_embeddings"),
    (OverflowsInHalfPrecision, "float16_autocast_stays_finite"),
    (LikesLowLabels, "names_of_classes_do_not_matter"),
    (ComparesNeighboursInTheBatch, "order_of_the_batch_does_not_matter"),
]


@cache
def reports_on_broken_losses() -> dict[type, Report]:
    """Check them together: they share the two processes of the last check."""
    objectives = list(dict.fromkeys(objective for objective, _ in BROKEN_LOSSES))
    cards = [loss(each, learnable=issubclass(each, Proxies)) for each in objectives]
    return dict(zip(objectives, check_all(cards), strict=True))


@pytest.mark.parametrize(("objective", "name"), BROKEN_LOSSES)
@pytest.mark.filterwarnings("ignore:std")
def test_mistake_in_a_loss_is_caught(objective: type, name: str):
    findings = reports_on_broken_losses()[objective].findings

    assert name in {finding.check for finding in findings}


@pytest.mark.parametrize("objective", [UsesBatchStatistics, Sums])
def test_a_loss_that_is_no_mean_over_samples_must_not_say_so(objective):
    assert failed(loss(objective)) == {}
    assert set(failed(loss(objective, per_sample=True))) == {"gradients_survive_two_processes"}


def test_undeclared_parameters_are_caught():
    assert "parameters_are_declared" in failed(loss(Proxies, learnable=False))


def test_parameter_in_two_groups_is_caught():
    def build(params: NoParams, context: BuildContext) -> LossParts:
        objective = Proxies(context, context.generator)
        groups = tuple(ParamGroup(name, [objective.proxies]) for name in ("a", "b"))
        return LossParts(objective, param_groups=groups)

    spec = LossSpec(name="broken", summary="One line.", build=build, learnable=True)

    assert "parameters_are_declared" in failed(spec)


class DeafHead(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).detach().requires_grad_()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(DeafHead, id="detached"),
        pytest.param(lambda f, d: nn.Linear(f, d + 1), id="too-wide"),
    ],
)
def test_a_head_that_cannot_be_trained_is_caught(head):
    def build(params: NoParams, context: BuildContext) -> LossParts:
        width = context.feature_dim, context.embedding_dim
        return LossParts(Proxies(context, context.generator), head=head(*width))

    spec = LossSpec(name="broken", summary="One line.", build=build, learnable=True)

    assert "the_head_learns" in failed(spec)


def test_a_loss_that_refuses_a_batch_in_words_passes():
    class Refuses(Proxies):
        def forward(self, batch, progress):
            if len(batch.labels) < 2:
                raise HarnessError("two images at least")
            return super().forward(batch, progress)

    assert failed(loss(Refuses)) == {}


# --- declared failures --------------------------------------------------------------------------


def test_a_declared_failure_is_no_finding():
    spec = loss(ComparesNeighboursInTheBatch, learnable=False)
    reasons = {"order_of_the_batch_does_not_matter": "it is about the order"}

    report = check(spec, expected_failures=reasons)

    assert report.findings == ()
    assert report.count("expected") == 1


def test_a_declared_failure_that_passes_is_a_finding():
    reasons = {"loss_is_a_finite_scalar": "it is not", "no_such": "typo"}

    report = check(loss(Proxies), expected_failures=reasons)

    assert [str(finding) for finding in report.findings] == [
        "loss broken: no_such: no such check",
        "loss broken: loss_is_a_finite_scalar: passes, yet is declared to fail: it is not",
    ]


def test_what_cannot_be_built_is_a_finding():
    def build(params, context):
        raise ImportError("no such module")

    spec = BackboneSpec(name="broken", summary="One line.", build=build, features=1)

    assert failed(spec) == {"the_component_is_built": "ImportError: no such module"}


def test_a_component_with_required_parameters_is_skipped_with_a_reason():
    class Needy(Params):
        path: Annotated[str, Field(description="where")]

    spec = DatasetSpec(name="needy", summary="One line.", build=lambda p, c: None, params=Needy)

    report = check(spec)

    assert {(o.status, o.note) for o in report.outcomes} == {("skipped", "path must be given")}


# --- cards --------------------------------------------------------------------------------------


class Silent(Params):
    margin: Annotated[float, Field(gt=0)] = 0.1


class Endless(Params):
    margin: Annotated[float | None, Field(description="cosine margin")] = 0.1


class SearchesTooFar(Params):
    margin: Annotated[float, Field(gt=0, le=1, description="margin"), Search(0.1, 2)] = 0.1


class Sound(Params):
    margin: Annotated[float, Field(gt=0, le=2, description="margin"), Search(0.1, 2)] = 0.1
    count: Annotated[Annotated[int, Field(ge=1)] | None, Field(description="how many")] = None
    way: Annotated[Literal["up", "down"], Field(description="which way")] = "up"
    sizes: Annotated[tuple[int, ...], Field(description="of each")] = (1, 2)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"summary": "two\nlines"}, "summary_is_one_line"),
        ({"summary": ""}, "summary_is_one_line"),
        ({"params": Silent}, "parameters_are_described"),
        ({"params": Endless}, "numbers_have_a_range"),
        ({"params": SearchesTooFar}, "searches_stay_in_range"),
    ],
)
def test_mistake_on_a_card_is_caught(facts, name: str):
    spec = ReplaySpec(
        **{"name": "broken", "summary": "One line.", "build": lambda p, c: print} | facts
    )

    assert set(failed(spec)) == {name}


def test_a_sound_card_has_no_findings():
    spec = ReplaySpec(name="x", summary="One line.", build=lambda p, c: print, params=Sound)

    assert failed(spec) == {}


# --- miners -------------------------------------------------------------------------------------

ONE, TWO, FOUR = (torch.tensor([value]) for value in (1, 2, 4))


def miner(mine: Callable[[Batch, BuildContext], object]) -> MinerSpec:
    def build(params, context):
        return lambda batch, progress: mine(batch, context)

    return MinerSpec(name="broken", summary="One line.", build=build)


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
    assert problem in failed(miner(lambda batch, context: tuples))["tuples_are_valid"]


def some_triplets(batch: Batch, generator: torch.Generator | None) -> Triplets:
    same = batch.labels[:, None] == batch.labels
    positive = same & ~torch.eye(len(same), dtype=torch.bool)
    every = (positive[:, :, None] & ~same[:, None, :]).nonzero()
    return Triplets(*every[torch.randperm(len(every), generator=generator)[:5]].T)


def most_similar(batch: Batch) -> Triplets:
    """Take a positive and a negative by sorting, which finds one even where there is none."""
    same = (batch.labels[:, None] == batch.labels).float()
    others = same - torch.eye(len(same))
    return Triplets(torch.arange(len(same)), others.argmax(1), same.argmin(1))


def test_a_sound_miner_has_no_findings():
    assert failed(miner(lambda batch, context: some_triplets(batch, context.generator))) == {}


@pytest.mark.parametrize(
    "name",
    [
        "one_class_gives_valid_tuples_or_an_error",
        "singletons_give_valid_tuples_or_an_error",
        "uneven_classes_give_valid_tuples_or_an_error",
    ],
)
def test_tuples_out_of_nowhere_are_caught(name: str):
    found = failed(miner(lambda batch, context: most_similar(batch)))

    assert name in found
    assert "tuples_are_valid" not in found


def test_a_miner_on_the_global_stream_is_caught():
    found = failed(miner(lambda batch, context: some_triplets(batch, None)))

    assert set(found) == {"draws_come_from_the_generator"}


def test_a_miner_that_normalises_in_place_is_caught():
    def mine(batch, context):
        batch.embeddings.div_(batch.embeddings.norm(dim=1, keepdim=True))
        return some_triplets(batch, context.generator)

    assert set(failed(miner(mine))) == {"inputs_are_left_as_they_are"}


def test_a_miner_that_depends_on_the_dtype_is_caught():
    def mine(batch, context):
        generator = torch.Generator().manual_seed(int(batch.embeddings.dtype == torch.float64))
        return some_triplets(batch, generator)

    assert set(failed(miner(mine))) == {"float32_and_float64_give_the_same_tuples"}


# --- samplers -----------------------------------------------------------------------------------


class SoundSampler:
    """Two rows of each of six classes."""

    def __init__(self, context: SamplerContext) -> None:
        self.context = context

    def rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.context.seed, epoch])

    def batches(self, epoch: int):
        rng = self.rng(epoch)
        for _ in range(self.context.iterations or 4):
            yield self.batch(rng)

    def batch(self, rng):
        labels = self.context.labels
        classes = rng.permutation(labels.max() + 1)[: self.context.batch_size // 2]
        return [row for c in classes for row in rng.permutation(np.flatnonzero(labels == c))[:2]]


class ShortBatches(SoundSampler):
    def batch(self, rng):
        return super().batch(rng)[:-1]


class RowsFromOne(SoundSampler):
    def batch(self, rng):
        return [row + 1 for row in super().batch(rng)]


class NeverEnds(SoundSampler):
    def batches(self, epoch):
        while True:
            yield self.batch(self.rng(epoch))


class KeepsItsOwnCount(SoundSampler):
    def batches(self, epoch):
        rng = self.rng(epoch)
        for _ in range(4):
            yield self.batch(rng)


class RemembersEarlierEpochs(SoundSampler):
    def __init__(self, context):
        super().__init__(context)
        self.stream = np.random.default_rng(context.seed)

    def rng(self, epoch):
        return self.stream


class SameEachEpoch(SoundSampler):
    def rng(self, epoch):
        return np.random.default_rng(self.context.seed)


class IgnoresTheSeed(SoundSampler):
    def rng(self, epoch):
        return np.random.default_rng(epoch)


class UsesTheGlobalStream(SoundSampler):
    def rng(self, epoch):
        return np.random.default_rng([random.randrange(10**9), epoch])


class OneClassTooMany(SoundSampler):
    def batch(self, rng):
        rows = super().batch(rng)
        alone = np.setdiff1d(self.context.labels, self.context.labels[rows])
        rows[-1] = np.flatnonzero(self.context.labels == alone[0])[0]
        return rows


class Two(Params):
    m: Annotated[int, Field(ge=1, le=9, description="images of each class")] = 2


def sampler(kind: type) -> SamplerSpec:
    return SamplerSpec(
        name="broken",
        summary="One line.",
        params=Two,
        build=lambda params, context: kind(context),
        images_per_class="m",
    )


def test_a_sound_sampler_has_no_findings():
    assert failed(sampler(SoundSampler)) == {}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ShortBatches, "batches_hold_rows_of_the_training_part"),
        (RowsFromOne, "batches_hold_rows_of_the_training_part"),
        (NeverEnds, "batches_hold_rows_of_the_training_part"),
        (KeepsItsOwnCount, "asked_number_of_batches_is_kept"),
        (RemembersEarlierEpochs, "an_epoch_depends_on_seed_and_number_alone"),
        (SameEachEpoch, "epochs_and_seeds_differ"),
        (IgnoresTheSeed, "epochs_and_seeds_differ"),
        (UsesTheGlobalStream, "global_streams_change_nothing"),
        (OneClassTooMany, "promised_images_per_class_are_there"),
    ],
)
def test_mistake_in_a_sampler_is_caught(kind: type, name: str):
    assert name in failed(sampler(kind))


# --- metrics ------------------------------------------------------------------------------------


def metric(value: Callable[..., object], **facts) -> MetricSpec:
    return MetricSpec(name="broken", summary="One line.", build=lambda p, c: value, **facts)


def hit_rate(ranking) -> float:
    return float((ranking.first_hit_rank == 1).double().mean())


def test_a_sound_metric_has_no_findings():
    assert failed(metric(hit_rate)) == {}


@pytest.mark.parametrize(
    ("value", "facts", "name"),
    [
        (lambda r: 100 * hit_rate(r), {}, "value_is_in_bounds"),
        (lambda r: float("nan"), {}, "value_is_in_bounds"),
        (lambda r: (r.first_hit_rank == 1).double().mean(), {}, "value_is_in_bounds"),
        (
            lambda r: float(r.first_hit_rank[0] == 1) + r.query.values[0, 0].item(),
            {"bounds": (-9.0, 9.0)},
            "order_of_the_queries_does_not_matter",
        ),
        (
            lambda r: hit_rate(r) / (1 + np.random.default_rng().random()),
            {},
            "asking_again_gives_the_same",
        ),
        (hit_rate, {"higher_is_better": False}, "better_embeddings_score_better"),
    ],
)
def test_mistake_in_a_metric_is_caught(value, facts, name: str):
    assert name in failed(metric(value, **facts))


# --- backbones ----------------------------------------------------------------------------------


class Patches(nn.Module):
    """A sound backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class LooksAtTheBatch(Patches):
    def forward(self, images):
        return super().forward(images - images.mean(0))


class IdleClassifier(Patches):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 10)


def backbone(module: type, **facts) -> BackboneSpec:
    facts = {"features": 4, "input_size": 16} | facts
    return BackboneSpec(name="x", summary="One line.", build=lambda p, c: module(), **facts)


def test_a_sound_backbone_has_no_findings():
    assert failed(backbone(Patches)) == {}


@pytest.mark.parametrize(
    ("module", "facts", "name"),
    [
        (Patches, {"features": 5}, "features_are_as_declared"),
        (
            Patches,
            {"preprocessing": Preprocessing(mean=(0.5,))},
            "preprocessing_fits_the_channels",
        ),
        (Patches, {"weights": {"imagenet": WeightFile("ftp://x", "")}}, "weights_are_pinned"),
        (LooksAtTheBatch, {}, "images_do_not_see_one_another"),
        (IdleClassifier, {}, "every_parameter_gets_a_gradient"),
    ],
)
def test_mistake_in_a_backbone_is_caught(module, facts, name: str):
    assert name in failed(backbone(module, **facts))


# --- what reads files ---------------------------------------------------------------------------


def dataset(build: Callable[..., object], **facts) -> DatasetSpec:
    return DatasetSpec(name="broken", summary="One line.", build=build, **facts)


def missing(hint: str | None) -> Callable[..., object]:
    def build(params, context):
        raise MissingDataError("the files are not there", hint=hint)

    return build


def another_each_time(params, context):
    return toy_table(num_classes=int(torch.randint(2, 1000, ())), images_per_class=1, size=(1, 1))


def test_a_sound_dataset_has_no_findings():
    assert failed(dataset(lambda p, c: toy_table(), num_images=32, num_classes=8)) == {}
    assert failed(dataset(missing("fetch them"))) == {}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (dataset(missing(None)), "missing_files_are_explained"),
        (dataset(lambda p, c: Path("/no/such/file").read_text()), "missing_files_are_explained"),
        (dataset(lambda p, c: toy_table(), num_images=33), "counts_are_as_declared"),
        (dataset(lambda p, c: toy_table(), num_classes=9), "counts_are_as_declared"),
        (dataset(another_each_time), "reading_again_gives_the_same_rows"),
        (
            RecipeSpec(
                name="x", summary="One line.", method="hist", package="harness", path="x.yaml"
            ),
            "the_file_is_the_announced_recipe",
        ),
        (
            ReplaySpec(name="x", summary="One line.", build=lambda p, c: None),
            "an_adapter_is_built",
        ),
        (
            BackendSpec(name="no_such_backend", summary="One line.", build=lambda p, c: None),
            "backends_agree",
        ),
    ],
)
def test_mistake_in_what_reads_files_is_caught(spec: ComponentSpec, name: str):
    assert name in failed(spec)


def test_every_check_is_seen_failing_here():
    source = Path(__file__).read_text()
    names = {name for checks in CHECKS.values() for name in checks}

    unseen = {name for name in names if source.count(f'"{name}"') < 1 + (name in HARD_TO_BREAK)}

    assert unseen == set(HARD_TO_BREAK)


HARD_TO_BREAK = (
    "the_gpu_gives_the_same_loss",
    "the_gpu_gives_valid_tuples",
    "bfloat16_autocast_stays_finite",  # its range is that of float32
)
