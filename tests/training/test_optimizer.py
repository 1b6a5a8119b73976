import inspect

import pytest
import torch
from torch import nn

from harness import protocol
from harness.contracts import LossParts, ParamGroup
from harness.errors import HarnessError
from harness.training.optimizer import make_optimizers, scheduled

# how torch computes, not what: nothing a protocol should decide
SWITCHES = {"foreach", "maximize", "capturable", "differentiable", "fused"}
IN_THEIR_OWN_FIELDS = {"params", "lr", "weight_decay"}


class Proxies(nn.Module):
    def __init__(self):
        super().__init__()
        self.proxies = nn.Parameter(torch.zeros(4, 3))
        self.log_vars = nn.Parameter(torch.zeros(4, 3))
        self.net = nn.Linear(3, 2)


def settings_of(optimizers):
    """Return {group: (lr, weight decay, number of parameters)}."""
    return {g["name"]: (g["lr"], g["weight_decay"], len(g["params"])) for g in optimizers.groups}


ADAM = {"name": "Adam", "lr": 0.01, "weight_decay": 0.1}


# --- groups -------------------------------------------------------------------------------------


def test_unnamed_parameters_of_a_loss_join_the_optimizer_as_a_group(make_encoder, make_training):
    optimizers = make_optimizers(
        make_encoder(), LossParts(Proxies()), make_training(optimizer=ADAM, head_lr_scale=10)
    )

    assert settings_of(optimizers) == {
        "backbone": (0.01, 0.1, 6),
        "head": (0.1, 0.1, 2),
        "loss": (0.01, 0.1, 4),
    }
    assert optimizers.loss is None


def test_groups_of_a_loss_get_what_they_ask_for(make_encoder, make_training):
    loss = Proxies()
    groups = (
        ParamGroup("means", [loss.proxies], lr=0.5),
        ParamGroup("spread", [loss.log_vars], lr_scale=100.0, weight_decay=0.0),
    )

    optimizers = make_optimizers(
        make_encoder(), LossParts(loss, param_groups=groups), make_training(optimizer=ADAM)
    )

    assert settings_of(optimizers) == {
        "backbone": (0.01, 0.1, 6),
        "head": (0.01, 0.1, 2),
        "means": (0.5, 0.1, 1),
        "spread": (1.0, 0, 1),
        "loss": (0.01, 0.1, 2),
    }


def test_a_loss_optimizer_takes_all_parameters_of_the_loss(make_encoder, make_training):
    loss = Proxies()
    groups = (
        ParamGroup("means", [loss.proxies], lr=0.5),
        ParamGroup("spread", [loss.log_vars], lr_scale=100.0),
    )
    own = {"name": "SGD", "lr": 0.02, "weight_decay": 0.3, "options": {"momentum": 0.9}}

    optimizers = make_optimizers(
        make_encoder(),
        LossParts(loss, param_groups=groups),
        make_training(optimizer=ADAM, loss_optimizer=own),
    )

    assert isinstance(optimizers.main, torch.optim.Adam)
    assert isinstance(optimizers.loss, torch.optim.SGD)
    assert {g["momentum"] for g in optimizers.loss.param_groups} == {0.9}
    assert [g["name"] for g in optimizers.main.param_groups] == ["backbone", "head"]
    assert settings_of(optimizers) == {
        "backbone": (0.01, 0.1, 6),
        "head": (0.01, 0.1, 2),
        "means": (0.5, 0.3, 1),
        "spread": (2.0, 0.3, 1),
        "loss": (0.02, 0.3, 2),
    }


def test_a_loss_optimizer_without_parameters_is_not_built(make_encoder, make_training):
    optimizers = make_optimizers(
        make_encoder(), LossParts(nn.Identity()), make_training(loss_optimizer=ADAM)
    )

    assert optimizers.loss is None
    assert [g["name"] for g in optimizers.groups] == ["backbone", "head"]


def test_a_loss_own_head_learns_with_the_head_even_inside_the_objective(
    make_encoder, make_training
):
    loss = Proxies()
    loss.head = nn.Linear(6, 3)

    optimizers = make_optimizers(
        make_encoder(head=loss.head),
        LossParts(loss, head=loss.head),
        make_training(optimizer=ADAM, head_lr_scale=2),
    )

    assert settings_of(optimizers)["head"] == (0.02, 0.1, 2)
    assert settings_of(optimizers)["loss"] == (0.01, 0.1, 4)


def test_an_encoder_without_a_parametric_head_has_no_head_group(make_encoder, make_training):
    optimizers = make_optimizers(
        make_encoder(head=nn.Identity()), LossParts(nn.Identity()), make_training()
    )

    assert [g["name"] for g in optimizers.groups] == ["backbone"]


def foreign(loss):
    return [ParamGroup("a", [nn.Parameter(torch.zeros(2))])]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        pytest.param(
            lambda loss: [ParamGroup("a", [loss.proxies]), ParamGroup("b", [loss.proxies])],
            r"shape \(4, 3\) is in group 'b' and in group 'a'",
            id="in-two-groups",
        ),
        pytest.param(
            lambda loss: [ParamGroup("a", [loss.proxies, loss.proxies])],
            "is in group 'a' and in group 'a'",
            id="twice-in-one",
        ),
        pytest.param(
            lambda loss: [ParamGroup("a", [loss.proxies]), ParamGroup("a", [loss.log_vars])],
            "'a', a name that is taken",
            id="name-twice",
        ),
        pytest.param(
            lambda loss: [ParamGroup("head", [loss.proxies])], "name that is taken", id="reserved"
        ),
        pytest.param(
            lambda loss: [ParamGroup("loss", [loss.proxies])], "leaves out 3", id="loss-and-rest"
        ),
        pytest.param(
            lambda loss: [ParamGroup("a", [loss.proxies], lr=1.0, lr_scale=2.0)],
            "lr 1.0 and for lr_scale 2.0",
            id="two-rates",
        ),
        pytest.param(foreign, "that its objective does not", id="not-of-the-objective"),
    ],
)
def test_contradicting_groups_are_refused(groups, message, make_encoder, make_training):
    loss = Proxies()
    parts = LossParts(loss, param_groups=tuple(groups(loss)))

    with pytest.raises(HarnessError, match=message) as caught:
        make_optimizers(make_encoder(), parts, make_training())

    assert caught.value.hint


def test_a_training_of_nothing_is_refused(make_encoder, make_training):
    encoder = make_encoder(head=nn.Identity())
    encoder.backbone = nn.Identity()

    with pytest.raises(HarnessError, match="nor loss has parameters"):
        make_optimizers(encoder, LossParts(nn.Identity()), make_training())


# --- optimizers by name -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(protocol.OPTIMIZER_OPTIONS))
def test_the_options_of_an_optimizer_are_those_of_torch(name):
    known = protocol.OPTIMIZER_OPTIONS[name] | SWITCHES | IN_THEIR_OWN_FIELDS
    # Adam got this switch in torch 2.7; AdamW is its other name
    known |= {"decoupled_weight_decay"} if name == "Adam" else set()

    parameters = set(inspect.signature(getattr(torch.optim, name)).parameters)

    assert parameters >= protocol.OPTIMIZER_OPTIONS[name]
    assert parameters <= known


@pytest.mark.parametrize("name", sorted(protocol.OPTIMIZER_OPTIONS))
def test_every_optimizer_is_built_with_its_options(name, make_encoder, make_training):
    signature = inspect.signature(getattr(torch.optim, name)).parameters
    options = {key: signature[key].default for key in protocol.OPTIMIZER_OPTIONS[name]}

    optimizers = make_optimizers(
        make_encoder(),
        LossParts(Proxies()),
        make_training(optimizer={"name": name, "lr": 0.01, "options": options}),
    )

    assert type(optimizers.main) is getattr(torch.optim, name)
    assert all(optimizers.main.defaults[key] == value for key, value in options.items())


def test_options_torch_refuses_are_reported(make_encoder, make_training):
    training = make_training(optimizer={"name": "SGD", "lr": 1, "options": {"nesterov": True}})

    with pytest.raises(HarnessError, match=r"SGD refuses its options.*momentum") as caught:
        make_optimizers(make_encoder(), LossParts(Proxies()), training)

    assert "options" in caught.value.hint


# --- schedule -----------------------------------------------------------------------------------


def test_steps_of_a_schedule_by_hand():
    rule = protocol.StepSchedule(every=2, gamma=0.5)

    assert [scheduled(8.0, rule, epochs) for epochs in range(6)] == [8, 8, 4, 4, 2, 2]
    assert scheduled(8.0, None, 100) == 8


@pytest.mark.parametrize(("every", "gamma"), [(1, 0.97), (3, 0.1), (5, 1 / 3)])
def test_learning_rates_equal_those_of_step_lr_to_the_last_bit(
    every, gamma, make_encoder, make_training
):
    optimizers = make_optimizers(
        make_encoder(),
        LossParts(Proxies()),
        make_training(head_lr_scale=7, schedule={"every": every, "gamma": gamma}),
    )
    twin = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 0.1}], lr=0.1)
    steps = torch.optim.lr_scheduler.StepLR(twin, every, gamma)

    for epoch in range(40):
        assert optimizers.set_learning_rates(epoch)["backbone"] == twin.param_groups[0]["lr"]
        twin.step()
        steps.step()


def test_learning_rates_depend_on_the_epoch_alone(make_encoder, make_training):
    schedule = {"every": 1, "gamma": 0.1}
    optimizers = make_optimizers(
        make_encoder(), LossParts(Proxies()), make_training(schedule=schedule)
    )

    before = optimizers.set_learning_rates(2)
    optimizers.set_learning_rates(5)

    assert optimizers.set_learning_rates(2) == before
    assert {g["lr"] for g in optimizers.groups} == set(before.values())
