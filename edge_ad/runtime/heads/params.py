"""Checking a head's parameters, which come from a bundle, before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_ad.bundle.names import shown
from edge_ad.errors import SchemaError
from edge_ad.runtime.engines.base import Tensor


class Params(BaseModel):
    """What a head computes with; other keys only say where these come from. output: name of a tensor."""

    model_config = ConfigDict(strict=True, extra="ignore")

    output: str


AnyParams = TypeVar("AnyParams", bound=Params)


def checked(
    head: str, model: type[AnyParams], params: dict[str, Any], outputs: Mapping[str, Tensor]
) -> tuple[AnyParams, Tensor]:
    """The parameters of `head`, and the output that they name. Raises SchemaError."""
    try:
        found = model.model_validate(params)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise unfit(head, f"'{shown(key)}': {shown(first['msg'])}") from error
    if found.output not in outputs:
        raise unfit(head, f"no output '{shown(found.output)}' among {shown(', '.join(outputs))}")
    return found, outputs[found.output]


def unfit(head: str, reason: str) -> SchemaError:
    """The error for parameters that are wrong, or do not fit the network's outputs."""
    return SchemaError(
        f"the parameters of score head '{head}' do not fit the network ({reason})",
        hint="compile the bundle again",
    )
