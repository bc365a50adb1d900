"""What handlers are given: made once per application, looked up by parameter name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation

from opinionlens_server.access import Access
from opinionlens_server.active_model import ActiveModel
from opinionlens_server.fetches import Fetches
from opinionlens_server.following import Follower
from opinionlens_server.inference import Judge
from opinionlens_server.metrics import Metrics
from opinionlens_server.panel import Panel
from opinionlens_server.registry import RegistryListing
from opinionlens_server.sessions import Sessions
from opinionlens_server.state import SharedState
from pipelines.registry.cache import ModelCache
from pipelines.settings import Settings

# How handlers ask for them. They are our own objects, so there is nothing to validate.
SettingsDependency = NamedDependency[SkipValidation[Settings]]
ActiveModelDependency = NamedDependency[SkipValidation[ActiveModel]]
CacheDependency = NamedDependency[SkipValidation[ModelCache]]
JudgeDependency = NamedDependency[SkipValidation[Judge]]
MetricsDependency = NamedDependency[SkipValidation[Metrics]]
AccessDependency = NamedDependency[SkipValidation[Access]]
SessionsDependency = NamedDependency[SkipValidation[Sessions]]
SharedDependency = NamedDependency[SkipValidation[SharedState]]
FetchesDependency = NamedDependency[SkipValidation[Fetches]]
ListingDependency = NamedDependency[SkipValidation[RegistryListing]]
FollowerDependency = NamedDependency[SkipValidation[Follower | None]]
PanelDependency = NamedDependency[SkipValidation[Panel]]


def provide(objects: Mapping[str, object]) -> dict[str, Provide]:
    """Give each object to the handlers that have a parameter of its name."""
    return {name: Provide(_giving(value), sync_to_thread=False) for name, value in objects.items()}


def _giving(value: object) -> Callable[[], object]:
    def give() -> object:
        return value

    return give
