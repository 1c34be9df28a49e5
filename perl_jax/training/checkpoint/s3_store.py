"""Conditional writes on ``s3://``, for the lease: with s3fs, which finds the bucket like rows do.

TensorStore has them too, but looks for the endpoint and the keys in other places than s3fs.
"""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from perl_jax.storage import open_system

_MISSING = b"missing"
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409")


@dataclass(frozen=True)
class Stamp:
    """Which content a file had; empty if a write was refused."""

    generation: bytes


@dataclass(frozen=True)
class Found:
    """What was read: the state is ``value`` or ``missing``."""

    state: str
    value: bytes
    stamp: Stamp


class S3Store:
    """Small files in a folder on ``s3://``, with the methods of TensorStore's ``KvStore``.

    A store that speaks S3's protocol may ignore ``If-Match`` and ``If-None-Match``, so a write
    first looks whether the generation is still there.
    """

    def __init__(self, url: str) -> None:
        self._system, path = open_system(url.rstrip("/"))
        self._bucket, _, self._folder = path.partition("/")

    def read(self, name: str) -> Future[Found]:
        """Reads a file."""
        return asyncio.run_coroutine_threadsafe(self._read(name), self._system.loop)

    def write(self, name: str, value: bytes | None, *, if_equal: bytes) -> Future[Stamp]:
        """Replaces this generation of a file, or deletes it if the value is None."""
        return asyncio.run_coroutine_threadsafe(
            self._write(name, value, if_equal), self._system.loop
        )

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._folder}/{name}".lstrip("/")}

    async def _client(self) -> Any:
        return await self._system.set_session()

    async def _read(self, name: str) -> Found:
        client = await self._client()
        try:
            answer = await client.get_object(**self._place(name))
        except client.exceptions.NoSuchKey:
            return Found("missing", b"", Stamp(_MISSING))
        return Found("value", await answer["Body"].read(), Stamp(answer["ETag"].encode()))

    async def _write(self, name: str, value: bytes | None, replaced: bytes) -> Stamp:
        if (await self._read(name)).stamp.generation != replaced:
            return Stamp(b"")
        if value is not None:
            return await self._put(name, value, replaced)
        # Not every store can delete on a condition. Only the holder of a lease deletes it, and no
        # other job takes one that was just renewed.
        client = await self._client()
        await client.delete_object(**self._place(name))
        return Stamp(_MISSING)

    async def _put(self, name: str, value: bytes, replaced: bytes) -> Stamp:
        client = await self._client()
        condition = {"IfNoneMatch": "*"} if replaced == _MISSING else {"IfMatch": replaced.decode()}
        try:
            answer = await client.put_object(**self._place(name), Body=value, **condition)
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in _CONFLICTS:
                raise
            # The client may have repeated a write that had succeeded.
            found = await self._read(name)
            return found.stamp if found.value == value else Stamp(b"")
        return Stamp(answer["ETag"].encode())
