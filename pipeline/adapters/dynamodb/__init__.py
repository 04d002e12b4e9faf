"""DynamoDB: claims, change log, combos, keyed states, stock levels, checkpoints."""

from pipeline.adapters.dynamodb.checkpoints import DynamoCheckpoints
from pipeline.adapters.dynamodb.states import AccumulatorLayout, DynamoStates, Layout, StockLayout
from pipeline.adapters.dynamodb.tables import DynamoChangeLog, DynamoClaims, DynamoCombos
from pipeline.adapters.dynamodb.writes import SingleWrites

__all__ = [
    "AccumulatorLayout",
    "DynamoChangeLog",
    "DynamoCheckpoints",
    "DynamoClaims",
    "DynamoCombos",
    "DynamoStates",
    "Layout",
    "SingleWrites",
    "StockLayout",
]
