"""What a scenario leaves to elsewhere is put in place: defaults, cloud instances, model configurations and traces.

Works on the data as it was read, before fields are checked; what is malformed is left as it is for that check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.loader import Catalog
from catalog.overlay import lay_over
from catalog.schema import Instance, Model
from optimizer.errors import InputError
from optimizer.scenario.document import typed
from optimizer.scenario.own_catalog import own_model, readable_entries
from optimizer.scenario.problems import Path as KeyPath
from optimizer.scenario.quantities import PRICE_PER_HOUR
from optimizer.scenario.traces import TraceError, trace_statistics
from optimizer.scenario.words import Suggestions, did_you_mean, key_text, shown

Data = Mapping[str, Any]
_MOST_CONFIG_BYTES = 4 * 2**20
_ALTERNATIVES = (
    {"input_tokens": 1, "output_tokens": 1, "classes": 2, "trace": 3},
    {"requests": 1, "requests_per_period": 2, "growth": 1, "trace": 3},
)
"""Keys of different numbers in one row exclude each other: what a workload says drops the other ways among defaults."""
_UNREADABLE_TRACE = {
    "requests": 2,
    "rate": "1/s",
    "input_tokens": {"mean": 1, "p50": 1, "p95": 1, "p99": 1},
    "output_tokens": {"mean": 1, "p50": 1, "p95": 1, "p99": 1},
}
"""Stands in, so that the rest of the workload is checked too."""


@dataclass(slots=True)
class Normaliser:
    """One pass over one scenario; collects what is wrong as (path, message)."""

    catalog: Catalog
    """Overlaid with the scenario's own entries once these are read."""
    folder: Path
    """Relative paths start here."""
    horizon_months: float | None
    suggestions: Suggestions
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)
    models: dict[str, Model | None] = field(default_factory=dict)
    """The scenario's own; null = its configuration could not be used."""

    def complete(self, data: Data) -> dict[str, Any]:
        """The scenario with `defaults` merged, complete in itself."""
        data = self._with_own_entries(data)
        steps: dict[str, Callable[[KeyPath, Any], Any]] = {"models": self._model, "inventory": self._offer}
        done = {key: self._each(key, value, steps[key]) if key in steps else value for key, value in data.items()}
        if "workloads" in data:
            defaults = data.get("defaults")
            shared = defaults if isinstance(defaults, Mapping) else {}
            done["workloads"] = self._each(
                "workloads", data["workloads"], lambda path, raw: self._workload(path, merged(shared, raw))
            )
        return done

    def _with_own_entries(self, data: Data) -> Data:
        """The data with entries of the user's own as they are meant; from here on they are part of the catalog."""
        try:
            given = typed(data.get("catalog", ()))
        except InputError as error:
            self.problems += [(("catalog",), fault.message) for fault in error.faults]
            return {key: value for key, value in data.items() if key != "catalog"}
        entries, faults = readable_entries(given)
        self.catalog = lay_over(self.catalog, entries)
        self.problems += [(("catalog", index), fault) for index, fault in faults]
        return {**data, "catalog": given} if "catalog" in data else data

    def _each(self, key: str, values: Any, step: Callable[[KeyPath, Any], Any]) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {name: step((key, name), one) if isinstance(one, Mapping) else one for name, one in values.items()}

    def _workload(self, path: KeyPath, workload: Data) -> Data:
        trace = workload.get("trace")
        if not isinstance(trace, str):
            return workload
        try:
            return {**workload, "trace": trace_statistics(self.folder / trace)}
        except TraceError as error:
            self.problems += [((*path, "trace"), f"{shown(trace)}: {fault}") for fault in error.faults]
        except (OSError, ValueError):
            self.problems.append(((*path, "trace"), f"{shown(trace)}: cannot be read"))
        return {**workload, "trace": _UNREADABLE_TRACE}

    def _model(self, path: KeyPath, own: Data) -> Data:
        name, given = key_text(path[-1]), own.get("hf_config")
        if "hf_config" not in own and name in self.catalog.models:
            return own
        if not isinstance(given, str | Mapping):
            if "hf_config" not in own:
                what = f"{shown(name)} is not in the catalog, so its hf_config is needed"
                self.problems.append((path, what))
            self.models[name] = None
            return own
        try:
            config = typed(given) if isinstance(given, Mapping) else self._config(given)
            self.models[name] = own_model(name, config)
        except InputError as error:
            self.models[name] = None
            where = f"{shown(given)}: " if isinstance(given, str) else ""
            self.problems += [((*path, "hf_config"), f"{where}{fault.message}") for fault in error.faults]
            return {**own, "hf_config": {}}
        return {**own, "hf_config": config}

    def _config(self, given: str) -> dict[str, Any]:
        """Content of a config.json; InputError says what is wrong, never what the file holds."""
        try:
            file = self.folder / given
            if not file.is_file():
                raise InputError("this is not a file" if file.exists() else "no such file")
            with file.open("rb") as stream:
                data = stream.read(_MOST_CONFIG_BYTES + 1)
        except (OSError, ValueError):
            raise InputError("cannot be read") from None
        if len(data) > _MOST_CONFIG_BYTES:
            raise InputError(f"larger than {_MOST_CONFIG_BYTES // 2**20} MiB; a Hugging Face config.json is expected")
        try:
            config = json.loads(data.decode("utf-8-sig"), parse_constant=_refused)
        except (ValueError, RecursionError):
            raise InputError("not JSON; a Hugging Face config.json is expected") from None
        if not isinstance(config, dict):
            raise InputError("not a JSON object; a Hugging Face config.json is expected")
        return config

    def _offer(self, path: KeyPath, offer: Data) -> Data:
        if not isinstance(offer.get("instance"), str):
            return offer
        rest = {key: value for key, value in offer.items() if key != "instance"}
        instance_id = offer["instance"]
        for key in ("gpu", "gpus_per_server", "price_source"):
            if key in rest:
                self.problems.append(((*path, key), f"an instance brings '{key}'; delete this key, or `instance`"))
        if instance_id not in self.catalog.instances:
            near = self.suggestions.meant(instance_id, "instance", self.catalog.instances)
            hint = did_you_mean(near) or "; `gpuplan catalog instances` lists those there are"
            self.problems.append(((*path, "instance"), f"unknown instance {shown(instance_id)}{hint}"))
            return {"gpu": next(iter(self.catalog.gpus)), "gpus_per_server": 1, "own": 0, **rest}
        return self._with_terms(path, rest, self.catalog.instances[instance_id])

    def _with_terms(self, path: KeyPath, offer: dict[str, Any], instance: Instance) -> Data:
        brought = {"gpu": instance.gpu, "gpus_per_server": instance.gpus}
        if instance.network_gbit_per_s is not None:
            brought["network"] = f"{instance.network_gbit_per_s!r}Gbit/s"
        if instance.link_domain_gpus is not None:
            brought["link_domain"] = instance.link_domain_gpus
        brought["region"] = instance.region
        prices = _PriceList(instance)
        if isinstance(rent := offer.get("rent", {}), Mapping) and (price := prices.on_demand):
            offer["rent"] = {"price": price, **rent}
        elif "rent" not in offer and not {"reserve", "spot", "buy", "own"} & offer.keys():
            self.problems.append(
                ((*path, "instance"), "the price snapshot has no on-demand price for it; give rent: {price: …}")
            )
            offer["own"] = 0
        horizon = self.horizon_months or 0.0
        if "reserve" not in offer and (reserved := prices.reserved(up_to_months=horizon)):
            offer["reserve"] = reserved
        self._spot(path, offer, prices)
        return {**brought, "price_source": prices.source, **offer}

    def _spot(self, path: KeyPath, offer: dict[str, Any], prices: _PriceList) -> None:
        """`spot: true` takes the snapshot's price, one moment's minimum, only because it was asked for."""
        asked = offer.get("spot")
        if asked in (False, "false"):
            del offer["spot"]
        elif asked in (True, "true"):
            if prices.spot is None:
                self.problems.append(
                    ((*path, "spot"), "the price snapshot has no spot price for it; give spot: {price: …}")
                )
                del offer["spot"]
            else:
                offer["spot"] = {"price": prices.spot}
        elif isinstance(asked, Mapping) and prices.spot is not None:
            offer["spot"] = {"price": prices.spot, **asked}


class _PriceList:
    """Prices of an instance as a scenario writes them."""

    def __init__(self, instance: Instance) -> None:
        self.on_demand = _hourly(instance.on_demand_usd_per_hour)
        self.spot = _hourly(instance.spot_usd_per_hour)
        self._reserved = {12: instance.reserved_1y_usd_per_hour, 36: instance.reserved_3y_usd_per_hour}
        self.source = f"{instance.id}, price of {_dated(instance)}: {instance.source}"

    def reserved(self, *, up_to_months: float) -> list[dict[str, str]]:
        """Terms that fit into the horizon."""
        return [
            {"term": f"{months}mo", "price": PRICE_PER_HOUR.text(usd)}
            for months, usd in self._reserved.items()
            if usd is not None and months <= up_to_months
        ]


def merged(defaults: Data, workload: Any) -> Any:
    """The workload with what it does not say itself; of ways that exclude each other, its own stays."""
    if not defaults or not isinstance(workload, Mapping):
        return workload
    return {**{key: value for key, value in defaults.items() if not _excluded(key, workload)}, **workload}


def _excluded(key: str, workload: Data) -> bool:
    return any(key in way and any(way.get(other, way[key]) != way[key] for other in workload) for way in _ALTERNATIVES)


def _hourly(usd_per_server_hour: float | None) -> str | None:
    return None if usd_per_server_hour is None else PRICE_PER_HOUR.text(usd_per_server_hour)


def _dated(instance: Instance) -> str:
    return instance.date.isoformat()[: {"day": 10, "month": 7, "year": 4}[instance.date_precision]]


def _refused(constant: str) -> float:
    raise ValueError(constant)
