"""A bucket in the object store of a cloud, or in what speaks like one: S3, Google Cloud Storage, Azure.

Keys and regions are taken from the environment, or from the machine's role, as their own command lines do (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …).
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from noetl.errors import SettingsError
from noetl.store.artifact import BucketUnavailable

_RETRY: Final[Any] = {"max_retries": 3, "retry_timeout": dt.timedelta(seconds=20)}


class ObjectBucket:
    """`url` is `s3://BUCKET/PREFIX`, `gs://…` or `az://…`."""

    def __init__(self, url: str) -> None:
        try:
            import obstore  # noqa: PLC0415  an extra, and slow to import
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError:
            raise SettingsError(f"artifacts.url is {url}: that needs the extra 'objects' (pip install 'noetl[objects]')") from None
        self._url = url
        self._api = obstore
        try:
            self._store = from_url(url, retry_config=_RETRY)
        except obstore.exceptions.BaseError as error:
            raise SettingsError(f"artifacts.url is {url}: {_first_line(error)}") from error

    async def has(self, digest: str) -> bool:
        try:
            await self._api.head_async(self._store, _key(digest))
        except FileNotFoundError:
            return False
        except self._api.exceptions.BaseError as error:
            raise self._unavailable(error) from error
        return True

    async def put(self, digest: str, data: bytes) -> None:
        try:
            await self._api.put_async(self._store, _key(digest), data)
        except (self._api.exceptions.BaseError, FileNotFoundError) as error:
            raise self._unavailable(error) from error

    async def get(self, digest: str) -> bytes | None:
        try:
            found = await self._api.get_async(self._store, _key(digest))
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except self._api.exceptions.BaseError as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """Its connections are closed when nobody uses them."""

    def _unavailable(self, error: Exception) -> BucketUnavailable:
        return BucketUnavailable(f"the artifacts in {self._url} can't be reached: {_first_line(error)}")


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _first_line(error: Exception) -> str:
    """What follows is for who works on the library."""
    return str(error).partition("\n")[0]
