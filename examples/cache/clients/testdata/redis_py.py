"""Drives the cache with redis-py: python3 redis_py.py HOST PORT PROTOCOL"""
import sys
import threading
import time

import redis

host, port, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
r = redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True)
r.flushall()

assert r.ping()
assert r.set("key", "value", ex=100) and r.get("key") == "value" and 95 < r.ttl("key") <= 100
assert r.set("key", "other", nx=True) is None
assert r.set("key", "new", get=True) == "value"
assert r.getex("key", persist=True) == "new" and r.ttl("key") == -1 and r.ttl("nokey") == -2
assert r.getdel("key") == "new" and r.get("key") is None
assert r.append("text", "Hello ") == 6 and r.append("text", "World") == 11
assert r.getrange("text", 6, -1) == "World" and r.setrange("text", 6, "Redis") == 11 and r.strlen("text") == 11
assert r.mset({"a": 1, "b": 2}) and r.mget("a", "nokey", "b") == ["1", None, "2"]
assert r.incr("a") == 2 and r.decr("a", 5) == -3 and r.incrbyfloat("b", 0.5) == 2.5
assert r.rename("a", "c") and r.exists("a", "c") == 1 and r.copy("c", "d") and r.type("d") == "string"
try:
    r.incr("text")
    raise AssertionError("text is no number")
except redis.ResponseError as e:
    assert str(e) == "value is not an integer or out of range", e

with r.pipeline(transaction=False) as p:
    for i in range(2000):
        p.set(f"key:{i}", i)
    assert all(p.execute())
assert len(set(r.scan_iter("key:*", count=50))) == 2000
assert r.dbsize() == 2005 - 1, r.dbsize()


def add(times):
    own = redis.Redis(host=host, port=port, protocol=protocol)
    for _ in range(times):
        own.transaction(increment, "n")


def increment(p):
    n = int(p.get("n") or 0)
    p.multi()
    p.set("n", n + 1)


threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert r.get("n") == "100", r.get("n")

sub = r.pubsub()
sub.subscribe("ch")
sub.psubscribe("c*")
for _ in range(2):
    assert sub.get_message(timeout=10)["type"] in ("subscribe", "psubscribe")
assert r.publish("ch", "hello") == 2
got = sorted((m["type"], m["data"]) for m in (sub.get_message(timeout=10) for _ in range(2)))
assert got == [("message", "hello"), ("pmessage", "hello")], got
sub.close()

large = "x" * (5 << 20)
assert r.set("large", large) and r.get("large") == large
assert r.config_get("maxmemory")["maxmemory"].isdigit()
assert r.info("server")["redis_version"] == "7.0.15"
assert r.client_setname("python") and r.client_getname() == "python"
assert any(c["name"] == "python" for c in r.client_list())
assert r.command_count() > 50 and r.object("encoding", "text") == "raw"

if protocol == 3:
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"  # redis-py asks for 7.4, though all that it needs is in 6.0
    keeps = redis.Redis(host=host, port=port, protocol=3, cache_config=CacheConfig(), decode_responses=True)
    r.set("kept", "old")
    assert keeps.get("kept") == "old" and keeps.get("kept") == "old"
    assert len(keeps.get_cache().collection) == 1
    r.set("kept", "new")
    end = time.time() + 10
    while keeps.get("kept") != "new":
        assert time.time() < end, "it was not told"
    keeps.close()
print("ok")
