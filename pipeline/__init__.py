"""Tillstream: retail events counted once, from Kinesis to DynamoDB, PostgreSQL and Redis."""
