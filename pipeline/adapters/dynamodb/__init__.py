"""DynamoDB: claims, change log, combos, keyed states, stock levels, checkpoints."""

from pipeline.adapters.dynamodb.batches import BatchWrites
from pipeline.adapters.dynamodb.checkpoints import DynamoCheckpoints
from pipeline.adapters.dynamodb.repair import DynamoTableRepair
from pipeline.adapters.dynamodb.states import AccumulatorLayout, DynamoStates, Layout, StockLayout
from pipeline.adapters.dynamodb.tables import DynamoChangeLog, DynamoClaims, DynamoCombos
from pipeline.adapters.dynamodb.writes import ConditionalWriter, SingleWrites

__all__ = [
    "AccumulatorLayout",
    "BatchWrites",
    "ConditionalWriter",
    "DynamoChangeLog",
    "DynamoCheckpoints",
    "DynamoClaims",
    "DynamoCombos",
    "DynamoStates",
    "DynamoTableRepair",
    "Layout",
    "SingleWrites",
    "StockLayout",
]
