"""Which parameters learn how fast.

Groups, in this order: `backbone`, `head`, then those of the loss by their own names, and `loss`
for the parameters of the objective that no group names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harness import protocol
from harness.contracts import LossParts, ParamGroup
from harness.errors import HarnessError
from harness.training.encoder import Encoder

ENCODER_GROUPS: tuple[str, ...] = ("backbone", "head")


@dataclass(frozen=True, slots=True)
class Optimizers:
    """The optimizers of one run.

    Attributes:
        main: Of the encoder, and of the loss's parameters where they have none of their own.
        loss: Of the loss's parameters, if the protocol gives them one and there are any.
        schedule: Applied to every group of both.
    """

    main: torch.optim.Optimizer
    loss: torch.optim.Optimizer | None
    schedule: protocol.StepSchedule | None

    def __iter__(self) -> Iterator[torch.optim.Optimizer]:
        """Yield each optimizer, the main one first."""
        yield self.main
        if self.loss is not None:
            yield self.loss

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of all optimizers, each with its `name`."""
        return [group for optimizer in self for group in optimizer.param_groups]

    def set_learning_rates(
        self, scheduled_epochs: int, *, still: Collection[str] = ()
    ) -> dict[str, float]:
        """Set the learning rate of each group for the epoch that follows so many; return them.

        A function of the count alone, so that a resumed run needs no state of a scheduler. The
        rate of a group named in `still` is 0.
        """
        for group in self.groups:
            rate = scheduled(group["initial_lr"], self.schedule, scheduled_epochs)
            group["lr"] = 0.0 if group["name"] in still else rate
        return {group["name"]: group["lr"] for group in self.groups}


def scheduled(learning_rate: float, schedule: protocol.StepSchedule | None, epochs: int) -> float:
    """Return a learning rate after so many epochs of a schedule.

    >>> scheduled(0.5, protocol.StepSchedule(every=10, gamma=0.1), 9)
    0.5
    >>> scheduled(0.5, protocol.StepSchedule(every=10, gamma=0.1), 10)
    0.05
    """
    if schedule is not None:
        # one factor after the other, for the rounding of torch's StepLR
        for _ in range(epochs // schedule.every):
            learning_rate *= schedule.gamma
    return learning_rate


def make_optimizers(encoder: Encoder, parts: LossParts, training: protocol.Training) -> Optimizers:
    """Build the optimizers a protocol asks for.

    A group's own `lr` is absolute wherever the group lives; `lr_scale` is relative to the
    optimizer it joins. Parameters must be on their device already.

    Raises:
        HarnessError: A parameter is in two groups, a group contradicts itself, torch refuses an
            option, or there is nothing to train.
    """
    settings = training.optimizer
    main = [
        _settle("backbone", encoder.backbone.parameters(), settings),
        _settle("head", encoder.head.parameters(), settings, scale=training.head_lr_scale),
    ]
    loss = [
        _settle(
            group.name,
            group.params,
            training.loss_optimizer or settings,
            lr=group.lr,
            scale=group.lr_scale,
            weight_decay=group.weight_decay,
        )
        for group in complete_groups(encoder, parts)
    ]
    main, loss = _not_empty(main), _not_empty(loss)
    if training.loss_optimizer is None:
        main, loss = main + loss, []
    if not main:
        raise HarnessError(
            "neither backbone, head nor loss has parameters to train",
            hint="set training.epochs: 0 to evaluate the encoder as it is",
        )
    own = training.loss_optimizer
    return Optimizers(
        main=_build(settings, main),
        loss=_build(own, loss) if own is not None and loss else None,
        schedule=training.schedule,
    )


def complete_groups(encoder: Encoder, parts: LossParts) -> list[ParamGroup]:
    """Return the loss's groups with `loss` for the parameters of the objective none names.

    Raises:
        HarnessError: Names or parameters clash, or a group holds what is not the objective's.
    """
    owner: dict[int, str] = {}
    _claim("backbone", encoder.backbone.parameters(), owner)
    _claim("head", encoder.head.parameters(), owner)
    objective = {id(parameter): parameter for parameter in parts.objective.parameters()}
    names = set(ENCODER_GROUPS)
    for group in parts.param_groups:
        _check_group(group, names, objective)
        _claim(group.name, group.params, owner)
        names.add(group.name)
    rest = [parameter for key, parameter in objective.items() if key not in owner]
    if rest and "loss" in names:
        raise HarnessError(
            f"group 'loss' leaves out {len(rest)} parameters of the objective",
            hint="name them in a group, or call that group otherwise",
        )
    return [*parts.param_groups, ParamGroup("loss", rest)] if rest else [*parts.param_groups]


def _claim(name: str, params: Iterable[nn.Parameter], owner: dict[int, str]) -> None:
    """Note the group of each parameter; refuse one that has a group already."""
    for parameter in params:
        if id(parameter) in owner:
            raise HarnessError(
                f"a parameter of shape {tuple(parameter.shape)} is in group {name!r} and in "
                f"group {owner[id(parameter)]!r}",
                hint="each parameter belongs to one group; the head's belong to 'head'",
            )
        owner[id(parameter)] = name


def _check_group(
    group: ParamGroup, taken: set[str], objective: Mapping[int, nn.Parameter]
) -> None:
    """Refuse a group of a loss that repeats a name, contradicts itself or would not be saved."""
    if group.name in taken:
        raise HarnessError(
            f"the loss names a parameter group {group.name!r}, a name that is taken",
            hint="rename it; its learning rate needs a column of its own",
        )
    if group.lr is not None and group.lr_scale != 1:
        raise HarnessError(
            f"parameter group {group.name!r} asks for lr {group.lr} and for lr_scale "
            f"{group.lr_scale}",
            hint="give one of them",
        )
    for parameter in group.params:
        if id(parameter) not in objective:
            raise HarnessError(
                f"group {group.name!r} of the loss holds a parameter of shape "
                f"{tuple(parameter.shape)} that its objective does not",
                hint="register it in the objective, or no checkpoint keeps it",
            )


def _settle(
    name: str,
    params: Iterable[nn.Parameter],
    settings: protocol.Optimizer,
    *,
    lr: float | None = None,
    scale: float = 1.0,
    weight_decay: float | None = None,
) -> dict[str, Any]:
    """Return a group as torch takes it; `initial_lr` is what a schedule starts from."""
    rate = settings.lr * scale if lr is None else lr
    decay = settings.weight_decay if weight_decay is None else weight_decay
    return {
        "name": name,
        "params": list(params),
        "lr": rate,
        "initial_lr": rate,
        "weight_decay": decay,
    }


def _not_empty(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group for group in groups if group["params"]]


def _build(settings: protocol.Optimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Build a torch optimizer from settings whose names the protocol has checked."""
    try:
        return getattr(torch.optim, settings.name)(groups, lr=settings.lr, **settings.options)
    except (TypeError, ValueError) as error:
        raise HarnessError(
            f"torch.optim.{settings.name} refuses its options {settings.options}: {error}",
            hint="correct training.optimizer.options (or those of training.loss_optimizer)",
        ) from error
