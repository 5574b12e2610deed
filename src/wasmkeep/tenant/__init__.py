"""The tenant's side: compile a program, attest a keep, deliver into it, stream, and hold the receipt.

    from wasmkeep.tenant import DeploymentRequest, Policy, deploy

    outcome = deploy(DeploymentRequest(program, host=url, token=token, policy=Policy.default()))

docs/python-api.md describes these names; the rest of the package promises nothing. They are loaded when first
used, because the compiler and the cryptography behind them take a while to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.tenant.client import HostClient
    from wasmkeep.tenant.deployment import Deployment, Outcome, deploy
    from wasmkeep.tenant.preparation import Prepared, prepare
    from wasmkeep.tenant.request import DeliveredDirectory, DeploymentRequest, OtherHost
    from wasmkeep.tenant.streams import BytesInput, BytesOutput, FileInput, FileOutput

__all__ = [
    "BytesInput",
    "BytesOutput",
    "DeliveredDirectory",
    "Deployment",
    "DeploymentRequest",
    "FileInput",
    "FileOutput",
    "HostClient",
    "OtherHost",
    "Outcome",
    "Policy",
    "Prepared",
    "deploy",
    "prepare",
]

_HOMES = {
    "BytesInput": "wasmkeep.tenant.streams",
    "BytesOutput": "wasmkeep.tenant.streams",
    "DeliveredDirectory": "wasmkeep.tenant.request",
    "Deployment": "wasmkeep.tenant.deployment",
    "DeploymentRequest": "wasmkeep.tenant.request",
    "FileInput": "wasmkeep.tenant.streams",
    "FileOutput": "wasmkeep.tenant.streams",
    "HostClient": "wasmkeep.tenant.client",
    "OtherHost": "wasmkeep.tenant.request",
    "Outcome": "wasmkeep.tenant.deployment",
    "Policy": "wasmkeep.evidence.policy",
    "Prepared": "wasmkeep.tenant.preparation",
    "deploy": "wasmkeep.tenant.deployment",
    "prepare": "wasmkeep.tenant.preparation",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
