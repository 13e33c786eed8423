"""Where a node keeps values that are too large for the log."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from noetl.errors import SettingsError
from noetl.node.profile import Profile
from noetl.settings import Settings
from noetl.store.artifact import Artifacts, Bucket
from noetl.store.artifacts.disk import DiskArtifacts, RunBlocking

DIRECTORY: Final = "directory"
_NATS: Final = "nats:"
_CLOUDS: Final = ("s3://", "gs://", "az://")


def artifacts_root(profile: Profile, settings: Settings, directory: Path) -> Path:
    """The folder in which processes of this node find them: of a bucket it holds copies, which may be deleted."""
    return directory / ("artifacts" if _is_directory(profile, settings) else "copies")


def open_artifacts(profile: Profile, settings: Settings, directory: Path, run_blocking: RunBlocking) -> Artifacts:
    """Nothing is connected to before it is used.

    Raises:
        SettingsError: `artifacts.url` is none.
    """
    root = artifacts_root(profile, settings, directory)
    if _is_directory(profile, settings):
        return DiskArtifacts(root, run_blocking)
    from noetl.store.artifacts.shared import SharedArtifacts  # noqa: PLC0415  only in a cluster

    return SharedArtifacts(root, _bucket(settings), run_blocking, settings.artifacts.local_max_bytes)


def _is_directory(profile: Profile, settings: Settings) -> bool:
    """A node that is alone has no use for a bucket."""
    return not profile.is_member or settings.artifacts.url == DIRECTORY


def _bucket(settings: Settings) -> Bucket:
    url = settings.artifacts.url
    if url.startswith(_CLOUDS):
        from noetl.store.artifacts.object_bucket import ObjectBucket  # noqa: PLC0415  its library is an extra

        return ObjectBucket(url)
    name = url.removeprefix(_NATS)
    if not url.startswith(_NATS) or not name.replace("-", "").replace("_", "").isalnum():
        known = ", ".join((f"{_NATS}BUCKET", *(f"{cloud}BUCKET/PREFIX" for cloud in _CLOUDS), DIRECTORY))
        raise SettingsError(f"artifacts.url is {url!r}: it must be one of {known}")
    from noetl.store.artifacts.nats_bucket import NatsBucket  # noqa: PLC0415  its driver is slow to import

    return NatsBucket(settings.nats, name)
