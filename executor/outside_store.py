"""ComfyUI's cache providers (`ComfyAPI().caching`): results kept outside this process, under ComfyUI's own keys.

A store filled by a ComfyUI server is found again here, and the other way round. What a provider raises is a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from .cache import Result
from .graph import Graph

logger = logging.getLogger(__name__)


class OutsideStore:
    """The providers that are registered, for one run."""

    def __init__(self, providers: ModuleType, caching: ModuleType, graph: Graph, fingerprints: Mapping[str, Any]):
        self._module = providers
        self._keys = caching.CacheKeySetInputSignature(graph, (), _Fingerprints(fingerprints))
        self._graph = graph
        self._being_stored: list[asyncio.Task] = []

    def begin(self, run_id: str) -> None:
        """Tell the providers that a run begins."""
        self._tell("on_prompt_start", run_id)

    async def end(self, run_id: str) -> None:
        """Wait for what is being stored, and tell the providers that the run is over."""
        await asyncio.gather(*self._being_stored)
        self._tell("on_prompt_end", run_id)

    async def find(self, node_id: str) -> Result | None:
        """The node's result, if a provider has it."""
        place = await self._place(node_id)
        for provider in self._module._get_cache_providers() if place is not None else ():
            try:
                value = await provider.on_lookup(place) if provider.should_cache(place) else None
                if value is not None:
                    return Result(list(value.outputs), (value.ui or {}).get("output", {}))
            except Exception as error:
                logger.warning(
                    "cache provider %s couldn't look up node %s: %s", type(provider).__name__, node_id, error
                )
        return None

    async def keep(self, node_id: str, result: Result) -> None:
        """Offer a result to the providers, which may take their time until the end of the run."""
        place = await self._place(node_id)
        if place is None:
            return
        where = {
            "node_id": node_id,
            "display_node": self._graph.get_display_node_id(node_id),
            "parent_node": None,
            "real_node_id": node_id,
        }
        ui = {"meta": where, "output": result.ui} if result.ui else None
        value = self._module.CacheValue(outputs=result.outputs, ui=ui)
        for provider in self._module._get_cache_providers():
            self._being_stored.append(asyncio.create_task(self._store(provider, place, value)))

    async def _store(self, provider: Any, place: Any, value: Any) -> None:
        try:
            if provider.should_cache(place, value):
                await provider.on_store(place, value)
        except Exception as error:
            logger.warning(
                "cache provider %s couldn't store node %s: %s", type(provider).__name__, place.node_id, error
            )

    async def _place(self, node_id: str) -> Any:
        """Under what the node's result is kept; None for nodes of expansions and for what never is the same."""
        if self._graph.get_parent_node_id(node_id) is not None:
            return None
        try:
            await self._keys.add_keys([node_id])
            key = self._keys.get_data_key(node_id)
            digest = None if self._module._contains_self_unequal(key) else self._module._serialize_cache_key(key)
        except Exception as error:  # a class that ComfyUI doesn't have
            logger.debug("node %s has no key: %s", node_id, error)
            return None
        name = self._graph.get_node(node_id)["class_type"]
        return self._module.CacheContext(node_id, name, digest) if digest is not None else None

    def _tell(self, method: str, run_id: str) -> None:
        for provider in self._module._get_cache_providers():
            try:
                getattr(provider, method)(run_id)
            except Exception as error:
                logger.warning("%s.%s failed: %s", type(provider).__name__, method, error)


class _Fingerprints:
    """What nodes said of themselves in this run, as ComfyUI's keys ask for it."""

    def __init__(self, fingerprints: Mapping[str, Any]):
        self._fingerprints = fingerprints

    async def get(self, node_id: str) -> Any:
        return self._fingerprints.get(node_id, float("nan"))
