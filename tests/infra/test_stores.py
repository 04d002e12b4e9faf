"""Network, warehouse and cache: who reaches them, how they are kept, how one logs in."""

from typing import Any

import pytest
import redis

from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.redis import CHANNEL, RedisCache
from pipeline.ports.cache import CachedStock, Stale
from pipeline.settings import STREAM_RETENTION_HOURS
from tests.infra.rendering import REGION, Rendered, installation

STACKS = installation()
NETWORK, WAREHOUSE, CACHE = (STACKS[name] for name in ("network", "warehouse", "cache"))
SMALL = installation(Environment="development")
SERVICES = {
    "Gateway": {"dynamodb", "s3"},
    "Interface": {"kinesis-streams", "logs", "secretsmanager", "kms", "sts"},
}
FOR_THE_FLEET = {"ecr.api", "ecr.dkr", "monitoring"}


def endpoints(stack: Rendered, kind: str) -> set[str]:
    found = stack.of_type("AWS::EC2::VPCEndpoint").values()
    names = {e["ServiceName"] for e in found if e["VpcEndpointType"] == kind}
    return {name.removeprefix(f"com.amazonaws.{REGION}.") for name in names}


# -------------------------------------------------------------------------------------- the network
def test_there_is_no_way_out() -> None:
    kinds = {resource["Type"] for resource in NETWORK.resources.values()}
    assert not kinds & {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route"}
    subnets = NETWORK.of_type("AWS::EC2::Subnet").values()
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)


@pytest.mark.parametrize("zones", ["2", "3"])
def test_subnets_are_in_zones_of_their_own(zones: str) -> None:
    network = installation(Zones=zones)["network"]
    subnets = network.of_type("AWS::EC2::Subnet").values()
    assert len({s["AvailabilityZone"] for s in subnets}) == len(subnets) == int(zones)
    assert len({s["CidrBlock"] for s in subnets}) == int(zones)
    assert len(network.exports["shop-subnet-ids"].split(",")) == int(zones)


def test_consumers_reach_aws_through_endpoints() -> None:
    assert endpoints(NETWORK, "Gateway") == SERVICES["Gateway"]
    assert endpoints(NETWORK, "Interface") == SERVICES["Interface"] | FOR_THE_FLEET
    without = installation(Fleet="false")["network"]
    assert endpoints(without, "Interface") == SERVICES["Interface"]


@pytest.mark.parametrize(
    ("stack", "group", "port", "sources"),
    [
        (NETWORK, "EndpointSecurityGroup", 443, {"<ConsumerSecurityGroup>"}),
        (WAREHOUSE, "ProxySecurityGroup", 5432, {"<ConsumerSecurityGroup>"}),
        (
            WAREHOUSE, "WarehouseSecurityGroup", 5432,
            {"<ProxySecurityGroup>", "<ConsumerSecurityGroup>"},
        ),
        (CACHE, "CacheSecurityGroup", 6379, {"<ConsumerSecurityGroup>"}),
    ],
)  # fmt: skip
def test_stores_are_called_by_consumers_alone(
    stack: Rendered, group: str, port: int, sources: set[str]
) -> None:
    rules = stack.properties(group)["SecurityGroupIngress"]
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(port, port)}
    assert {rule.get("SourceSecurityGroupId") for rule in rules} == sources


def test_nobody_calls_consumers() -> None:
    assert "SecurityGroupIngress" not in NETWORK.properties("ConsumerSecurityGroup")


# ------------------------------------------------------------------------------------ the warehouse
def test_warehouse_survives_a_zone_and_a_mistake() -> None:
    found = WAREHOUSE.properties("Warehouse")
    assert (found["MultiAZ"], found["DeletionProtection"]) == (True, True)
    assert found["BackupRetentionPeriod"] * 24 >= STREAM_RETENTION_HOURS
    assert found["DeleteAutomatedBackups"] is False
    assert found["StorageEncrypted"] is True
    assert found["KmsKeyId"] == "<DataKey.Arn>"
    assert WAREHOUSE.properties("Reader")["SourceDBInstanceIdentifier"] == "<Warehouse>"


def test_nobody_knows_the_owners_password() -> None:
    found = WAREHOUSE.properties("Warehouse")
    assert found["ManageMasterUserPassword"] is True  # made, kept and rotated by RDS
    assert "MasterUserPassword" not in found


@pytest.mark.parametrize("name", ["Warehouse", "Reader"])
def test_warehouse_is_private_and_takes_tokens(name: str) -> None:
    found = WAREHOUSE.properties(name)
    assert found["PubliclyAccessible"] is False
    assert found["EnableIAMDatabaseAuthentication"] is True
    assert found["VPCSecurityGroups"] == ["<WarehouseSecurityGroup>"]
    assert WAREHOUSE.properties("Parameters")["Parameters"]["rds.force_ssl"] == "1"


def test_proxy_demands_encryption_and_tokens_on_both_sides() -> None:
    proxy = WAREHOUSE.properties("Proxy")
    assert proxy["RequireTLS"] is True
    assert (proxy["DefaultAuthScheme"], proxy.get("Auth")) == ("IAM_AUTH", None)


def test_a_development_warehouse_is_smaller_and_no_less_private() -> None:
    found = SMALL["warehouse"].properties("Warehouse")
    assert (found["MultiAZ"], found["DeletionProtection"]) == (False, False)
    assert "Reader" not in SMALL["warehouse"].resources
    assert (found["StorageEncrypted"], found["PubliclyAccessible"]) == (True, False)


# ---------------------------------------------------------------------------------------- the cache
def test_cache_is_encrypted_and_survives_a_zone() -> None:
    found = CACHE.properties("Cache")
    assert found["Engine"] == "valkey"
    assert (found["TransitEncryptionEnabled"], found["TransitEncryptionMode"]) == (True, "required")
    assert (found["AtRestEncryptionEnabled"], found["KmsKeyId"]) == (True, "<DataKey.Arn>")
    assert (found["MultiAZEnabled"], found["AutomaticFailoverEnabled"]) == (True, True)
    assert found["NumCacheClusters"] == 2


def test_cache_has_one_user_and_it_needs_a_password() -> None:
    assert CACHE.properties("Cache")["UserGroupIds"] == ["<Users>"]
    assert CACHE.properties("Users")["UserIds"] == ["<Writer>"]
    mode = CACHE.properties("Writer")["AuthenticationMode"]
    assert mode["Type"] == "password"
    assert mode["Passwords"][0].startswith("{{resolve:secretsmanager:<WriterSecret>")


@pytest.fixture
def writer(embedded: Endpoints) -> Any:
    """Lend the address of a user with the template's rights on a real server."""
    admin: Any = redis.Redis.from_url(embedded.redis_url)
    rights = CACHE.properties("Writer")["AccessString"].split()
    # No channels to begin with, as since Redis 7 and in Valkey; before, a new user had them all.
    fresh = ("reset", "resetchannels", ">word")
    admin.execute_command("ACL", "SETUSER", "tillstream", *fresh, *rights)
    host = embedded.redis_url.partition("@")[2] or embedded.redis_url.removeprefix("redis://")
    yield f"redis://tillstream:word@{host}"
    admin.execute_command("ACL", "DELUSER", "tillstream")


def test_caches_user_may_do_what_the_adapter_does(writer: str) -> None:
    cache = RedisCache(writer, SystemClock(), ttl_s=60.0, timeout_s=10.0)
    entry = "GB-1", "acl"
    assert cache.invalidate([Stale(entry, 1)]) == ()
    cache.fill(entry, CachedStock(5, 2))
    assert cache.get(entry) == CachedStock(5, 2)


def test_caches_user_is_granted_commands_one_by_one_on_its_own_keys_and_channel() -> None:
    """Read, not tried: the stand-in for Redis takes rights and does not enforce them."""
    rights = CACHE.properties("Writer")["AccessString"].split()
    assert rights[:4] == ["on", "~stock:*", f"&{CHANNEL}", "-@all"]
    assert all(right.startswith("+") and "@" not in right for right in rights[4:])
    dangerous = {"+acl", "+config", "+eval", "+flushall", "+flushdb", "+keys", "+scan", "+script"}
    assert not dangerous & set(rights)
