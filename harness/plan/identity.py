"""What a method is called, and the hashes that tell runs apart and pair them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, cast

from pydantic_core import PydanticUndefined

from harness.documents import digest_of
from harness.plan.assignments import same, short_path, show
from harness.plan.contracts import Chosen
from harness.plan.method import KINDS, Method
from harness.protocol import EXTRAS, content, diff, digest
from harness.registry import Registry
from harness.specs import BackboneSpec, Kind, MetricSpec
from harness.weights import fingerprint

KEY_DIGITS = 16
"""Hex digits of a key: 64 bits, so a store of a million runs collides with probability 3e-8."""


def label(method: Method, chosen: Mapping[Kind, Chosen], registry: Registry) -> str:
    """Return the name of a method: `contrastive+semihard[loss.pos_margin=0.2]`.

    Loss and miner, then any other component that is not the protocol's, then the recipe after an
    `@`, then every value that differs from the recipe or, without one, from the defaults. When
    the loss stands alone its parameters need no prefix: `hist[tau=24]`.
    """
    named: list[Kind] = ["loss"]
    if "miner" in chosen:
        named.append("miner")
    named.extend(kind for kind in KINDS if kind not in named and _replaced(method, kind))
    names = [_name(kind, chosen[kind], registry) for kind in named]
    values = _parameters(method, chosen) | _fields(method)
    prefix = "loss." if named == ["loss"] else ""
    shown = [
        f"{path.removeprefix(prefix)}={show(value)}" for path, value in sorted(values.items())
    ]
    recipe = f"@{method.recipe}" if method.recipe else ""
    return "+".join(names) + recipe + (f"[{','.join(shown)}]" if shown else "")


def _name(kind: Kind, chosen: Chosen, registry: Registry) -> str:
    """Return the short name, or the qualified one when two plugins offer it."""
    name = chosen.card.name
    shared = len(registry.matching(name, (kind,))) > 1
    return f"{chosen.origin.distribution}:{name}" if shared else name


def _replaced(method: Method, kind: Kind) -> bool:
    before, after = getattr(method.written, kind), getattr(method.protocol, kind)
    return after is not None and (before is None or before.name != after.name)


def _parameters(method: Method, chosen: Mapping[Kind, Chosen]) -> dict[str, Any]:
    """Return the components' parameters that a reader could not guess, by short path."""
    found: dict[str, Any] = {}
    for kind, component in chosen.items():
        usual = _usual(method, kind, component)
        for name, value in component.params.model_dump(mode="json").items():
            if name not in usual or not same(usual[name], value):
                found[f"{kind}.{name}"] = value
    return found


def _usual(method: Method, kind: Kind, component: Chosen) -> dict[str, Any]:
    """Return a component's defaults, overlaid by what the recipe or the protocol says.

    What a protocol says about its loss or miner is not overlaid: it is part of the method.
    """
    fields = component.card.params.model_fields.items()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields}
    usual = {name: value for name, value in defaults.items() if value is not PydanticUndefined}
    base = getattr(method.base, kind)
    if base and not _renamed(method, kind) and (kind not in {"loss", "miner"} or method.recipe):
        usual |= base.params
    return usual


def _renamed(method: Method, kind: Kind) -> bool:
    return getattr(method.base, kind).name != getattr(method.protocol, kind).name


def _fields(method: Method) -> dict[str, Any]:
    """Return fields outside the components that differ from the protocol or the recipe."""
    return {
        short_path(path): value
        for path, _, value in diff(method.base, method.protocol)
        if not _names_component(path) and path not in EXTRAS
    }


def _names_component(path: str) -> bool:
    kind, _, rest = path.partition(".")
    return kind in KINDS and rest.partition(".")[0] in {"", "name", "params"}


def method_content(
    method: Method,
    chosen: Mapping[Kind, Chosen],
    *,
    metrics: Mapping[str, Chosen],
    smoke: bool,
) -> dict[str, Any]:
    """Return everything but fold and seed that determines a result.

    Components stand with their distribution's version and resolved parameters, so neither the
    spelling of a name nor a default written out makes another run; weights stand with their
    SHA-256. Deviations need no entry: they
    are the difference between protocol and fields. Of the harness's own version
    major and minor count: a patch release does not change numbers.
    """
    backbone = cast("BackboneSpec", chosen["backbone"].card)
    fields = content(method.protocol)
    for kind in KINDS:
        del fields[kind]
    return {
        "harness": ".".join(version("dml-harness").split(".")[:2]),
        "protocol": digest(method.written),
        "fields": fields,
        "weights": fingerprint(method.protocol.backbone.weights, backbone.weights),
        "components": [_component(component) for component in chosen.values()],
        "metrics": {name: _definition(metric) for name, metric in metrics.items()},
        "smoke": smoke,
    }


def _component(chosen: Chosen) -> dict[str, Any]:
    return {
        "kind": chosen.card.kind,
        "name": chosen.card.name,
        "distribution": chosen.origin.distribution,
        "version": chosen.origin.version,
        "params": chosen.params.model_dump(mode="json"),
    }


def _definition(metric: Chosen) -> dict[str, Any]:
    return {**_component(metric), "definition": cast("MetricSpec", metric.card).version}


def key_of(value: object) -> str:
    """Return the leading hex digits of a content's SHA-256."""
    return digest_of(value)[:KEY_DIGITS]
