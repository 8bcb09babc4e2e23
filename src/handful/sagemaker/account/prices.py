"""What an instance costs an hour: AWS's price list, where it can be asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handful.sagemaker.account.clients import Clients, told

_SERVED_FROM = "us-east-1"
"""The price list of all regions is served from there (and from few others)."""
TRAINING, PROCESSING = "Train", "Processing"
"""As usage types have it: `EUC1-Train:ml.m5.xlarge`."""


def price_of(clients: Clients, instance_type: str, usage: str) -> float | None:
    """US dollars an hour on demand, in the clients' region; None if the list has none.

    Raises what `handful.sagemaker.account.clients.told` raises when the list cannot be asked.
    """
    wanted = {"regionCode": clients.region, "instanceName": instance_type}
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()
    ]
    with told("GetProducts"):
        pages = clients.of("pricing", _SERVED_FROM).get_paginator("get_products")
        texts = [
            text
            for page in pages.paginate(ServiceCode="AmazonSageMaker", Filters=filters)
            for text in page["PriceList"]
        ]
        prices = [
            price
            for text in texts
            for product in [json.loads(text)]
            if f"-{_usage(product)}".endswith(f"-{usage}:{instance_type}")
            for price in _prices(product)
        ]
    # Should there be several, the dearest: a forecast is not to be too low.
    return max(prices, default=None)


def _usage(product: Mapping[str, Any]) -> str:
    return str(product.get("product", {}).get("attributes", {}).get("usagetype", ""))


def _prices(product: Mapping[str, Any]) -> list[float]:
    found = []
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            dollars = dimension.get("pricePerUnit", {}).get("USD")
            if dollars is not None and float(dollars) > 0:
                found.append(float(dollars))
    return found
